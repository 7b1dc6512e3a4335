// Pieces of 32 numbers of each thread's row, through shared memory: threads side by side read numbers side by
// side, and then each takes its own row's.
#pragma once

#include "cuda/launch.h"
#include "half.h"

namespace ggufactory {
namespace {

constexpr int kPiece = 32;

struct RowTile {
    const uint8_t* rows[kThreads];
    float numbers[kThreads][kPiece + 1];  // one more, so that a column lies in all banks of the memory
};

GK_LANE float load_number(const uint8_t* row, SourceFormat format, int64_t i) {
    switch (format) {
        case SourceFormat::kF32: return reinterpret_cast<const float*>(row)[i];
        case SourceFormat::kF16: return half_to_float<ThreadLanes>(reinterpret_cast<const uint16_t*>(row)[i]);
        default: return bfloat16_to_float<ThreadLanes>(reinterpret_cast<const uint16_t*>(row)[i]);
    }
}

// Numbers first ... first + kPiece - 1 of all `tile.rows`; `take(thread, piece)` is then called in every thread.
template <class Take>
GK_LANE void pass_through(const ThreadBlock& block, RowTile& tile, SourceFormat format, int64_t first,
                          const Take& take) {
    block.phase([&](int thread) {
        GK_GPU_UNROLL(8)
        for (int i = 0; i < kPiece; ++i) {
            const int at = i * kThreads + thread, row = at / kPiece, column = at % kPiece;
            tile.numbers[row][column] = load_number(tile.rows[row], format, first + column);
        }
    });
    block.phase([&](int thread) { take(thread, tile.numbers[thread]); });
}

}  // namespace
}  // namespace ggufactory

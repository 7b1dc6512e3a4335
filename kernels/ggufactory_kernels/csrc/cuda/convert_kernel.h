// Plain numbers from plain numbers.
#pragma once

#include "cuda/row_tile.h"
#include "plain_numbers.h"

namespace ggufactory {
namespace {

constexpr int kNumbersOfThread = 8;

// A block of threads converts kThreads * kNumbersOfThread numbers of one row, or those that are left of it.
template <class To>
struct ConvertKernel {
    struct Shared {};

    static GK_LANE void run(const Launch& launch, const ThreadBlock& block, Shared&) {
        constexpr int64_t kAtOnce = kThreads * kNumbersOfThread;
        const int64_t columns = launch.blocks_per_row, pieces = (columns + kAtOnce - 1) / kAtOnce;
        const int64_t row = block.number / pieces, first = block.number % pieces * kAtOnce;
        const uint8_t* const from = launch.source + row * launch.row_stride;
        block.phase([&](int thread) {
            GK_UNROLL(8)
            for (int i = 0; i < kNumbersOfThread; ++i) {
                const int64_t column = first + i * kThreads + thread;
                if (column < columns) convert(launch, from, column, row * columns + column);
            }
        });
    }

private:
    static GK_LANE void convert(const Launch& launch, const uint8_t* row, int64_t column, int64_t place) {
        const float f = load_number(row, static_cast<SourceFormat>(launch.format), column);
        if (!(magnitude_of(f) < To::limit())) {
            report(launch, f - f == 0 ? FaultKind::kScaleOverflow : FaultKind::kNonFinite, place);
        }
        const int32_t bits = To::template bits<ThreadLanes>(f);
        if constexpr (To::kBytes == 4) {
            reinterpret_cast<int32_t*>(launch.out)[place] = bits;
        } else {
            reinterpret_cast<uint16_t*>(launch.out)[place] = static_cast<uint16_t>(bits);
        }
    }
};

}  // namespace
}  // namespace ggufactory

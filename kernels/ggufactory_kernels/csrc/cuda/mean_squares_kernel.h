// The mean square of each row, summed in the order of its columns: one thread for each row.
#pragma once

#include "cuda/row_tile.h"

namespace ggufactory {
namespace {

// Launched with blocks of kPiece weights; writes one float for each row.
struct MeanSquaresKernel {
    using Shared = RowTile;

    static GK_LANE void run(const Launch& launch, const ThreadBlock& block, RowTile& tile) {
        PerThread<float> sums;
        const int64_t first = block.number * kThreads, rows = launch.blocks / launch.blocks_per_row;
        block.phase([&](int thread) {
            const int64_t row = first + thread;
            tile.rows[thread] = launch.source + (row < rows ? row : rows - 1) * launch.row_stride;
            sums[thread] = 0;
        });
        const SourceFormat format = static_cast<SourceFormat>(launch.format);
        const bool aligned = are_aligned<16>(launch.source, launch.row_stride);
        GK_UNROLL(1)
        for (int64_t piece = 0; piece < launch.blocks_per_row; ++piece) {
            pass_through(block, tile, format, aligned, piece * kPiece, [&](int thread, const float* numbers) {
                GK_UNROLL(32)
                for (int i = 0; i < kPiece; ++i) sums[thread] = sums[thread] + numbers[i] * numbers[i];
            });
        }
        block.phase([&](int thread) {
            if (first + thread >= rows) return;
            const float columns = static_cast<float>(launch.blocks_per_row * kPiece);
            reinterpret_cast<float*>(launch.out)[first + thread] = sums[thread] / columns;
        });
    }
};

}  // namespace
}  // namespace ggufactory

// How far rows lie from what is stored of them: the sums of add_squares.h, in its order, by a thread for each lane.
#pragma once

#include "cuda/source_numbers.h"

namespace ggufactory {
namespace {

// Launched with blocks of one weight, plain numbers, beside the floats that are stored; writes two doubles for each row.
struct RowErrorsKernel {
    static constexpr int kLanes = SquareSums::kLanes, kRows = kThreads / kLanes;

    struct Shared {
        double error[kRows][kLanes], magnitude[kRows][kLanes];
    };

    static GK_LANE void run(const Launch& launch, const ThreadBlock& block, Shared& shared) {
        const int64_t columns = launch.blocks_per_row, rows = launch.blocks / columns;
        block.phase([&](int thread) {
            const int64_t row = block.number * kRows + thread / kLanes;
            if (row >= rows) return;
            with_format(static_cast<SourceFormat>(launch.format),
                        [&](auto known) { add_lane<decltype(known)>(launch, row, columns, thread, shared); });
        });
        block.phase([&](int thread) {
            const int64_t row = block.number * kRows + thread;
            if (thread >= kRows || row >= rows) return;
            double* out = reinterpret_cast<double*>(launch.out) + 2 * row;
            out[0] = sum_lanes(shared.error[thread]);
            out[1] = sum_lanes(shared.magnitude[thread]);
        });
    }

private:
    template <class Format>
    static GK_LANE void add_lane(const Launch& launch, int64_t row, int64_t columns, int thread, Shared& shared) {
        const uint8_t* held = launch.source + row * launch.row_stride;
        const float* stored = launch.stored + row * columns;
        double error = 0, magnitude = 0;
        GK_GPU_UNROLL(4)
        for (int64_t i = thread % kLanes; i < columns; i += kLanes) {
            const double x = number_at<Format>(held, i), apart = x - stored[i];
            double squared_error = apart * apart, square = x * x;
            if (launch.importance) {
                squared_error *= launch.importance[i];
                square *= launch.importance[i];
            }
            error += squared_error;
            magnitude += square;
        }
        shared.error[thread / kLanes][thread % kLanes] = error;
        shared.magnitude[thread / kLanes][thread % kLanes] = magnitude;
    }
};

}  // namespace
}  // namespace ggufactory

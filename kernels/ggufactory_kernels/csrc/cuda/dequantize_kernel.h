// Blocks back to single precision on a GPU: one thread for each block.
#pragma once

#include "cuda/launch.h"
#include "dequantize_blocks.h"

namespace ggufactory {
namespace {

template <class Type>
struct DequantizeKernel {
    static constexpr int kPart = Type::kBlock < 32 ? Type::kBlock : 32;

    // Parts of the threads' blocks, which leave it side by side.
    struct Shared {
        float numbers[kThreads][kPart + 1];
    };

    static GK_LANE void run(const Launch& launch, const ThreadBlock& block, Shared& shared) {
        struct Numbers {
            float y[Type::kBlock];
        };
        PerThread<Numbers> numbers;
        const int64_t first = block.number * kThreads;
        block.phase([&](int thread) {
            const int64_t place = first + thread;
            if (place >= launch.blocks) return;
            const int64_t in_row = place % launch.blocks_per_row;
            Type::dequantize(row_of_block(launch, place) + in_row * Type::kBytes, numbers[thread].y);
        });
        GK_UNROLL(1)
        for (int part = 0; part < Type::kBlock; part += kPart) {
            block.phase([&](int thread) {
                if (first + thread >= launch.blocks) return;
                for (int i = 0; i < kPart; ++i) shared.numbers[thread][i] = numbers[thread].y[part + i];
            });
            block.phase([&](int thread) { store(launch, first, part, thread, shared); });
        }
    }

private:
    static GK_LANE void store(const Launch& launch, int64_t first, int part, int thread, const Shared& shared) {
        float* out = reinterpret_cast<float*>(launch.out);
        GK_GPU_UNROLL(8)
        for (int i = 0; i < kPart; ++i) {
            const int at = i * kThreads + thread, owner = at / kPart, column = at % kPart;
            const int64_t place = first + owner;
            if (place < launch.blocks) out[place * Type::kBlock + part + column] = shared.numbers[owner][column];
        }
    }
};

}  // namespace
}  // namespace ggufactory

// Blocks back to single precision on a GPU: one thread for each block.
#pragma once

#include "cuda/source_numbers.h"
#include "dequantize_blocks.h"

namespace ggufactory {
namespace {

template <class Type>
struct DequantizeKernel {
    static constexpr int kPart = 32, kUnits = kPart / 4;
    static_assert(Type::kBlock % kPart == 0);

    // Parts of the threads' blocks, which leave it side by side. One unit more for each thread, so that eight threads
    // are in different banks of the memory, whether each writes one of its own or they read eight of one thread's.
    struct Shared {
        Unit units[kThreads][kUnits + 1];
    };

    static GK_LANE void run(const Launch& launch, const ThreadBlock& block, Shared& shared) {
        struct alignas(16) Block {
            float y[Type::kBlock];
        };
        PerThread<Block> blocks;
        const int64_t first = block.number * kThreads;
        block.phase([&](int thread) {
            const int64_t place = first + thread;
            if (place >= launch.blocks) return;
            const int64_t in_row = place % launch.blocks_per_row;
            Type::dequantize(row_of_block(launch, place) + in_row * Type::kBytes, blocks[thread].y);
        });
        GK_UNROLL(1)
        for (int part = 0; part < Type::kBlock; part += kPart) {
            block.phase([&](int thread) {
                if (first + thread >= launch.blocks) return;
                GK_UNROLL(8)
                for (int i = 0; i < kUnits; ++i) {
                    std::memcpy(&shared.units[thread][i], blocks[thread].y + part + 4 * i, sizeof(Unit));
                }
            });
            block.phase([&](int thread) { store(launch, first, part, thread, shared); });
        }
    }

private:
    static GK_LANE void store(const Launch& launch, int64_t first, int part, int thread, const Shared& shared) {
        GK_UNROLL(8)
        for (int i = 0; i < kUnits; ++i) {
            const int at = i * kThreads + thread, owner = at / kUnits, unit = at % kUnits;
            const int64_t place = (first + owner) * Type::kBlock + part + 4 * unit;
            if (first + owner >= launch.blocks) return;
            *reinterpret_cast<Unit*>(launch.out + 4 * place) = shared.units[owner][unit];
        }
    }
};

}  // namespace
}  // namespace ggufactory

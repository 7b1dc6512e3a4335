// Quantizing on a GPU: each thread walks one block, as a lane does on the CPU.
#pragma once

#include "cuda/row_tile.h"
#include "quantize_lanes.h"

namespace ggufactory {
namespace {

// One thread for each block. `kWeighted`: with importance.
template <class Type, bool kWeighted>
struct QuantizeKernel {
    static_assert(Type::kBlock % kPiece == 0);

    // Blocks are gathered in shared memory, and leave it as one run of units.
    struct Shared {
        union {
            RowTile tile;
            Unit units[kThreads * Type::kBytes / 16];
            uint32_t words[kThreads * Type::kBytes / 4];
            uint16_t halves[kThreads * Type::kBytes / 2];
            uint8_t bytes[kThreads * Type::kBytes];
        };
    };

    static GK_LANE void run(const Launch& launch, const ThreadBlock& block, Shared& shared) {
        PerThread<Weights> weights;
        PerThread<bool> finite;
        const int64_t first = block.number * kThreads;
        load_weights(launch, block, first, shared.tile, weights, finite);
        if constexpr (kWeighted) load_importance(launch, block, first, shared.tile, weights);
        if constexpr (kSearches) {
            block.warp_phase([&](int thread) {
                quantize(launch, first + thread, weights[thread], finite[thread], thread, shared);
            });
        } else {
            block.phase([&](int thread) {
                quantize(launch, first + thread, weights[thread], finite[thread], thread, shared);
            });
        }
        block.phase([&](int thread) { store(launch, first, thread, shared); });
    }

private:
    static constexpr bool kSearches = __is_base_of(SearchedInGrid, Type);

    // Of a block. Those of long ones lie in the thread's stack: aligned, so that four are stored and loaded at a time.
    struct alignas(16) Weights {
        float x[Type::kBlock], importance[kWeighted ? Type::kBlock : 4];
    };

    // Spare threads repeat the last block.
    static GK_LANE int64_t source_block(const Launch& launch, int64_t place) {
        return place < launch.blocks ? place : launch.blocks - 1;
    }

    static GK_LANE void load_weights(const Launch& launch, const ThreadBlock& block, int64_t first, RowTile& tile,
                                     PerThread<Weights>& weights, PerThread<bool>& finite) {
        const SourceFormat format = static_cast<SourceFormat>(launch.format);
        const bool aligned = are_aligned<16>(launch.source, launch.row_stride);
        const int64_t block_bytes = Type::kBlock * (format == SourceFormat::kF32 ? 4 : 2);
        block.phase([&](int thread) {
            const int64_t source = source_block(launch, first + thread);
            tile.rows[thread] = row_of_block(launch, source) + source % launch.blocks_per_row * block_bytes;
            finite[thread] = true;
        });
        GK_UNROLL(1)
        for (int piece = 0; piece < Type::kBlock; piece += kPiece) {
            pass_through(block, tile, format, aligned, piece, [&](int thread, const float* numbers) {
                bool all = finite[thread];
                GK_UNROLL(32)
                for (int i = 0; i < kPiece; ++i) {
                    weights[thread].x[piece + i] = numbers[i];
                    all &= magnitude_of(numbers[i]) < infinity();
                }
                finite[thread] = all;
            });
        }
    }

    static GK_LANE void load_importance(const Launch& launch, const ThreadBlock& block, int64_t first, RowTile& tile,
                                        PerThread<Weights>& weights) {
        const bool aligned = are_aligned<16>(launch.importance, 0);
        block.phase([&](int thread) {
            const int64_t column = source_block(launch, first + thread) % launch.blocks_per_row * Type::kBlock;
            tile.rows[thread] = reinterpret_cast<const uint8_t*>(launch.importance + column);
        });
        GK_UNROLL(1)
        for (int piece = 0; piece < Type::kBlock; piece += kPiece) {
            pass_through(block, tile, SourceFormat::kF32, aligned, piece, [&](int thread, const float* numbers) {
                GK_UNROLL(32)
                for (int i = 0; i < kPiece; ++i) weights[thread].importance[piece + i] = numbers[i];
            });
        }
    }

    // A thread without a block of its own, or whose weights are not finite, is done; in a search it stays to help
    // its warp, with the last block or with one of zeros.
    static GK_LANE void quantize(const Launch& launch, int64_t place, Weights& weights, bool are_finite, int thread,
                                 Shared& shared) {
        const bool is_spare = place >= launch.blocks;
        if (!are_finite && !is_spare) report(launch, FaultKind::kNonFinite, place);
        if (is_spare || !are_finite) {
            if constexpr (!kSearches) return;
            if (!are_finite) {
                for (float& x : weights.x) x = 0;
            }
        }
        int32_t bytes[Type::kBytes];
        float mean_square = 0;
        if constexpr (kWeighted && __is_base_of(WeighedByRow, Type)) {
            mean_square = launch.mean_squares[place / launch.blocks_per_row];
        }
        const auto outcome = quantize_lanes<ThreadLanes, Type>(weights.x, kWeighted ? weights.importance : nullptr,
                                                               mean_square, &launch.book, bytes);
        if (is_spare || !are_finite) return;
        const FaultKind kind = fault_of(outcome);
        if (kind != FaultKind::kNone) report(launch, kind, place);
        pack(bytes, thread, shared);
    }

    // The bytes of a thread's block, as many at a time as every block is aligned to.
    static GK_LANE void pack(const int32_t* bytes, int thread, Shared& shared) {
        // Bytes of short blocks are registers, and stay so where the loop is unrolled whole.
        constexpr int kSteps [[maybe_unused]] = Type::kBlock > 32 ? 4 : Type::kBytes;
        if constexpr (Type::kBytes % 4 == 0) {
            uint32_t* const to = shared.words + thread * (Type::kBytes / 4);
            GK_GPU_UNROLL(kSteps)
            for (int i = 0; i < Type::kBytes; i += 4) {
                to[i / 4] = static_cast<uint32_t>(bytes[i] | bytes[i + 1] << 8 | bytes[i + 2] << 16) |
                            static_cast<uint32_t>(bytes[i + 3]) << 24;
            }
        } else if constexpr (Type::kBytes % 2 == 0) {
            uint16_t* const to = shared.halves + thread * (Type::kBytes / 2);
            GK_GPU_UNROLL(kSteps)
            for (int i = 0; i < Type::kBytes; i += 2) to[i / 2] = static_cast<uint16_t>(bytes[i] | bytes[i + 1] << 8);
        } else {
            uint8_t* const to = shared.bytes + thread * Type::kBytes;
            GK_GPU_UNROLL(kSteps)
            for (int i = 0; i < Type::kBytes; ++i) to[i] = static_cast<uint8_t>(bytes[i]);
        }
    }

    static GK_LANE void store(const Launch& launch, int64_t first, int thread, const Shared& shared) {
        static_assert(kThreads * Type::kBytes % 16 == 0);  // each run begins at a unit
        const int64_t rest = launch.blocks - first;
        const int size = static_cast<int>(rest < kThreads ? rest : kThreads) * Type::kBytes;
        uint8_t* const to = launch.out + first * Type::kBytes;
        GK_UNROLL(1)
        for (int i = thread; i < size / 16; i += kThreads) reinterpret_cast<Unit*>(to)[i] = shared.units[i];
        if (thread < size % 16) to[size / 16 * 16 + thread] = shared.bytes[size / 16 * 16 + thread];
    }
};

}  // namespace
}  // namespace ggufactory

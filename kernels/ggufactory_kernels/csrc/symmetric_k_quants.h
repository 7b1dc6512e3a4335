// K-quants with a signed scale for each sub-block and no minimum: x = d * scale * q.
//
// Order of the work, as in quantize_row_q6_K_ref and quantize_row_q6_K_impl (ggml-quants.c): search each
// sub-block's scale; quantize the sixteen scales by the largest magnitude among them; then round every
// weight again with the stored scales.
#pragma once

#include "blocks.h"
#include "half.h"
#include "scale_search.h"
#include "sub_blocks.h"

namespace ggufactory {
namespace {

constexpr int kSymmetricSubBlocks = 16;
constexpr int kSymmetricSubBlock = kSuperBlock / kSymmetricSubBlocks;

struct Q6_K : Q6_KLayout {
    static constexpr int kLevels = 32;

    // `x`, `importance` (null: none): kBlock floats of each lane's block. Writes kBytes bytes.
    // Returns where the stored scale is finite.
    template <class L>
    static typename L::M quantize(const typename L::F* x, const typename L::F* importance,
                                  typename L::I* bytes) {
        using F = typename L::F;
        using I = typename L::I;
        using M = typename L::M;
        SymmetricScale<L> found[kSymmetricSubBlocks];
        search_sub_blocks<L>(x, importance, found);

        F largest = L::floats(0), magnitude = L::floats(0);
        for (int j = 0; j < kSymmetricSubBlocks; ++j) {
            const F size = L::abs(found[j].scale);
            const M larger = size > magnitude;
            magnitude = L::select(larger, size, magnitude);
            largest = L::select(larger, found[j].scale, largest);
        }
        // A block of nothing is all zero bytes: its quants too, though zero is elsewhere stored as 32.
        const M is_zero = magnitude < L::floats(kGroupMaxEpsilon);
        const F inverse = L::floats(-128) / largest;
        const I zero = L::ints(0);
        const I half_scale = L::select(is_zero, zero, float_to_half<L>(L::floats(1) / inverse));
        const F stored_scale = half_to_float<L>(half_scale);

        I quants[kBlock];
        GK_UNROLL(1)
        for (int j = 0; j < kSymmetricSubBlocks; ++j) {
            const I wide = L::at_most(L::nearest_int(inverse * found[j].scale), 127);
            const I byte = L::select(is_zero, zero, wide & L::ints(0xff));
            bytes[kSubScales + j] = byte;
            const I as_signed = byte - ((byte & L::ints(0x80)) << 1);
            const int first = j * kSymmetricSubBlock;
            round_to_stored_scale<L>(x + first, stored_scale * L::to_float(as_signed), found[j], is_zero,
                                     quants + first);
        }
        pack<L>(quants, bytes);
        store_half<L>(half_scale, bytes + kScale);
        return half_is_finite<L>(half_scale);
    }

private:
    // Element weights: the importance itself, or else the square of the element.
    template <class L>
    static inline void search_sub_blocks(const typename L::F* x, const typename L::F* importance,
                                         SymmetricScale<L>* found) {
        using S = SideBySide<L>;
        using P = typename S::Lanes;
        GK_UNROLL(1)
        for (int j = 0; j < kSymmetricSubBlocks; j += S::kCount) {
            const int first = j * kSymmetricSubBlock;
            typename P::F xs[kSymmetricSubBlock], ws[kSymmetricSubBlock];
            S::load(x + first, xs);
            if (importance) {
                S::load(importance + first, ws);
            } else {
                for (int i = 0; i < kSymmetricSubBlock; ++i) ws[i] = xs[i] * xs[i];
            }
            const SymmetricScale<P> best = search_symmetric_scale<P, kSymmetricSubBlock>(xs, ws, kLevels);
            for (int k = 0; k < S::kCount; ++k) {
                found[j + k] = {S::part(best.scale, k), S::part(best.inverse, k), S::part(best.is_zero, k)};
            }
        }
    }

    // The quants of one sub-block under its stored scale `d`. Where that is zero the search's own stay.
    template <class L>
    static inline void round_to_stored_scale(const typename L::F* x, typename L::F d,
                                             const SymmetricScale<L>& found, typename L::M block_is_zero,
                                             typename L::I* quants) {
        using I = typename L::I;
        const typename L::M vanished = d == L::floats(0);
        for (int i = 0; i < kSymmetricSubBlock; ++i) {
            quants[i] = L::clamp(L::nearest_int(x[i] / d), -kLevels, kLevels - 1) + L::ints(kLevels);
        }
        if (!L::any(vanished)) return;
        for (int i = 0; i < kSymmetricSubBlock; ++i) {
            const I searched =
                L::clamp(L::nearest_int(found.inverse * x[i]), -kLevels, kLevels - 1) + L::ints(kLevels);
            const I kept = L::select(found.is_zero | block_is_zero, L::ints(0), searched);
            quants[i] = L::select(vanished, kept, quants[i]);
        }
    }

    // Of each 128 weights, bytes i hold the low four bits of weights i, i + 32 and, above them, of
    // i + 64, i + 96; then come the upper two bits of all four.
    template <class L>
    static GK_LANE void pack(const typename L::I* quants, typename L::I* bytes) {
        using I = typename L::I;
        const I low = L::ints(0x0f);
        for (int group = 0; group < kBlock / 128; ++group) {
            const I* q = quants + 128 * group;
            I* low_bytes = bytes + kLowQuants + 64 * group;
            I* high_bytes = bytes + kHighQuants + 32 * group;
            for (int i = 0; i < 32; ++i) {
                low_bytes[i] = (q[i] & low) | ((q[i + 64] & low) << 4);
                low_bytes[i + 32] = (q[i + 32] & low) | ((q[i + 96] & low) << 4);
                high_bytes[i] = L::shift_right(q[i], 4) | (L::shift_right(q[i + 32], 4) << 2) |
                                (L::shift_right(q[i + 64], 4) << 4) | (L::shift_right(q[i + 96], 4) << 6);
            }
        }
    }
};

}  // namespace
}  // namespace ggufactory

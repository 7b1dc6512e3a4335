// Q2_K: two bits a weight, and for each sixteen weights a scale and a minimum of four bits.
//
// Order of the work, as in quantize_row_q2_K_ref and quantize_row_q2_K_impl (ggml-quants.c): that of the
// other affine K-quants (affine_k_quants.h). Without importance the error of the search is the absolute
// difference, weighed by the element's own magnitude.
#pragma once

#include "affine_k_quants.h"

namespace ggufactory {
namespace {

struct Q2_K : Q2_KLayout {
    // As Q4_K::quantize.
    template <class L>
    static typename L::M quantize(const typename L::F* x, const typename L::F* importance,
                                  typename L::I* bytes) {
        using F = typename L::F;
        using I = typename L::I;
        AffineScale<L> found[kSubBlocks];
        F scales[kSubBlocks], minima[kSubBlocks], weight_sums[kSubBlocks];
        search_all<L>(x, importance, found, weight_sums);
        for (int j = 0; j < kSubBlocks; ++j) {
            scales[j] = found[j].scale;
            minima[j] = found[j].minimum;
        }
        I scale_bytes[kSubBlocks], minimum_bytes[kSubBlocks];
        F scale, minimum;
        if (importance) {
            scale = quantize_positive<L, kSubBlocks>(scales, weight_sums, kScaleLevels, scale_bytes);
            minimum = quantize_positive<L, kSubBlocks>(minima, weight_sums, kScaleLevels, minimum_bytes);
        } else {
            scale = quantize_unclamped<L>(scales, scale_bytes);
            minimum = quantize_unclamped<L>(minima, minimum_bytes);
        }
        const I half_scale = float_to_half<L>(scale), half_minimum = float_to_half<L>(minimum);
        store_half<L>(half_scale, bytes + kScale);
        store_half<L>(half_minimum, bytes + kMinimum);

        const F stored_scale = half_to_float<L>(half_scale), stored_minimum = half_to_float<L>(half_minimum);
        I quants[kBlock];
        GK_UNROLL(1)
        for (int j = 0; j < kSubBlocks; ++j) {
            const I byte = (scale_bytes[j] | (minimum_bytes[j] << 4)) & L::ints(0xff);
            bytes[kSubScales + j] = byte;
            round_to_stored_scale<L, kSubBlock>(x + j * kSubBlock,
                                                stored_scale * L::to_float(byte & L::ints(0x0f)),
                                                stored_minimum * L::to_float(L::shift_right(byte, 4)), found[j],
                                                kLevels, quants + j * kSubBlock);
        }
        pack_two_bits<L>(quants, bytes + kQuants);
        return half_is_finite<L>(half_scale) & half_is_finite<L>(half_minimum);
    }

private:
    static constexpr int kSubBlocks = 16, kSubBlock = kBlock / kSubBlocks;
    static constexpr int kLevels = 3, kScaleLevels = 15;

    template <class L>
    static inline void search_all(const typename L::F* x, const typename L::F* importance,
                                  AffineScale<L>* found, typename L::F* weight_sums) {
        using F = typename L::F;
        using S = SideBySide<L>;
        using P = typename S::Lanes;
        F sum_squares = L::floats(0);
        if (importance) {
            GK_UNROLL(16)
            for (int i = 0; i < kBlock; ++i) sum_squares = sum_squares + x[i] * x[i];
        }
        const F mean_square = sum_squares / L::floats(kBlock);
        GK_UNROLL(1)
        for (int j = 0; j < kSubBlocks; j += S::kCount) {
            const int first = j * kSubBlock;
            typename P::F xs[kSubBlock], ws[kSubBlock];
            S::load(x + first, xs);
            AffineScale<P> best;
            if (importance) {
                S::load(importance + first, ws);
                typename P::F sum = P::floats(0);
                for (int i = 0; i < kSubBlock; ++i) {
                    ws[i] = ws[i] * P::sqrt(S::same(mean_square) + xs[i] * xs[i]);
                    sum = sum + ws[i];
                }
                for (int k = 0; k < S::kCount; ++k) weight_sums[j + k] = S::part(sum, k);
                best = search_affine_scale<P, kSubBlock>(xs, ws, kLevels, AffineSteps{-0.9f, 0.05f, 36});
            } else {
                for (int i = 0; i < kSubBlock; ++i) ws[i] = P::abs(xs[i]);
                best = search_affine_scale<P, kSubBlock, true>(xs, ws, kLevels, AffineSteps{-0.5f, 0.1f, 15});
            }
            for (int k = 0; k < S::kCount; ++k) {
                found[j + k] = {S::part(best.scale, k), S::part(best.minimum, k), S::part(best.inverse, k),
                                S::part(best.floor, k)};
            }
        }
    }

    // Bytes by the largest of `values`, which becomes 15; returns what 15 stands for, over 15. A negative
    // value wraps, as in the reference's uint8_t.
    template <class L>
    static GK_LANE typename L::F quantize_unclamped(const typename L::F* values, typename L::I* bytes) {
        using F = typename L::F;
        const F zero = L::floats(0), top = L::floats(kScaleLevels);
        F largest = zero;
        for (int j = 0; j < kSubBlocks; ++j) largest = L::select(values[j] > largest, values[j], largest);
        const F inverse = top / largest;
        for (int j = 0; j < kSubBlocks; ++j) {
            const typename L::I wide = L::nearest_int(inverse * values[j]) & L::ints(0xff);
            bytes[j] = L::select(largest > zero, wide, L::ints(0));
        }
        return largest / top;
    }
};

}  // namespace
}  // namespace ggufactory

// Q3_K: three bits a weight, and for each sixteen weights a signed scale of six bits; no minimum.
//
// Order of the work, as in quantize_row_q3_K_ref and quantize_row_q3_K_impl (ggml-quants.c): find each
// sub-block's scale; quantize the sixteen scales to six bits; round every weight again with the stored
// scales. With importance both scale searches are the symmetric one of scale_search.h. Without, a
// sub-block's quants are improved one by one, and the scales are divided by the largest.
#pragma once

#include "blocks.h"
#include "half.h"
#include "legacy_quants.h"
#include "scale_search.h"
#include "sub_blocks.h"
#include "symmetric_descent.h"

namespace ggufactory {
namespace {

struct Q3_K : Q3_KLayout {
    // `x`, `importance` (null: none): kBlock floats of each lane's block. Writes kBytes bytes.
    // Returns where the stored scale is finite.
    template <class L>
    static typename L::M quantize(const typename L::F* x, const typename L::F* importance,
                                  typename L::I* bytes) {
        using F = typename L::F;
        using I = typename L::I;
        I six_bits[kSubBlocks], quants[kBlock];
        I half_scale;
        if (importance) {
            SymmetricScale<L> found[kSubBlocks];
            half_scale = float_to_half<L>(search_all<L>(x, importance, found, six_bits));
            round_to_stored_scales<L>(x, half_scale, six_bits, quants, [&](int i) {
                return searched_quant<L>(x[i], found[i / kSubBlock], kLevels);
            });
        } else {
            F levels[kBlock];
            half_scale = float_to_half<L>(descend_all<L>(x, levels, six_bits));
            round_to_stored_scales<L>(x, half_scale, six_bits, quants, [&](int i) {
                return L::truncate(levels[i]) + L::ints(kLevels);
            });
        }
        store_half<L>(half_scale, bytes + kScale);
        pack<L>(quants, six_bits, bytes);
        return half_is_finite<L>(half_scale);
    }

private:
    static constexpr int kSubBlocks = 16, kSubBlock = kBlock / kSubBlocks;
    static constexpr int kLevels = 4;

    // The quants, 0 ... 7, under the stored scales. Where a sub-block's is zero the search's own stay:
    // `searched(i)`.
    template <class L, class Searched>
    static GK_LANE void round_to_stored_scales(const typename L::F* x, typename L::I half_scale,
                                               const typename L::I* six_bits, typename L::I* quants,
                                               const Searched& searched) {
        const typename L::F stored_scale = half_to_float<L>(half_scale);
        GK_UNROLL(1)
        for (int j = 0; j < kSubBlocks; ++j) {
            const typename L::F d = stored_scale * L::to_float(six_bits[j] - L::ints(32));
            const int first = j * kSubBlock, last = first + kSubBlock;
            for (int i = first; i < last; ++i) {
                quants[i] = L::clamp(L::nearest_int(x[i] / d), -kLevels, kLevels - 1) + L::ints(kLevels);
            }
            const typename L::M vanished = d == L::floats(0);
            if (!L::any(vanished)) continue;
            for (int i = first; i < last; ++i) quants[i] = L::select(vanished, searched(i), quants[i]);
        }
    }

    // Both find the sub-blocks' scales, quantize them to six bits and return the super-block's scale.
    template <class L>
    static inline typename L::F descend_all(const typename L::F* x, typename L::F* levels,
                                            typename L::I* six_bits) {
        using F = typename L::F;
        using I = typename L::I;
        F scales[kSubBlocks];
        SymmetricDescent<L, kSubBlocks, kSubBlock>().run(x, kLevels, levels, scales);
        F largest = L::floats(0), magnitude = L::floats(0);
        for (int j = 0; j < kSubBlocks; ++j) {
            const F size = L::abs(scales[j]);
            const typename L::M larger = size > magnitude;
            magnitude = L::select(larger, size, magnitude);
            largest = L::select(larger, scales[j], largest);
        }
        const typename L::M is_zero = largest == L::floats(0);
        const F inverse = L::floats(-32) / largest;
        for (int j = 0; j < kSubBlocks; ++j) {
            const I byte = L::nearest_int(inverse * scales[j]) & L::ints(0xff);
            const I as_signed = byte - ((byte & L::ints(0x80)) << 1);
            six_bits[j] = L::select(is_zero, L::ints(0), L::clamp(as_signed, -32, 31) + L::ints(32));
        }
        return L::select(is_zero, L::floats(0), L::floats(1) / inverse);
    }

    template <class L>
    static inline typename L::F search_all(const typename L::F* x, const typename L::F* importance,
                                           SymmetricScale<L>* found, typename L::I* six_bits) {
        using F = typename L::F;
        using S = SideBySide<L>;
        using P = typename S::Lanes;
        F scales[kSubBlocks], weight_sums[kSubBlocks], sum_squares = L::floats(0);
        GK_UNROLL(16)
        for (int i = 0; i < kBlock; ++i) sum_squares = sum_squares + x[i] * x[i];
        const F mean = L::floats(2) * sum_squares / L::floats(kBlock);
        GK_UNROLL(1)
        for (int j = 0; j < kSubBlocks; j += S::kCount) {
            const int first = j * kSubBlock;
            typename P::F xs[kSubBlock], ws[kSubBlock], sum = P::floats(0);
            S::load(x + first, xs);
            S::load(importance + first, ws);
            for (int i = 0; i < kSubBlock; ++i) {
                ws[i] = ws[i] * P::sqrt(S::same(mean) + xs[i] * xs[i]);
                sum = sum + ws[i];
            }
            const SymmetricScale<P> best = search_symmetric_scale<P, kSubBlock>(xs, ws, kLevels);
            for (int k = 0; k < S::kCount; ++k) {
                weight_sums[j + k] = S::part(sum, k);
                scales[j + k] = S::part(best.scale, k);
                found[j + k] = {scales[j + k], S::part(best.inverse, k), S::part(best.is_zero, k)};
            }
        }
        // Of weights of some 1e17 the sums overflow, and with them the scales.
        const SymmetricScale<L> super = search_symmetric_scale<L, kSubBlocks, false>(scales, weight_sums, 32);
        for (int j = 0; j < kSubBlocks; ++j) six_bits[j] = searched_quant<L>(scales[j], super, 32);
        return super.scale;
    }

    // The search's quant of `x`, from 0 on; zero where there is nothing.
    template <class L>
    static GK_LANE typename L::I searched_quant(typename L::F x, const SymmetricScale<L>& found, int levels) {
        const typename L::I level = L::clamp(L::nearest_int(found.inverse * x), -levels, levels - 1);
        return L::select(found.is_zero, L::ints(0), level + L::ints(levels));
    }

    // Four bits of each scale fill eight bytes, the upper two bits of all the next four. Bit j of high
    // byte i belongs to weight i of each 32, two low bits of four such weights fill a low byte.
    template <class L>
    static GK_LANE void pack(const typename L::I* quants, const typename L::I* six_bits,
                             typename L::I* bytes) {
        using I = typename L::I;
        const I low = L::ints(0x0f);
        for (int j = 0; j < 8; ++j) {
            bytes[kSubScales + j] = (six_bits[j] & low) | ((six_bits[j + 8] & low) << 4);
        }
        for (int j = 0; j < 4; ++j) {
            I high = L::ints(0);
            for (int k = 0; k < 4; ++k) high = high | (L::shift_right(six_bits[j + 4 * k], 4) << (2 * k));
            bytes[kSubScales + 8 + j] = high;
        }
        GK_GPU_UNROLL(1)
        for (int i = 0; i < kBlock / 8; ++i) {
            I high = L::ints(0);
            for (int j = 0; j < 8; ++j) high = high | (L::shift_right(quants[32 * j + i], 2) << j);
            bytes[kHighQuants + i] = high;
        }
        I low_quants[kBlock];
        GK_GPU_UNROLL(8)
        for (int i = 0; i < kBlock; ++i) low_quants[i] = quants[i] & L::ints(3);
        pack_two_bits<L>(low_quants, bytes + kLowQuants);
    }
};

}  // namespace
}  // namespace ggufactory

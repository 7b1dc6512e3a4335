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

namespace ggufactory {
namespace {

// Up to five sweeps of coordinate descent from the rounding that maps the largest magnitude to -levels.
// Fills `l` (-levels <= l < levels); returns the scale. `l` of a group of nothing is -levels.
// A lane in which a sweep changed nothing would repeat it exactly, so lanes may sweep on together until
// none changes. Source: make_q3_quants of ggml-quants.c.
template <class L, int kCount>
inline typename L::F descend_symmetric_scale(const typename L::F* x, int levels, typename L::F* l) {
    using F = typename L::F;
    using M = typename L::M;
    const F zero = L::floats(0);
    F largest = zero, magnitude = zero;
    for (int i = 0; i < kCount; ++i) {
        const F size = L::abs(x[i]);
        const M larger = size > magnitude;  // the first of equals decides the sign
        magnitude = L::select(larger, size, magnitude);
        largest = L::select(larger, x[i], largest);
    }
    const M is_zero = magnitude < L::floats(kGroupMaxEpsilon);
    const F inverse = L::floats(static_cast<float>(-levels)) / largest;

    F w[kCount], wx[kCount], sum_xl = zero, sum_l2 = zero;
    for (int i = 0; i < kCount; ++i) {
        l[i] = round_level<L, false>(inverse * x[i], -levels, levels - 1);
        w[i] = x[i] * x[i];
        wx[i] = w[i] * x[i];
        sum_xl = sum_xl + wx[i] * l[i];
        sum_l2 = sum_l2 + w[i] * l[i] * l[i];
    }
    GK_UNROLL(1)
    for (int sweep = 0; sweep < 5; ++sweep) {
        M any_changed = zero > zero;
        GK_UNROLL(2)
        for (int i = 0; i < kCount; ++i) {
            F rest_xl = sum_xl - wx[i] * l[i];
            F rest_l2 = sum_l2 - w[i] * l[i] * l[i];
            const M fits = rest_xl > zero;
            const F level = round_level<L, false>(x[i] * rest_l2 / rest_xl, -levels, levels - 1);
            rest_xl = rest_xl + wx[i] * level;
            rest_l2 = rest_l2 + w[i] * level * level;
            const M changed = fits & L::negate(level == l[i]) & (rest_l2 > zero) &
                              (rest_xl * rest_xl * sum_l2 > sum_xl * sum_xl * rest_l2);
            l[i] = L::select(changed, level, l[i]);
            sum_xl = L::select(changed, rest_xl, sum_xl);
            sum_l2 = L::select(changed, rest_l2, sum_l2);
            any_changed = any_changed | changed;
        }
        if (!L::any(any_changed)) break;
    }
    for (int i = 0; i < kCount; ++i) l[i] = L::select(is_zero, L::floats(static_cast<float>(-levels)), l[i]);
    return L::select(is_zero, zero, L::select(sum_l2 > zero, sum_xl / sum_l2, zero));
}

struct Q3_K : Q3_KLayout {
    // `x`, `importance` (null: none): kBlock floats of each lane's block. Writes kBytes bytes.
    // Returns where the stored scale is finite.
    template <class L>
    static typename L::M quantize(const typename L::F* x, const typename L::F* importance,
                                  typename L::I* bytes) {
        using F = typename L::F;
        using I = typename L::I;
        F scales[kSubBlocks];
        I quants[kBlock], six_bits[kSubBlocks];  // quants: 0 ... 7, at first the search's own
        const F scale = importance ? search_all<L>(x, importance, quants, scales, six_bits)
                                   : descend_all<L>(x, quants, scales, six_bits);
        const I half_scale = float_to_half<L>(scale);
        store_half<L>(half_scale, bytes + kScale);
        const F stored_scale = half_to_float<L>(half_scale);
        GK_UNROLL(1)
        for (int j = 0; j < kSubBlocks; ++j) {
            const F d = stored_scale * L::to_float(six_bits[j] - L::ints(32));
            const typename L::M vanished = d == L::floats(0);  // the search's quants stay
            for (int i = j * kSubBlock; i < (j + 1) * kSubBlock; ++i) {
                const I level = L::clamp(L::nearest_int(x[i] / d), -kLevels, kLevels - 1) + L::ints(kLevels);
                quants[i] = L::select(vanished, quants[i], level);
            }
        }
        pack<L>(quants, six_bits, bytes);
        return half_is_finite<L>(half_scale);
    }

private:
    static constexpr int kSubBlocks = 16, kSubBlock = kBlock / kSubBlocks;
    static constexpr int kLevels = 4;

    // Both fill `quants`, each sub-block's scale and its six bits, and return the super-block's scale.
    template <class L>
    static inline typename L::F descend_all(const typename L::F* x, typename L::I* quants,
                                            typename L::F* scales, typename L::I* six_bits) {
        using F = typename L::F;
        using I = typename L::I;
        using Pair = PairLanes<L>;
        using Four = PairLanes<Pair>;  // every step of the descent waits for the one before, so four at once
        GK_UNROLL(1)
        for (int j = 0; j < kSubBlocks; j += 4) {
            const F* first = x + j * kSubBlock;
            typename Pair::F a[kSubBlock], b[kSubBlock];
            pair_up<L>(first, first + kSubBlock, a);
            pair_up<L>(first + 2 * kSubBlock, first + 3 * kSubBlock, b);
            typename Four::F xs[kSubBlock], l[kSubBlock];
            pair_up<Pair>(a, b, xs);
            const typename Four::F scale = descend_symmetric_scale<Four, kSubBlock>(xs, kLevels, l);
            scales[j] = scale.a.a;
            scales[j + 1] = scale.a.b;
            scales[j + 2] = scale.b.a;
            scales[j + 3] = scale.b.b;
            for (int i = 0; i < kSubBlock; ++i) {
                I* quant = quants + j * kSubBlock + i;
                quant[0] = L::truncate(l[i].a.a) + L::ints(kLevels);
                quant[kSubBlock] = L::truncate(l[i].a.b) + L::ints(kLevels);
                quant[2 * kSubBlock] = L::truncate(l[i].b.a) + L::ints(kLevels);
                quant[3 * kSubBlock] = L::truncate(l[i].b.b) + L::ints(kLevels);
            }
        }
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
                                           typename L::I* quants, typename L::F* scales,
                                           typename L::I* six_bits) {
        using F = typename L::F;
        using P = PairLanes<L>;
        F weight_sums[kSubBlocks], sum_squares = L::floats(0);
        GK_UNROLL(16)
        for (int i = 0; i < kBlock; ++i) sum_squares = sum_squares + x[i] * x[i];
        const F mean = L::floats(2) * sum_squares / L::floats(kBlock);
        GK_UNROLL(1)
        for (int j = 0; j < kSubBlocks; j += 2) {
            const int first = j * kSubBlock, second = first + kSubBlock;
            typename P::F xs[kSubBlock], ws[kSubBlock], sum = P::floats(0);
            pair_up<L>(x + first, x + second, xs);
            pair_up<L>(importance + first, importance + second, ws);
            for (int i = 0; i < kSubBlock; ++i) {
                ws[i] = ws[i] * P::sqrt(typename P::F{mean, mean} + xs[i] * xs[i]);
                sum = sum + ws[i];
            }
            const SymmetricScale<P> found = search_symmetric_scale<P, kSubBlock>(xs, ws, kLevels);
            weight_sums[j] = sum.a;
            weight_sums[j + 1] = sum.b;
            scales[j] = found.scale.a;
            scales[j + 1] = found.scale.b;
            round_searched<L, kSubBlock>(x + first, {found.scale.a, found.inverse.a, found.is_zero.a}, kLevels,
                                         quants + first);
            round_searched<L, kSubBlock>(x + second, {found.scale.b, found.inverse.b, found.is_zero.b}, kLevels,
                                         quants + second);
        }
        const SymmetricScale<L> found = search_symmetric_scale<L, kSubBlocks>(scales, weight_sums, 32);
        round_searched<L, kSubBlocks>(scales, found, 32, six_bits);
        return found.scale;
    }

    // The search's quants, from 0 on; all zero where there is nothing.
    template <class L, int kCount>
    static GK_LANE void round_searched(const typename L::F* x, const SymmetricScale<L>& found, int levels,
                                       typename L::I* quants) {
        for (int i = 0; i < kCount; ++i) {
            const typename L::I level = L::clamp(L::nearest_int(found.inverse * x[i]), -levels, levels - 1);
            quants[i] = L::select(found.is_zero, L::ints(0), level + L::ints(levels));
        }
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
        for (int i = 0; i < kBlock / 8; ++i) {
            I high = L::ints(0);
            for (int j = 0; j < 8; ++j) high = high | (L::shift_right(quants[32 * j + i], 2) << j);
            bytes[kHighQuants + i] = high;
        }
        I low_quants[kBlock];
        for (int i = 0; i < kBlock; ++i) low_quants[i] = quants[i] & L::ints(3);
        pack_two_bits<L>(low_quants, bytes + kLowQuants);
    }
};

}  // namespace
}  // namespace ggufactory

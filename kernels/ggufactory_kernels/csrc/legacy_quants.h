// The short blocks: 32 weights under one scale, with (Q4_1, Q5_1) or without a minimum.
//
// Without importance nothing is searched: the largest weight, or the range, gives the scale
// (quantize_row_q8_0_ref, _q4_0_ref and so on in ggml-quants.c). With importance Q4_0 to Q5_1 are searched
// (quantize_row_q4_0_impl and so on). An element then counts the more the larger it is beside its row's
// mean square, so the blocks of a row are not independent: the driver takes that mean beforehand.
#pragma once

#include "blocks.h"
#include "half.h"
#include "quantize_lanes.h"
#include "scale_search.h"

namespace ggufactory {
namespace {

// roundf(), halves away from zero, for |f| < 2^22. The addend is the largest float below a half: with
// 0.5 itself the sum would round up to the next integer just below a half.
template <class L>
GK_LANE typename L::I round_half_away(typename L::F f) {
    using I = typename L::I;
    const I below_half = L::bits(L::floats(0x1.fffffep-2f));
    const I sign = L::bits(f) & L::ints(INT32_MIN);
    return L::truncate_near(f + L::from_bits(below_half | sign));
}

// Two weights to a byte: i and, above it, i + 16 of the block's 32.
template <class L>
GK_LANE void store_nibbles(const typename L::I* quants, typename L::I* bytes) {
    const typename L::I low = L::ints(0x0f);
    for (int i = 0; i < 16; ++i) bytes[i] = (quants[i] & low) | ((quants[i + 16] & low) << 4);
}

template <class L>
GK_LANE void store_fifth_bits(const typename L::I* quants, typename L::I* bytes) {
    for (int byte = 0; byte < 4; ++byte) {
        typename L::I bits = L::ints(0);
        for (int i = 0; i < 8; ++i) {
            bits = bits | (L::shift_right(quants[8 * byte + i] & L::ints(0x10), 4) << i);
        }
        bytes[byte] = bits;
    }
}

template <class L, class Layout, int kLevels>
GK_LANE void store_quants(const typename L::I* quants, typename L::I* bytes) {
    store_nibbles<L>(quants, bytes + Layout::kQuants);
    if constexpr (kLevels == 32) store_fifth_bits<L>(quants, bytes + Layout::kFifthBits);
}

template <class L>
GK_LANE typename L::F inverse_or_zero(typename L::F scale) {
    return L::select(scale == L::floats(0), L::floats(0), L::floats(1) / scale);
}

// A denormal scale has no inverse: it is infinite, the quotients are infinite or NaN, and what the reference makes of
// those is the same for all. With zero in its place no quotient needs to be looked at.
template <class L>
GK_LANE typename L::M has_inverse(typename L::F inverse) {
    return L::abs(inverse) < L::floats(infinity());
}

// As inverse_or_zero; zero, too, for a scale that has none.
template <class L>
GK_LANE typename L::F finite_inverse(typename L::F scale) {
    const typename L::F found = inverse_or_zero<L>(scale);
    return L::select(has_inverse<L>(found), found, L::floats(0));
}

// The reference rounds by adding a half and cutting off; where the scale has no inverse its quants are zero.
template <class L>
struct Cutting {
    typename L::F inverse, addend;

    GK_LANE Cutting(typename L::F scale, float wanted) {
        const typename L::F found = inverse_or_zero<L>(scale);
        inverse = L::select(has_inverse<L>(found), found, L::floats(0));
        addend = L::select(has_inverse<L>(found), L::floats(wanted), L::floats(0));
    }
    // No sum is below zero.
    GK_LANE typename L::I quant(typename L::F x, int most) const {
        return L::at_most(L::truncate_near(x * inverse + addend), most);
    }
};

template <class L>
GK_LANE void importance_weights_of_row(const typename L::F* x, const typename L::F* importance,
                                       typename L::F mean_square, typename L::F* w) {
    for (int i = 0; i < 32; ++i) w[i] = importance[i] * L::sqrt(mean_square + x[i] * x[i]);
}

// x = scale * (q - kLevels / 2): Q4_0 with 16 levels, Q5_0 with 32.
template <class Layout, int kLevels>
struct SymmetricLegacy : Layout, WeighedByRow {
    static constexpr int kMiddle = kLevels / 2;

    // `x`: 32 floats of each lane's block. With `importance` (null: none), `mean_square` is that of the
    // block's row. Writes kBytes bytes. Returns where the stored scale is finite.
    template <class L>
    static typename L::M quantize(const typename L::F* x, const typename L::F* importance,
                                  typename L::F mean_square, typename L::I* bytes) {
        typename L::I quants[32];
        const typename L::F scale =
            importance ? search<L>(x, importance, mean_square, quants) : round_all<L>(x, quants);
        const typename L::I half_scale = float_to_half<L>(scale);
        store_half<L>(half_scale, bytes + Layout::kScale);
        store_quants<L, Layout, kLevels>(quants, bytes);
        return half_is_finite<L>(half_scale);
    }

private:
    template <class L>
    static GK_LANE typename L::F round_all(const typename L::F* x, typename L::I* quants) {
        using F = typename L::F;
        F largest = L::floats(0), magnitude = L::floats(0);
        for (int i = 0; i < 32; ++i) {
            const F size = L::abs(x[i]);
            const typename L::M larger = magnitude < size;  // the first of equals decides the sign
            magnitude = L::select(larger, size, magnitude);
            largest = L::select(larger, x[i], largest);
        }
        const F scale = largest / L::floats(-kMiddle);
        const Cutting<L> cutting(scale, kMiddle + 0.5f);
        for (int i = 0; i < 32; ++i) quants[i] = cutting.quant(x[i], kLevels - 1);
        return scale;
    }

    template <class L>
    static inline typename L::F search(const typename L::F* x, const typename L::F* importance,
                                       typename L::F mean_square, typename L::I* quants) {
        typename L::F w[32];
        importance_weights_of_row<L>(x, importance, mean_square, w);
        const SymmetricScale<L> found = search_symmetric_scale<L, 32>(x, w, kMiddle);
        for (int i = 0; i < 32; ++i) {
            const typename L::I level = L::clamp(L::nearest_int(found.inverse * x[i]), -kMiddle, kMiddle - 1);
            quants[i] = L::select(found.is_zero, L::ints(0), level + L::ints(kMiddle));
        }
        return found.scale;
    }
};

// x = scale * q + minimum: Q4_1 with 16 levels, Q5_1 with 32.
template <class Layout, int kLevels>
struct AffineLegacy : Layout, WeighedByRow {
    // As SymmetricLegacy::quantize.
    template <class L>
    static typename L::M quantize(const typename L::F* x, const typename L::F* importance,
                                  typename L::F mean_square, typename L::I* bytes) {
        using I = typename L::I;
        I quants[32];
        typename L::F minimum;
        const typename L::F scale = importance ? search<L>(x, importance, mean_square, quants, minimum)
                                               : round_all<L>(x, quants, minimum);
        const I half_scale = float_to_half<L>(scale), half_minimum = float_to_half<L>(minimum);
        store_half<L>(half_scale, bytes + Layout::kScale);
        store_half<L>(half_minimum, bytes + Layout::kMinimum);
        store_quants<L, Layout, kLevels>(quants, bytes);
        return half_is_finite<L>(half_scale) & half_is_finite<L>(half_minimum);
    }

private:
    template <class L>
    static GK_LANE typename L::F round_all(const typename L::F* x, typename L::I* quants,
                                           typename L::F& minimum) {
        using F = typename L::F;
        F lowest = x[0], highest = x[0];
        for (int i = 1; i < 32; ++i) {
            lowest = L::select(x[i] < lowest, x[i], lowest);
            highest = L::select(x[i] > highest, x[i], highest);
        }
        const F scale = (highest - lowest) / L::floats(kLevels - 1);
        const Cutting<L> cutting(scale, 0.5f);
        for (int i = 0; i < 32; ++i) quants[i] = cutting.quant(x[i] - lowest, kLevels - 1);
        minimum = lowest;
        return scale;
    }

    template <class L>
    static inline typename L::F search(const typename L::F* x, const typename L::F* importance,
                                       typename L::F mean_square, typename L::I* quants,
                                       typename L::F& minimum) {
        typename L::F w[32];
        importance_weights_of_row<L>(x, importance, mean_square, w);
        const AffineScale<L> found =
            search_affine_scale<L, 32>(x, w, kLevels - 1, AffineSteps{-0.9f, 0.05f, 36});
        for (int i = 0; i < 32; ++i) {
            quants[i] = L::clamp(L::nearest_int(found.inverse * (x[i] - found.floor)), 0, kLevels - 1);
        }
        minimum = found.minimum * L::floats(-1);
        return found.scale;
    }
};

using Q4_0 = SymmetricLegacy<Q4_0Layout, 16>;
using Q5_0 = SymmetricLegacy<Q5_0Layout, 32>;
using Q4_1 = AffineLegacy<Q4_1Layout, 16>;
using Q5_1 = AffineLegacy<Q5_1Layout, 32>;

struct Q8_0 : Q8_0Layout {
    // `x`: kBlock floats of each lane's block; importance is not used. Writes kBytes bytes.
    // Returns where the stored scale is finite.
    template <class L>
    static typename L::M quantize(const typename L::F* x, const typename L::F* /*importance*/,
                                  typename L::I* bytes) {
        using F = typename L::F;
        using I = typename L::I;
        const F scale = largest_magnitude<L, kBlock>(x) / L::floats(127);
        const F inverse = finite_inverse<L>(scale);
        const I half_scale = float_to_half<L>(scale);
        store_half<L>(half_scale, bytes + kScale);
        GK_UNROLL(32)
        for (int i = 0; i < kBlock; ++i) bytes[kQuants + i] = round_half_away<L>(x[i] * inverse) & L::ints(0xff);
        return half_is_finite<L>(half_scale);
    }
};

}  // namespace
}  // namespace ggufactory

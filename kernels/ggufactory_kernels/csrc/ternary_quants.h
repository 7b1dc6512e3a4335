// Blocks that keep little more than signs: Q1_0 the sign alone, Q2_0, TQ1_0 and TQ2_0 a digit -1, 0 or 1.
//
// The scale is the mean magnitude (Q1_0) or the largest; nothing is searched, and importance is not used.
// Sources: quantize_row_q1_0_ref, _q2_0_ref, _tq1_0_ref and _tq2_0_ref of ggml-quants.c.
#pragma once

#include "blocks.h"
#include "half.h"
#include "legacy_quants.h"

namespace ggufactory {
namespace {

struct Q1_0 : Q1_0Layout {
    // `x`: kBlock floats of each lane's block; importance is not used. Writes kBytes bytes.
    // Returns where the stored scale is finite.
    template <class L>
    static typename L::M quantize(const typename L::F* x, const typename L::F* /*importance*/,
                                  typename L::I* bytes) {
        using I = typename L::I;
        typename L::F sum = L::floats(0);
        GK_UNROLL(16)
        for (int i = 0; i < kBlock; ++i) sum = sum + L::abs(x[i]);
        const I half_scale = float_to_half<L>(sum / L::floats(kBlock));
        store_half<L>(half_scale, bytes + kScale);
        GK_UNROLL(1)
        for (int byte = 0; byte < kBlock / 8; ++byte) {
            I bits = L::ints(0);
            for (int i = 0; i < 8; ++i) {
                // A negative zero counts as positive.
                const typename L::M negative = x[8 * byte + i] < L::floats(0);
                bits = bits | L::select(negative, L::ints(0), L::ints(1 << i));
            }
            bytes[kQuants + byte] = bits;
        }
        return half_is_finite<L>(half_scale);
    }
};

struct Q2_0 : Q2_0Layout {
    // As Q1_0::quantize.
    template <class L>
    static typename L::M quantize(const typename L::F* x, const typename L::F* /*importance*/,
                                  typename L::I* bytes) {
        using F = typename L::F;
        using I = typename L::I;
        const F scale = largest_magnitude<L, kBlock>(x);
        const F found = inverse_or_zero<L>(scale);
        const F inverse = L::select(has_inverse<L>(found), found, L::floats(0));
        const I one = L::select(has_inverse<L>(found), L::ints(1), L::ints(0));  // without, the lowest digit
        const I half_scale = float_to_half<L>(scale);
        store_half<L>(half_scale, bytes + kScale);
        GK_UNROLL(1)
        for (int byte = 0; byte < kBlock / 4; ++byte) {
            I bits = L::ints(0);
            for (int i = 0; i < 4; ++i) {
                const I rounded = round_half_away<L>(x[4 * byte + i] * inverse);
                bits = bits | (L::clamp(rounded + one, 0, 3) << (2 * i));
            }
            bytes[kQuants + byte] = bits;
        }
        return half_is_finite<L>(half_scale);
    }
};

// 0, 1 or 2 for -1, 0 or 1. The reference rounds to a 64-bit integer and keeps the low half: what a denormal scale
// makes infinite or NaN becomes a zero, and so does what is multiplied with finite_inverse.
template <class L>
GK_LANE typename L::I ternary_digit(typename L::F f) {
    return round_half_away<L>(f) + L::ints(1);
}

struct TQ1_0 : TQ1_0Layout {
    // As Q1_0::quantize.
    template <class L>
    static typename L::M quantize(const typename L::F* x, const typename L::F* /*importance*/,
                                  typename L::I* bytes) {
        const typename L::F scale = largest_magnitude<L, kBlock>(x);
        const typename L::F inverse = finite_inverse<L>(scale);
        const typename L::I half_scale = float_to_half<L>(scale);
        // Thirty-two bytes of five digits, sixteen of five, four of four: a byte's digits lie as many
        // weights apart as there are bytes in its group.
        pack_group<L, 32, 5>(x, inverse, bytes + kQuants);
        pack_group<L, 16, 5>(x + 160, inverse, bytes + kQuants + 32);
        pack_group<L, 4, 4>(x + 240, inverse, bytes + kLastQuants);
        store_half<L>(half_scale, bytes + kScale);
        return half_is_finite<L>(half_scale);
    }

private:
    // The digits of a byte are those of a fraction of 3^5, most significant first, scaled to 256 and
    // rounded up so that multiplying by three brings out one after the other.
    template <class L, int kGroup, int kDigits>
    static inline void pack_group(const typename L::F* x, typename L::F inverse, typename L::I* bytes) {
        using I = typename L::I;
        GK_UNROLL(1)
        for (int byte = 0; byte < kGroup; ++byte) {
            I number = L::ints(0);
            for (int i = 0; i < 5; ++i) {
                number = number + number + number;
                if (i < kDigits) number = number + ternary_digit<L>(x[byte + i * kGroup] * inverse);
            }
            // No quotient comes closer below an integer than 1/243, so the float division cuts off right.
            bytes[byte] = L::truncate(L::to_float((number << 8) + L::ints(242)) / L::floats(243));
        }
    }
};

struct TQ2_0 : TQ2_0Layout {
    // As Q1_0::quantize.
    template <class L>
    static typename L::M quantize(const typename L::F* x, const typename L::F* /*importance*/,
                                  typename L::I* bytes) {
        using I = typename L::I;
        const typename L::F scale = largest_magnitude<L, kBlock>(x);
        const typename L::F inverse = finite_inverse<L>(scale);
        const I half_scale = float_to_half<L>(scale);
        GK_UNROLL(1)
        for (int byte = 0; byte < kBlock / 4; ++byte) {
            // Of each 128 weights, byte i holds weights i, i + 32, i + 64 and i + 96.
            const typename L::F* first = x + byte / 32 * 128 + byte % 32;
            I bits = L::ints(0);
            for (int i = 0; i < 4; ++i) bits = bits | (ternary_digit<L>(first[32 * i] * inverse) << (2 * i));
            bytes[kQuants + byte] = bits;
        }
        store_half<L>(half_scale, bytes + kScale);
        return half_is_finite<L>(half_scale);
    }
};

}  // namespace
}  // namespace ggufactory

// Four-bit floats (E2M1) under a shared scale that is itself a small float: MXFP4 and NVFP4.
//
// Nothing is searched, and importance is not used. Sources: quantize_row_mxfp4_ref and
// quantize_row_nvfp4_ref of ggml-quants.c, ggml_e8m0_to_fp32_half and the UE4M3 conversions of ggml-impl.h.
#pragma once

#include "blocks.h"
#include "ternary_quants.h"

namespace ggufactory {
namespace {

// Twice the magnitudes that E2M1 has; bit 3 of a quant is the sign.
constexpr float kDoubledE2M1[8] = {0, 1, 2, 3, 4, 6, 8, 12};

// The index with the sign of x; the positive zero comes first.
template <class L>
GK_LANE typename L::I with_sign(typename L::I index, typename L::F x) {
    const typename L::I sign = L::shift_right(L::bits(x), 31) << 3;
    return L::select(index == L::ints(0), index, index | sign);
}

// The quant nearest to x under scale d. The reference compares all sixteen in order and keeps the first of
// equals. Of the two signs the one of x is never farther, so eight magnitudes are enough. All eight, because the
// differences need not shrink strictly: where x is far beyond the range they are equal, and the first wins.
template <class L>
GK_LANE typename L::I nearest_e2m1(typename L::F x, typename L::F d) {
    using F = typename L::F;
    using I = typename L::I;
    const F size = L::abs(x);
    F least = size;
    I index = L::ints(0);
    for (int i = 1; i < 8; ++i) {
        const F error = L::abs(L::floats(kDoubledE2M1[i]) * d - size);
        const typename L::M nearer = error < least;
        least = L::select(nearer, error, least);
        index = L::select(nearer, L::ints(i), index);
    }
    return with_sign<L>(index, x);
}

// The quants nearest to `x` under scale d, whose mantissa has four bits at most.
//
// Where no size exceeds 2^20 d, comparing with the middles between magnitudes gives the same as nearest_e2m1().
// Magnitudes and middles are exact (d is at least 2^-128, and below 2^120 here). Rounding keeps the order of the
// differences, so of the nearest magnitude and those above it the nearest is kept; those below it must be farther
// after rounding too. Let `size` lie above the middle of magnitudes a < b. If it is at most b, both differences are
// exact: b is at most twice a, or a is zero. If it lies above b, the differences are b - a >= d apart, and
// below 2^20 d, where floats are d / 8 apart at most.
template <class L, int kCount>
GK_LANE void nearest_e2m1s(const typename L::F* x, typename L::F magnitude, typename L::F d, typename L::I* quants) {
    using F = typename L::F;
    using I = typename L::I;
    const typename L::M usual = (magnitude < d * L::floats(0x1p20f)) & (d < L::floats(0x1p120f));
    if (L::any(L::negate(usual))) {
        GK_UNROLL(1)
        for (int i = 0; i < kCount; ++i) quants[i] = nearest_e2m1<L>(x[i], d);
        return;
    }
    F middles[7];
    GK_UNROLL(8)
    for (int k = 0; k < 7; ++k) middles[k] = L::floats((kDoubledE2M1[k] + kDoubledE2M1[k + 1]) / 2) * d;
    GK_UNROLL(2)
    for (int i = 0; i < kCount; ++i) {
        const F size = L::abs(x[i]);
        I index = L::ints(0);
        GK_UNROLL(8)
        for (int k = 0; k < 7; ++k) index = L::select(size > middles[k], L::ints(k + 1), index);
        quants[i] = with_sign<L>(index, x[i]);
    }
}

// floor(log2f(f)) for f > 0 as glibc's log2f gives it: correctly rounded, so just below a power of two it
// already returns the power's exponent. How many floats below 2^k do so follows from the spacing of floats
// near k: floor(ln 2 * 2^e), where 2^e <= |k| (or k - 1, for positive k) is the largest such power.
template <class L>
GK_LANE typename L::I floor_log2(typename L::F f) {
    using I = typename L::I;
    const typename L::M is_denormal = L::bits(f) < L::ints(1 << 23);
    const I word = L::select(is_denormal, L::bits(L::to_float(L::bits(f))), L::bits(f));
    const I exponent =
        L::shift_right(word, 23) - L::select(is_denormal, L::ints(127 + 149), L::ints(127));
    // |k| or k - 1 for the next power, k = exponent + 1.
    const I distance = L::select(exponent < L::ints(0), L::ints(-1) - exponent, exponent);
    I early = L::ints(0);
    constexpr int kCounts[7] = {1, 2, 5, 11, 22, 44, 88};
    for (int e = 1; e <= 7; ++e) {
        early = L::select(distance < L::ints(1 << e), early, L::ints(kCounts[e - 1]));
    }
    const I mantissa = word & L::ints(0x7fffff);
    return exponent + L::select(mantissa < L::ints(1 << 23) - early, L::ints(0), L::ints(1));
}

// Half of 2^(byte - 127); the two smallest are denormal.
template <class L>
GK_LANE typename L::F half_of_e8m0(typename L::I byte) {
    using I = typename L::I;
    const I denormal = L::select(byte == L::ints(0), L::ints(0x00200000), L::ints(0x00400000));
    return L::from_bits(L::select(byte < L::ints(2), denormal, (byte - L::ints(1)) << 23));
}

struct MXFP4 : MXFP4Layout {
    // `x`: kBlock floats of each lane's block; importance is not used. Writes kBytes bytes.
    // Returns where the stored scale is a number: the byte of denormal blocks wraps, and may become 255.
    template <class L>
    static typename L::M quantize(const typename L::F* x, const typename L::F* /*importance*/,
                                  typename L::I* bytes) {
        using F = typename L::F;
        using I = typename L::I;
        const F magnitude = largest_magnitude<L, kBlock>(x);
        const I exponent = floor_log2<L>(magnitude) + L::ints(127 - 2);
        const I byte = L::select(magnitude > L::floats(0), exponent & L::ints(0xff), L::ints(0));
        const F d = half_of_e8m0<L>(byte);
        bytes[kScale] = byte;
        I quants[kBlock];
        nearest_e2m1s<L, kBlock>(x, magnitude, d, quants);
        store_nibbles<L>(quants, bytes + kQuants);
        return byte < L::ints(0xff);
    }
};

// f >= 0 as UE4M3: four bits of exponent (bias 7), three of mantissa, no sign. Halves round up.
template <class L>
GK_LANE typename L::I float_to_ue4m3(typename L::F f) {
    using F = typename L::F;
    using I = typename L::I;
    const F limited = L::select(f > L::floats(448), L::floats(448), f);
    const I word = L::bits(limited);
    const I exponent = L::shift_right(word, 23) - L::ints(127 - 7);
    const I denormal = L::at_most(L::truncate(limited * L::floats(512) + L::floats(0.5f)), 7);
    const I half_up = L::shift_right(word, 19) & L::ints(1);
    // A carry out of the mantissa goes into the exponent by itself. From 2^8 on all becomes 448.
    const I normal = (exponent << 3) + ((L::shift_right(word, 20) & L::ints(7)) + half_up);
    const I limited_normal = L::select(normal < L::ints(15 << 3), normal, L::ints(0x7e));
    return L::select(exponent < L::ints(1), denormal, limited_normal);
}

// Half of the number.
template <class L>
GK_LANE typename L::F half_of_ue4m3(typename L::I byte) {
    using I = typename L::I;
    const I exponent = L::shift_right(byte, 3), mantissa = byte & L::ints(7);
    const typename L::F denormal = L::to_float(mantissa) * L::floats(0x1p-10f);
    const typename L::F normal =
        L::from_bits(((exponent + L::ints(127 - 7 - 1)) << 23) | (mantissa << 20));
    return L::select(exponent == L::ints(0), denormal, normal);
}

struct NVFP4 : NVFP4Layout {
    // As MXFP4::quantize; every scale byte is valid.
    template <class L>
    static typename L::M quantize(const typename L::F* x, const typename L::F* /*importance*/,
                                  typename L::I* bytes) {
        using F = typename L::F;
        using I = typename L::I;
        GK_UNROLL(1)
        for (int j = 0; j < kBlock / kSubBlock; ++j) {
            const F* sub_block = x + j * kSubBlock;
            // The largest magnitude becomes 6, the largest number of E2M1.
            const F magnitude = largest_magnitude<L, kSubBlock>(sub_block);
            const I byte = float_to_ue4m3<L>(magnitude / L::floats(6));
            const F d = half_of_ue4m3<L>(byte);
            bytes[kSubScales + j] = byte;
            I quants[kSubBlock];
            nearest_e2m1s<L, kSubBlock>(sub_block, magnitude, d, quants);
            for (int i = 0; i < kSubBlock / 2; ++i) {
                bytes[kQuants + j * (kSubBlock / 2) + i] = quants[i] | (quants[i + kSubBlock / 2] << 4);
            }
        }
        return x[0] == x[0];
    }
};

}  // namespace
}  // namespace ggufactory

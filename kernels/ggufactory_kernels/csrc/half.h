// Half precision and bfloat16 from and to single precision, by ggml's bit algorithms (ggml-impl.h).
//
// The 16 bits of a number are the low bits of an integer lane. All finite values convert exactly or round
// to nearest even, denormals included; hardware conversions are not used on CPUs because they are not everywhere.
// GPUs have them, and give the same but for the bits of a NaN, which nobody stores.
#pragma once

#include "lanes.h"

namespace ggufactory {
namespace {

template <class L>
GK_LANE typename L::F half_to_float(typename L::I half) {
#if defined(__CUDACC_RTC__)
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(static_cast<uint16_t>(half)));
    return f;
#else
    using I = typename L::I;
    using F = typename L::F;
    const I word = half << 16;
    const I doubled = word + word;
    const F normal = L::from_bits(L::shift_right(doubled, 4) + L::ints(0xe0 << 23)) * L::floats(0x1p-112f);
    const F denormal = L::from_bits(L::shift_right(doubled, 17) | L::ints(126 << 23)) - L::floats(0.5f);
    const I magnitude = L::bits(L::select(L::shift_right(doubled, 17) < L::ints(1 << 10), denormal, normal));
    return L::from_bits((word & L::ints(INT32_MIN)) | magnitude);
#endif
}

// NaN becomes 0x7e00 with the sign kept; too large a number becomes infinity.
template <class L>
GK_LANE typename L::I float_to_half(typename L::F f) {
#if defined(__CUDACC_RTC__)
    uint16_t half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(f));
    return half;
#else
    using I = typename L::I;
    const I word = L::bits(f);
    const I exponent = L::shift_right(word + word, 24);
    const I least = L::ints(0x71);
    const I bias = (L::select(exponent < least, least, exponent) << 23) + L::ints(0x07800000);
    const I rounded =
        L::bits(L::from_bits(bias) + (L::abs(f) * L::floats(0x1p+112f)) * L::floats(0x1p-110f));
    const I magnitude = (L::shift_right(rounded, 13) & L::ints(0x7c00)) + (rounded & L::ints(0x0fff));
    const I sign = L::shift_right(word & L::ints(INT32_MIN), 16);
    return sign | L::select(f == f, magnitude, L::ints(0x7e00));
#endif
}

template <class L>
GK_LANE void store_half(typename L::I half, typename L::I* bytes) {
    bytes[0] = half & L::ints(0xff);
    bytes[1] = L::shift_right(half, 8);
}

template <class L>
GK_LANE typename L::M half_is_finite(typename L::I half) {
    return (half & L::ints(0x7c00)) < L::ints(0x7c00);
}

template <class L>
GK_LANE typename L::F bfloat16_to_float(typename L::I bits) {
    return L::from_bits(bits << 16);
}

// For numbers that are not NaN: the driver has refused those.
template <class L>
GK_LANE typename L::I float_to_bfloat16(typename L::F f) {
    using I = typename L::I;
    const I word = L::bits(f);
    const I odd = L::shift_right(word, 16) & L::ints(1);
    return L::shift_right(word + (L::ints(0x7fff) + odd), 16);
}

}  // namespace
}  // namespace ggufactory

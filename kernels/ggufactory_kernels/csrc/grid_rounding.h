// Rounding a group of weights to digits, x = scale * (2 * digit + 1), and to the digits as one number.
#pragma once

#include "grid_search.h"

namespace ggufactory {
namespace {

template <class L>
struct RoundedGroup {
    typename L::I number;  // the digits to the base kDigits, the first element lowest
    // No weight is near the border of two digits: it costs more with every step away from its own digit.
    typename L::M is_clear;
};

// With any scale, and as the reference's rounding wraps. Nothing is proven of the costs.
template <class L, class G>
inline RoundedGroup<L> round_any(const typename L::F* x, typename L::F inverse) {
    typename L::I digits[G::kElements];
    for (int i = 0; i < G::kElements; ++i) {
        const typename L::F level = L::floats(0.5f) * (inverse * x[i] - L::floats(1));
        digits[i] = L::clamp(L::nearest_int(level), 0, G::kDigits - 1);
    }
    return {digits_number<L, G>(digits), L::ints(0) == L::ints(1)};
}

// The same where every |inverse * x| is below 2^22. What lies beyond the first or the last digit is first
// moved onto it. Twice the level is rounded to an even number, which is the same rounding.
template <class L, class G>
GK_LANE RoundedGroup<L> round_near(const typename L::F* x, typename L::F inverse) {
    using F = typename L::F;
    // Of twice the distance to the nearest digit. The level, the scale as the inverse's inverse and the costs'
    // differences are off by less than 2^-17 of a level's width.
    constexpr float kClear = 1 - 0x1p-12f;
    const F one = L::floats(1), offset = L::floats(2 * kRoundingOffset);
    typename L::I digits[G::kElements];
    F farthest = L::floats(0);
    GK_UNROLL(8)
    for (int i = 0; i < G::kElements; ++i) {
        const F odd = L::minimum(L::maximum(inverse * x[i], one), L::floats(2 * G::kDigits - 1));
        const F twice = odd - one, rounded = twice + offset;
        digits[i] = L::bits(rounded);
        farthest = L::maximum(L::abs(twice - (rounded - offset)), farthest);
    }
    constexpr auto zero_bits = 0x4bc00000u;  // of the offset
    uint32_t excess = 0;
    for (int i = 0; i < G::kElements; ++i) excess = excess * G::kDigits + zero_bits;
    return {digits_number<L, G>(digits) - L::ints(static_cast<int32_t>(excess)),
            farthest < L::floats(kClear)};
}

}  // namespace
}  // namespace ggufactory

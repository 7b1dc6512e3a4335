// What the IQ types have in common around their grids: element weights, signs, the sub-blocks' scales.
#pragma once

#include "blocks.h"
#include "half.h"

namespace ggufactory {
namespace {

// What became of the lanes' blocks.
template <class L>
struct GridOutcome {
    typename L::M finite;  // the stored scale is
    typename L::M lost;    // the search left the grid, where the reference aborts
};

// One sub-block: its scale, the codes of its points, and the signs of each eight weights.
template <class L, int kCodes, int kSigns>
struct GridSubBlock {
    typename L::F scale;
    typename L::I codes[kCodes], signs[kSigns];
    typename L::M active;  // not as good as zero
    typename L::M lost;
};

template <class L>
GK_LANE typename L::F sum_of_squares(const typename L::F* x) {
    typename L::F sum = L::floats(0);
    GK_GPU_UNROLL(16)
    for (int i = 0; i < kSuperBlock; ++i) sum = sum + x[i] * x[i];
    return sum;
}

// Element weights with importance: it counts more where the weight is large beside `mean_square`.
template <class L, int kCount>
GK_LANE void grid_weights(const typename L::F* x, const typename L::F* importance, typename L::F mean_square,
                          typename L::F* w) {
    GK_GPU_UNROLL(8)
    for (int i = 0; i < kCount; ++i) w[i] = importance[i] * L::sqrt(mean_square + x[i] * x[i]);
}

// Element weights without importance, of IQ3 and IQ1_M.
template <class L, int kCount>
GK_LANE void square_weights(const typename L::F* x, typename L::F* w) {
    GK_GPU_UNROLL(8)
    for (int i = 0; i < kCount; ++i) w[i] = x[i] * x[i];
}

// |x| of eight weights; bit i of the result is set where x[i] is negative.
template <class L>
GK_LANE typename L::I fold_signs(const typename L::F* x, typename L::F* folded) {
    typename L::I signs = L::ints(0);
    for (int i = 0; i < 8; ++i) {
        const typename L::M negative = x[i] < L::floats(0);
        folded[i] = L::select(negative, L::floats(0) - x[i], x[i]);
        signs = signs | L::select(negative, L::ints(1 << i), L::ints(0));
    }
    return signs;
}

// The same with an even number of signs, so that seven bits tell all eight: where their number is odd, the
// weight that matters least is given the wrong sign, and stays negative in `folded`.
template <class L>
GK_LANE typename L::I fold_signs_evenly(const typename L::F* x, const typename L::F* w,
                                        typename L::F* folded) {
    using I = typename L::I;
    I signs = fold_signs<L>(x, folded);
    I parity = signs ^ L::shift_right(signs, 4);
    parity = parity ^ L::shift_right(parity, 2);
    parity = (parity ^ L::shift_right(parity, 1)) & L::ints(1);
    typename L::F least = w[0] * x[0] * x[0];
    I least_bit = L::ints(1);
    for (int i = 1; i < 8; ++i) {
        const typename L::F error = w[i] * x[i] * x[i];
        const typename L::M smaller = error < least;
        least = L::select(smaller, error, least);
        least_bit = L::select(smaller, L::ints(1 << i), least_bit);
    }
    const I flipped = L::select(parity == L::ints(1), least_bit, L::ints(0));
    for (int i = 0; i < 8; ++i) {
        const typename L::M here = flipped == L::ints(1 << i);
        folded[i] = L::select(here, L::floats(0) - folded[i], folded[i]);
    }
    return (signs ^ flipped) & L::ints(0x7f);
}

// A negative scale is stored as a positive one with all signs turned.
template <class L, int kSigns>
GK_LANE typename L::F make_positive(typename L::F scale, int sign_mask, typename L::I (&signs)[kSigns]) {
    const typename L::M negative = scale < L::floats(0);
    for (typename L::I& sign : signs) sign = L::select(negative, sign ^ L::ints(sign_mask), sign);
    return L::select(negative, L::floats(0) - scale, scale);
}

template <class L, int kCount>
GK_LANE typename L::F largest_of(const typename L::F* x) {
    typename L::F largest = x[0];
    for (int i = 1; i < kCount; ++i) largest = L::select(largest > x[i], largest, x[i]);
    return largest;
}

// l of each sub-block's scale = d * (2 * l + 1), 0 <= l <= last; `inverse` is 1 / d.
template <class L>
GK_LANE typename L::I quantize_odd_scale(typename L::F scale, typename L::F inverse, int last) {
    return L::clamp(L::nearest_int(L::floats(0.5f) * (inverse * scale - L::floats(1))), 0, last);
}

// Two of them to a byte.
template <class L, int kCount>
GK_LANE void pack_odd_scales(const typename L::F* scales, typename L::F inverse, typename L::I* bytes) {
    for (int j = 0; j < kCount; j += 2) {
        bytes[j / 2] = quantize_odd_scale<L>(scales[j], inverse, 15) |
                       (quantize_odd_scale<L>(scales[j + 1], inverse, 15) << 4);
    }
}

template <class L>
GK_LANE void store_word(typename L::I word, typename L::I* bytes) {
    for (int i = 0; i < 4; ++i) bytes[i] = L::shift_right(word, 8 * i) & L::ints(0xff);
}

}  // namespace
}  // namespace ggufactory

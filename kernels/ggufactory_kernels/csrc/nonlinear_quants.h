// Quants that stand for sixteen unevenly spaced values: IQ4_NL and, with six-bit scales for sub-blocks, IQ4_XS.
//
// Order of the work, as in quantize_row_iq4_nl_impl (ggml-quants.c): search each sub-block's scale; quantize
// the scales of a super-block by the largest; round every weight again. Unlike the K-quants, that rounding
// uses the scale as computed, not as the half-precision number that is stored.
#pragma once

#include "blocks.h"
#include "half.h"
#include "legacy_quants.h"

namespace ggufactory {
namespace {

constexpr int kNonlinearBlock = 32;
constexpr float kNonlinearValues[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// The reference's bisection takes the upper of two values from their exact middle on; NaN fails every
// comparison there and ends at the highest.
constexpr float nonlinear_threshold(int i) { return (kNonlinearValues[i] + kNonlinearValues[i + 1]) / 2; }

template <class L>
GK_LANE typename L::F nearest_nonlinear_value(typename L::F f) {
    typename L::F value = L::floats(kNonlinearValues[0]);
    GK_UNROLL(15)
    for (int i = 0; i < 15; ++i) {
        value = L::select(f < L::floats(nonlinear_threshold(i)), value, L::floats(kNonlinearValues[i + 1]));
    }
    return value;
}

// The values of numbers from -kMost to kMost, by the floor of their double: all thresholds are multiples of a half.
struct NonlinearTable {
    static constexpr int kMost = 135, kFirst = -2 * kMost;
    int8_t values[4 * kMost + 1];

    constexpr NonlinearTable() : values() {
        for (int i = 0, value = 0; i <= 4 * kMost; ++i) {
            while (value < 15 && static_cast<float>(i + kFirst) >= 2 * nonlinear_threshold(value)) ++value;
            values[i] = static_cast<int8_t>(kNonlinearValues[value]);
        }
    }
};
constexpr NonlinearTable kNonlinearTable;

// The same for |f| <= NonlinearTable::kMost.
template <class L>
GK_LANE typename L::F near_nonlinear_value(typename L::F f) {
    if constexpr (L::kReadsTables) {
        return static_cast<float>(kNonlinearTable.values[floor_of_twice(f) - NonlinearTable::kFirst]);
    } else {
        return nearest_nonlinear_value<L>(f);
    }
}

template <class L>
GK_LANE typename L::I nearest_nonlinear_index(typename L::F f) {
    typename L::I index = L::ints(0);
    GK_UNROLL(15)
    for (int i = 0; i < 15; ++i) {
        index = L::select(f < L::floats(nonlinear_threshold(i)), index, L::ints(i + 1));
    }
    return index;
}

// Sixteen scales around those that map the largest magnitude to the first value, least squares for each.
// Of groups that are as good as zero the scale is zero.
template <class L>
inline typename L::F search_nonlinear_scale(const typename L::F* x, const typename L::F* w) {
    using F = typename L::F;
    using M = typename L::M;
    constexpr int kTries = 7;
    F largest = L::floats(0), magnitude = L::floats(0);
    GK_UNROLL(16)
    for (int i = 0; i < kNonlinearBlock; ++i) {
        const F size = L::abs(x[i]);
        const M larger = size > magnitude;  // the first of equals decides the sign
        magnitude = L::select(larger, size, magnitude);
        largest = L::select(larger, x[i], largest);
    }
    const M is_zero = magnitude < L::floats(kGroupMaxEpsilon);

    F sum_qx, sum_q2;
    const auto sums = [&](F inverse) {
        sum_qx = L::floats(0);
        sum_q2 = L::floats(0);
        // No quotient exceeds 127 + kTries by more than its rounding; of groups that are as good as zero nothing is
        // used, but what is read from a table must be there.
        if constexpr (L::kReadsTables) inverse = L::select(is_zero, L::floats(0), inverse);
        GK_UNROLL(4)
        for (int i = 0; i < kNonlinearBlock; ++i) {
            const F value = near_nonlinear_value<L>(inverse * x[i]);
            const F wq = w[i] * value;
            sum_qx = sum_qx + wq * x[i];
            sum_q2 = sum_q2 + wq * value;
        }
    };
    const F zero = L::floats(0), first_value = L::floats(kNonlinearValues[0]);
    sums(L::floats(1) / (L::floats(-1) * largest / first_value));
    F scale = L::select(sum_q2 > zero, sum_qx / sum_q2, zero);
    F best = scale * sum_qx;
    GK_UNROLL(1)
    for (int step = -kTries; step <= kTries; ++step) {
        sums(L::floats(static_cast<float>(step) + kNonlinearValues[0]) / largest);
        const M better = (sum_q2 > zero) & (sum_qx * sum_qx > best * sum_q2);
        const F candidate = sum_qx / sum_q2;
        scale = L::select(better, candidate, scale);
        best = L::select(better, candidate * sum_qx, best);
    }
    return L::select(is_zero, zero, scale);
}

// Element weights: the square of the element, or the importance, which counts more where the weight is
// large beside the block's (for IQ4_XS the super-block's) mean square, doubled.
template <class L>
GK_LANE void nonlinear_weights(const typename L::F* x, const typename L::F* importance,
                               typename L::F twice_mean_square, typename L::F* w) {
    if (importance) {
        for (int i = 0; i < kNonlinearBlock; ++i) {
            w[i] = importance[i] * L::sqrt(twice_mean_square + x[i] * x[i]);
        }
    } else {
        for (int i = 0; i < kNonlinearBlock; ++i) w[i] = x[i] * x[i];
    }
}

template <class L, int kCount>
GK_LANE typename L::F twice_mean_square(const typename L::F* x) {
    typename L::F sum = L::floats(0);
    GK_UNROLL(16)
    for (int i = 0; i < kCount; ++i) sum = sum + x[i] * x[i];
    return sum * L::floats(2.f / kCount);
}

template <class L>
GK_LANE void round_to_nonlinear(const typename L::F* x, typename L::F inverse, typename L::I* bytes) {
    typename L::I quants[kNonlinearBlock];
    for (int i = 0; i < kNonlinearBlock; ++i) quants[i] = nearest_nonlinear_index<L>(inverse * x[i]);
    store_nibbles<L>(quants, bytes);
}

struct IQ4_NL : IQ4_NLLayout {
    // `x`, `importance` (null: none): kBlock floats of each lane's block. Writes kBytes bytes.
    // Returns where the stored scale is finite.
    template <class L>
    static typename L::M quantize(const typename L::F* x, const typename L::F* importance,
                                  typename L::I* bytes) {
        using F = typename L::F;
        F w[kBlock];
        nonlinear_weights<L>(x, importance, twice_mean_square<L, kBlock>(x), w);
        const F scale = search_nonlinear_scale<L>(x, w);
        const typename L::I half_scale = float_to_half<L>(scale);
        store_half<L>(half_scale, bytes + kScale);
        round_to_nonlinear<L>(x, inverse_or_zero<L>(scale), bytes + kQuants);
        return half_is_finite<L>(half_scale);
    }
};

struct IQ4_XS : IQ4_XSLayout {
    // As IQ4_NL::quantize.
    template <class L>
    static typename L::M quantize(const typename L::F* x, const typename L::F* importance,
                                  typename L::I* bytes) {
        using F = typename L::F;
        using I = typename L::I;
        F scales[kSubBlocks];
        const F mean_square = twice_mean_square<L, kBlock>(x);
        GK_UNROLL(1)
        for (int j = 0; j < kSubBlocks; ++j) {
            const int first = j * kNonlinearBlock;
            F w[kNonlinearBlock];
            nonlinear_weights<L>(x + first, importance ? importance + first : nullptr, mean_square, w);
            scales[j] = search_nonlinear_scale<L>(x + first, w);
        }
        F largest = L::floats(0), magnitude = L::floats(0);
        for (int j = 0; j < kSubBlocks; ++j) {
            const F size = L::abs(scales[j]);
            const typename L::M larger = size > magnitude;
            magnitude = L::select(larger, size, magnitude);
            largest = L::select(larger, scales[j], largest);
        }
        const F scale = largest / L::floats(-32);
        const F inverse = inverse_or_zero<L>(scale);
        const I half_scale = float_to_half<L>(scale);
        store_half<L>(half_scale, bytes + kScale);

        I six_bits[kSubBlocks];
        GK_UNROLL(1)
        for (int j = 0; j < kSubBlocks; ++j) {
            const I level = L::clamp(L::nearest_int(inverse * scales[j]), -32, 31);
            six_bits[j] = level + L::ints(32);
            const F sub_scale = scale * L::to_float(level);
            round_to_nonlinear<L>(x + j * kNonlinearBlock, inverse_or_zero<L>(sub_scale),
                                  bytes + kQuants + j * (kNonlinearBlock / 2));
        }
        pack_scales<L>(six_bits, bytes);
        return half_is_finite<L>(half_scale);
    }

private:
    static constexpr int kSubBlocks = kBlock / kNonlinearBlock;

    template <class L>
    static GK_LANE void pack_scales(const typename L::I* six_bits, typename L::I* bytes) {
        const typename L::I low = L::ints(0x0f);
        for (int byte = 0; byte < 4; ++byte) {
            const typename L::I *even = six_bits + 2 * byte, *odd = even + 1;
            bytes[kLowSubScales + byte] = (*even & low) | ((*odd & low) << 4);
        }
        for (int byte = 0; byte < 2; ++byte) {
            typename L::I bits = L::ints(0);
            for (int j = 0; j < 4; ++j) bits = bits | (L::shift_right(six_bits[4 * byte + j], 4) << (2 * j));
            bytes[kHighSubScales + byte] = bits;
        }
    }
};

}  // namespace
}  // namespace ggufactory

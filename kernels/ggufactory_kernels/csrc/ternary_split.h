// The best digits for a sub-block of IQ1, before the grid: of three values the exact optimum.
//
// Sorted, the weights fall into three runs, one for each digit, and prefix sums give the error of every pair of
// borders. As in quantize_row_iq1_s_impl and quantize_row_iq1_m_impl (ggml-quants.c), whose order of pairs and
// of sums decides between splits that are equally good.
#pragma once

#include "lane_sort.h"

namespace ggufactory {
namespace {

// What the three digits stand for, shifted up or down by an eighth.
constexpr float kIq1Delta = 0.125f;
constexpr float kIq1Up[3] = {-1 + kIq1Delta, kIq1Delta, 1 + kIq1Delta};
constexpr float kIq1Down[3] = {-1 - kIq1Delta, -kIq1Delta, 1 - kIq1Delta};

// The best division of a sorted sub-block into three runs.
template <class L>
struct TernarySplit {
    typename L::F scale, score;
    typename L::I first, second;  // where the second and the third run begin; -1 where there is no split
    typename L::I shifts;         // which of the candidates' shifts won

    explicit TernarySplit(typename L::F start)
        : scale(start), score(L::floats(-FLT_MAX)), first(L::ints(-1)), second(first), shifts(L::ints(0)) {}

    // Does without most of the splits that would be best for a while only. `known`: about the score of some
    // split, `sum_w`: of all elements' weights, `largest`: their magnitude.
    //
    // Scores rise by more than 2^-8 from here to the best, over at most 612 splits. So one of them is more than
    // 2^-18 above all before it, in a comparison that is rounded by less than 2^-20: it is taken from wherever the
    // scores began, and from there on all is the same. No product over- or underflows, because every digit's
    // value is between 1/8 and 9/8.
    GK_LANE void start_below(typename L::F known, typename L::F sum_w, typename L::F largest) {
        using F = typename L::F;
        const F least = L::floats(0x1p-50f), most = L::floats(0x1p60f);
        const typename L::M in_range =
            (known > least) & (sum_w > least) & (sum_w < most) & (largest * largest * sum_w < most);
        score = L::select(in_range, known * L::floats(1 - 0x1p-7f), score);
    }

    GK_LANE void consider(typename L::F sum_xq, typename L::F sum_q2, int at_first, int at_second, int shift) {
        const typename L::M better = (sum_q2 > L::floats(0)) & (sum_xq * sum_xq > score * sum_q2);
        if (!L::any(better)) return;
        const typename L::F candidate = sum_xq / sum_q2;
        scale = L::select(better, candidate, scale);
        score = L::select(better, candidate * sum_xq, score);
        first = L::select(better, L::ints(at_first), first);
        second = L::select(better, L::ints(at_second), second);
        shifts = L::select(better, L::ints(shift), shifts);
    }
};

template <class L, int kCount>
struct SortedWeights {
    typename L::F x[kCount];
    typename L::I index[kCount];

    explicit SortedWeights(const typename L::F* from) {
        for (int i = 0; i < kCount; ++i) x[i] = from[i];
        sort_with_index<L, kCount>(x, index);
    }

    // Where element i, of value `value`, comes before place `border` of the order.
    struct Border {
        typename L::F x;
        typename L::I index;
        typename L::M is_end;

        GK_LANE typename L::M is_after(typename L::F value, int i) const {
            return is_end | (value < x) | ((value == x) & (L::ints(i) < index));
        }
    };
    GK_LANE Border border(typename L::I place) const {
        const typename L::I inside = L::clamp(place, 0, kCount - 1);
        return {L::pick(x, inside), L::pick(index, inside), place == L::ints(kCount)};
    }

    // Each element's digit, by the run that it fell into.
    GK_LANE void digits(const TernarySplit<L>& split, const typename L::F* from, typename L::I* to) const {
        const Border first = border(split.first), second = border(split.second);
        for (int i = 0; i < kCount; ++i) {
            const typename L::I zero_or_one = L::select(first.is_after(from[i], i), L::ints(0), L::ints(1));
            to[i] = L::select(second.is_after(from[i], i), zero_or_one, L::ints(2));
        }
    }
};

// The error of a split is that of its three runs, each a difference of prefix sums. The middle values of
// the two shifts are opposite, so they share a product. `shifts`: 1 up, 0 down.
template <class L, int kCount>
inline TernarySplit<L> best_split(const SortedWeights<L, kCount>& sorted, const typename L::F* w,
                                      typename L::F largest) {
    using F = typename L::F;
    F sum_x[kCount + 1], sum_w[kCount + 1];
    sum_x[0] = sum_w[0] = L::floats(0);
    for (int j = 0; j < kCount; ++j) {
        const F weight = L::pick(w, sorted.index[j]);
        sum_x[j + 1] = sum_x[j] + weight * sorted.x[j];
        sum_w[j + 1] = sum_w[j] + weight;
    }
    const auto squared = [](F sum, float value) { return sum * L::floats(value) * L::floats(value); };
    F up_x[kCount + 1], up_w[kCount + 1], down_x[kCount + 1], down_w[kCount + 1];
    for (int j = 0; j <= kCount; ++j) {
        const F rest_x = sum_x[kCount] - sum_x[j], rest_w = sum_w[kCount] - sum_w[j];
        up_x[j] = rest_x * L::floats(kIq1Up[2]);
        up_w[j] = squared(rest_w, kIq1Up[2]);
        down_x[j] = rest_x * L::floats(kIq1Down[2]);
        down_w[j] = squared(rest_w, kIq1Down[2]);
    }
    TernarySplit<L> split(largest);
    GK_UNROLL(1)
    for (int i = 0; i <= kCount; ++i) {
        const F first_x = sum_x[i] - sum_x[0], first_w = sum_w[i] - sum_w[0];
        const F first_up_x = first_x * L::floats(kIq1Up[0]), first_up_w = squared(first_w, kIq1Up[0]);
        const F first_down_x = first_x * L::floats(kIq1Down[0]), first_down_w = squared(first_w, kIq1Down[0]);
        GK_UNROLL(1)
        for (int j = i; j <= kCount; ++j) {
            const F middle_x = (sum_x[j] - sum_x[i]) * L::floats(kIq1Delta);
            const F middle_w = squared(sum_w[j] - sum_w[i], kIq1Delta);
            split.consider(first_up_x + middle_x + up_x[j], first_up_w + middle_w + up_w[j], i, j, 1);
            split.consider(first_down_x - middle_x + down_x[j], first_down_w + middle_w + down_w[j], i, j, 0);
        }
    }
    return split;
}

// The halves may be shifted differently, so each has its own prefix sums. The digits' values are one
// apart, so a split's sum is the total times the last value less the sums up to both borders.
template <class L, int kCount>
inline TernarySplit<L> best_split_by_halves(const SortedWeights<L, kCount>& sorted, const typename L::F* w,
                                      typename L::F largest) {
    using F = typename L::F;
    constexpr float kUp1 = kIq1Up[0] * kIq1Up[0] - kIq1Up[1] * kIq1Up[1];
    constexpr float kUp2 = kIq1Up[1] * kIq1Up[1] - kIq1Up[2] * kIq1Up[2];
    constexpr float kDown1 = kIq1Down[0] * kIq1Down[0] - kIq1Down[1] * kIq1Down[1];
    constexpr float kDown2 = kIq1Down[1] * kIq1Down[1] - kIq1Down[2] * kIq1Down[2];
    F sum_x[2][kCount + 1], sum_w[2][kCount + 1];
    for (int h = 0; h < 2; ++h) {
        sum_x[h][0] = sum_w[h][0] = L::floats(0);
        for (int j = 0; j < kCount; ++j) {
            const F weight = L::pick(w, sorted.index[j]);
            const typename L::M in_first = sorted.index[j] < L::ints(kCount / 2);
            const typename L::M here = h == 0 ? in_first : L::negate(in_first);
            sum_x[h][j + 1] = L::select(here, sum_x[h][j] + weight * sorted.x[j], sum_x[h][j]);
            sum_w[h][j + 1] = L::select(here, sum_w[h][j] + weight, sum_w[h][j]);
        }
    }
    F up_x[2], down_x[2], up_w[2], down_w[2];
    F up_w1[2][kCount + 1], up_w2[2][kCount + 1], down_w1[2][kCount + 1], down_w2[2][kCount + 1];
    for (int h = 0; h < 2; ++h) {
        up_x[h] = sum_x[h][kCount] * L::floats(kIq1Up[2]);
        down_x[h] = sum_x[h][kCount] * L::floats(kIq1Down[2]);
        up_w[h] = sum_w[h][kCount] * L::floats(kIq1Up[2]) * L::floats(kIq1Up[2]);
        down_w[h] = sum_w[h][kCount] * L::floats(kIq1Down[2]) * L::floats(kIq1Down[2]);
        for (int j = 0; j <= kCount; ++j) {
            up_w1[h][j] = up_w[h] + sum_w[h][j] * L::floats(kUp1);
            up_w2[h][j] = sum_w[h][j] * L::floats(kUp2);
            down_w1[h][j] = down_w[h] + sum_w[h][j] * L::floats(kDown1);
            down_w2[h][j] = sum_w[h][j] * L::floats(kDown2);
        }
    }
    // The sums of split (i, j) for the four combinations of shifts.
    struct Sums {
        F xq[4], q2[4];
    };
    const auto sums_at = [&](int i, int j) {
        F xq_up[2], xq_down[2], q2_up[2], q2_down[2];
        for (int h = 0; h < 2; ++h) {
            const F both = sum_x[h][i] + sum_x[h][j];
            xq_up[h] = up_x[h] - both;
            xq_down[h] = down_x[h] - both;
            q2_up[h] = up_w1[h][i] + up_w2[h][j];
            q2_down[h] = down_w1[h][i] + down_w2[h][j];
        }
        return Sums{{xq_up[0] + xq_up[1], xq_up[0] + xq_down[1], xq_down[0] + xq_up[1], xq_down[0] + xq_down[1]},
                    {q2_up[0] + q2_up[1], q2_up[0] + q2_down[1], q2_down[0] + q2_up[1], q2_down[0] + q2_down[1]}};
    };
    TernarySplit<L> split(largest);
    // Some splits near which the best one mostly lies.
    static_assert(kCount == 16);
    F square = L::floats(0), q2 = L::floats(1);
    GK_UNROLL(1)
    for (int i = 3; i < 8; i += 2) {
        GK_UNROLL(1)
        for (int j = 9; j < 14; j += 2) {
            const Sums sums = sums_at(i, j);
            for (int k = 0; k < 4; ++k) {
                const F this_square = sums.xq[k] * sums.xq[k];
                const typename L::M better = this_square * q2 > square * sums.q2[k];
                square = L::select(better, this_square, square);
                q2 = L::select(better, sums.q2[k], q2);
            }
        }
    }
    split.start_below(square / q2, sum_w[0][kCount] + sum_w[1][kCount], largest);
    GK_UNROLL(1)
    for (int i = 0; i <= kCount; ++i) {
        GK_UNROLL(1)
        for (int j = i; j <= kCount; ++j) {
            const Sums sums = sums_at(i, j);
            for (int k = 0; k < 4; ++k) split.consider(sums.xq[k], sums.q2[k], i, j, k);
        }
    }
    return split;
}

}  // namespace
}  // namespace ggufactory

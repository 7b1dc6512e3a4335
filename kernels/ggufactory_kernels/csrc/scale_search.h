// The searches for the scale of a group of weights: the heart of the K-quants and of several others.
//
// Each tries a fixed sequence of scales and keeps the one with the least weighted error. The sums are
// taken in the reference's order, element by element, because float addition is not associative: another
// order gives other sums, and so now and then another winner. `w * x * l` is (w * x) * l throughout.
//
// The quants of the winner are not kept: they follow from its inverse scale, and nearly always the caller
// rounds again, with the scale as it is stored. Sources: make_qx_quants, make_qkx2_quants,
// make_qkx3_quants and make_qp_quants of ggml-quants.c.
#pragma once

#include "lanes.h"

namespace ggufactory {
namespace {

constexpr float kGroupMaxEpsilon = 1e-15f;  // below this largest magnitude a group counts as all zero

template <class L, int kCount>
GK_LANE typename L::F largest_magnitude(const typename L::F* x) {
    typename L::F magnitude = L::floats(0);
    GK_UNROLL(16)
    for (int i = 0; i < kCount; ++i) magnitude = L::maximum(magnitude, L::abs(x[i]));
    return magnitude;
}

// What is known of quotients that are rounded: nothing, that all are below 2^22, and that besides none rounds to more
// than the highest level.
enum class Quotients { kAny, kNear, kNearAndLow };

// float(clamp(nearest_int(v), lo, hi)).
template <class L, Quotients kKnown>
GK_LANE typename L::F round_level(typename L::F v, int lo, int hi) {
    if constexpr (kKnown == Quotients::kAny) return L::to_float(L::clamp(L::nearest_int(v), lo, hi));
    if constexpr (kKnown == Quotients::kNear) return L::round_clamped(v, lo, hi);
    return L::round_at_least(v, lo);
}

// ---------------------------------------------------------------- x = scale * l, -levels <= l < levels

template <class L>
struct SymmetricScale {
    typename L::F scale;
    typename L::F inverse;  // l = clamp(nearest_int(inverse * x)) are the winner's quants
    typename L::M is_zero;  // all weights are as good as zero, and so are all quants
};

template <class L>
struct SymmetricSums {
    typename L::F xl, l2;
};

// Which bounds the quotients of a candidate can round beyond; kAny: they may be anything, NaN too.
enum class Clamp { kNone, kAbove, kBoth, kAny };

template <class L, Clamp kClamp>
GK_LANE typename L::F round_symmetric(typename L::F v, int levels) {
    if constexpr (kClamp == Clamp::kAny) return round_level<L, Quotients::kAny>(v, -levels, levels - 1);
    if constexpr (kClamp == Clamp::kNone) return L::round_near(v);
    if constexpr (kClamp == Clamp::kAbove) return L::round_at_most(v, levels - 1);
    return L::round_clamped(v, -levels, levels - 1);
}

// The sums of several candidates at a time: each is one long chain of additions, and others fill the
// cycles in which one waits.
template <class L, int kCount, Clamp kClamp, int kCandidates>
GK_LANE void symmetric_sums(const typename L::F* x, const typename L::F* w, const typename L::F* wx,
                            int levels, const typename L::F (&inverse)[kCandidates],
                            SymmetricSums<L> (&sums)[kCandidates]) {
    for (SymmetricSums<L>& sum : sums) sum = {L::floats(0), L::floats(0)};
    GK_UNROLL(8)
    for (int i = 0; i < kCount; ++i) {
        GK_UNROLL(3)
        for (int k = 0; k < kCandidates; ++k) {
            const typename L::F l = round_symmetric<L, kClamp>(inverse[k] * x[i], levels);
            sums[k].xl = sums[k].xl + wx[i] * l;
            sums[k].l2 = sums[k].l2 + w[i] * l * l;
        }
    }
}

// Nineteen scales around the one that maps the largest magnitude to -levels, least squares for each. That
// one comes first; the others, by tenths of a level below and above it, must be better than the best so far.
// `kAreFinite`: the caller knows that all `x` are.
template <class L, int kCount, bool kAreFinite = true>
inline SymmetricScale<L> search_symmetric_scale(const typename L::F* x, const typename L::F* w, int levels) {
    using F = typename L::F;
    using M = typename L::M;
    F largest = L::floats(0), magnitude = L::floats(0);
    GK_UNROLL(16)
    for (int i = 0; i < kCount; ++i) {
        const F size = L::abs(x[i]);
        const M larger = size > magnitude;  // the first of equals decides the sign
        magnitude = L::select(larger, size, magnitude);
        largest = L::select(larger, x[i], largest);
    }
    const M is_zero = magnitude < L::floats(kGroupMaxEpsilon);

    // All divisions by the largest at once: before a candidate's sums, the sums would wait for it.
    constexpr int kSteps = 9;  // below and above
    F inverses[2 * kSteps + 1];
    GK_UNROLL(1)
    for (int i = 0; i < 2 * kSteps + 1; ++i) {
        inverses[i] = L::floats(-(static_cast<float>(levels) + 0.1f * static_cast<float>(i - kSteps))) / largest;
    }
    const F* const inverse_of = inverses + kSteps;
    F wx[kCount];
    for (int i = 0; i < kCount; ++i) wx[i] = w[i] * x[i];

    // Where the group is not zero, no quotient of a step exceeds levels + 0.1 * step by more than its
    // rounding: all are far below 2^22, up to step 4 none rounds to less than -levels, and up to step -6
    // none to more than levels - 1. Where the group is zero, nothing below is used.
    constexpr auto bounds = [](Clamp clamp) { return kAreFinite ? clamp : Clamp::kAny; };
    SymmetricSums<L> sums[2];
    const F first[2] = {inverse_of[0], inverse_of[-5]};
    symmetric_sums<L, kCount, bounds(Clamp::kAbove)>(x, w, wx, levels, first, sums);
    const SymmetricSums<L> fifth_below = sums[1];  // its turn comes later
    F best_inverse = first[0];
    F scale = L::select(sums[0].l2 == L::floats(0), L::floats(0), sums[0].xl / sums[0].l2);
    F best = scale * sums[0].xl;
    const auto keep_better = [&](F inverse, const SymmetricSums<L>& sum) {
        const M better = (sum.l2 > L::floats(0)) & (sum.xl * sum.xl > best * sum.l2);
        const F candidate = sum.xl / sum.l2;
        scale = L::select(better, candidate, scale);
        best = L::select(better, candidate * sum.xl, best);
        best_inverse = L::select(better, inverse, best_inverse);
    };
    GK_UNROLL(1)
    for (int step = -kSteps; step < -5; step += 2) {
        const F pair[2] = {inverse_of[step], inverse_of[step + 1]};
        symmetric_sums<L, kCount, bounds(Clamp::kNone)>(x, w, wx, levels, pair, sums);
        for (int k = 0; k < 2; ++k) keep_better(pair[k], sums[k]);
    }
    keep_better(first[1], fifth_below);
    GK_UNROLL(1)
    for (int step = -4; step < 4; step += 2) {
        const int below = step < 0 ? step : step + 1;  // zero is done
        const F pair[2] = {inverse_of[below], inverse_of[below + 1]};
        symmetric_sums<L, kCount, bounds(Clamp::kAbove)>(x, w, wx, levels, pair, sums);
        for (int k = 0; k < 2; ++k) keep_better(pair[k], sums[k]);
    }
    const F fifth[2] = {inverse_of[5], inverse_of[6]};
    symmetric_sums<L, kCount, bounds(Clamp::kBoth)>(x, w, wx, levels, fifth, sums);
    for (int k = 0; k < 2; ++k) keep_better(fifth[k], sums[k]);
    SymmetricSums<L> last_sums[3];
    const F last[3] = {inverse_of[7], inverse_of[8], inverse_of[9]};
    symmetric_sums<L, kCount, bounds(Clamp::kBoth)>(x, w, wx, levels, last, last_sums);
    for (int k = 0; k < 3; ++k) keep_better(last[k], last_sums[k]);
    return {L::select(is_zero, L::floats(0), scale), best_inverse, is_zero};
}

// ---------------------------------------------------------------- x = scale * l - minimum, 0 <= l <= levels

struct AffineSteps {
    float first, width;  // inverse scales tried: (first + width * step + levels) / range
    int last;            // step = 0 ... last
};

template <class L>
struct AffineScale {
    typename L::F scale, minimum;
    // l = clamp(nearest_int(inverse * (x - floor))) are the winner's quants.
    typename L::F inverse, floor;
};

// One candidate: the quants of (inverse, floor) go to `l`, their weighted sums to the rest.
template <class L, int kCount, Quotients kKnown>
GK_LANE void affine_sums(const typename L::F* x, const typename L::F* w, typename L::F inverse,
                         typename L::F floor, int levels, typename L::F* l, typename L::F& sum_l,
                         typename L::F& sum_l2, typename L::F& sum_xl) {
    sum_l = sum_l2 = sum_xl = L::floats(0);
    GK_UNROLL(8)
    for (int i = 0; i < kCount; ++i) {
        l[i] = round_level<L, kKnown>(inverse * (x[i] - floor), 0, levels);
        const typename L::F wl = w[i] * l[i];
        sum_l = sum_l + wl;
        sum_l2 = sum_l2 + wl * l[i];
        sum_xl = sum_xl + wl * x[i];
    }
}

// The weighted sum of squared differences; of absolute ones with `kAbsolute`.
template <class L, int kCount, bool kAbsolute>
GK_LANE typename L::F affine_error(const typename L::F* x, const typename L::F* w, const typename L::F* l,
                                   typename L::F scale, typename L::F floor) {
    typename L::F error = L::floats(0);
    GK_UNROLL(8)
    for (int i = 0; i < kCount; ++i) {
        const typename L::F difference = scale * l[i] + floor - x[i];
        error = error + w[i] * (kAbsolute ? L::abs(difference) : difference * difference);
    }
    return error;
}

// Each step fits scale and minimum by least squares to the quants that its inverse scale gives. A winner
// moves the floor, and with it the range that the following steps divide by: the order of steps matters.
template <class L, int kCount, bool kAbsolute = false>
inline AffineScale<L> search_affine_scale(const typename L::F* x, const typename L::F* w, int levels,
                                          AffineSteps steps) {
    using F = typename L::F;
    using M = typename L::M;
    const F zero = L::floats(0);
    F lowest = x[0], highest = x[0], sum_w = w[0], sum_x = w[0] * x[0];
    GK_UNROLL(8)
    for (int i = 1; i < kCount; ++i) {
        lowest = L::select(x[i] < lowest, x[i], lowest);
        highest = L::select(x[i] > highest, x[i], highest);
        sum_w = sum_w + w[i];
        sum_x = sum_x + w[i] * x[i];
    }
    F floor = L::select(lowest > zero, zero, lowest);
    const M is_flat = L::negate(highest > floor);

    const float top = static_cast<float>(levels);
    F l[kCount];
    F sum_l, sum_l2, sum_xl;
    // Rounding is monotone, so the two ends of the group tell whether every quotient is below 2^22, and whether none
    // exceeds the top level by a half. That the upper end is `top` and what the step adds tells beforehand which it
    // will be, in all lanes: no step adds anything between 0.45 and 0.5.
    const auto sums = [&](F inverse) {
        const F low = inverse * (lowest - floor), high = inverse * (highest - floor);
        const F limit = L::floats(0x1p22f), least_above = L::floats(top + 0.475f);
        const M is_near = (L::abs(low) < limit) & (L::abs(high) < limit);
        if (L::any(L::negate(is_near | is_flat))) {
            affine_sums<L, kCount, Quotients::kAny>(x, w, inverse, floor, levels, l, sum_l, sum_l2, sum_xl);
        } else if (L::any(L::negate(((low < least_above) & (high < least_above)) | is_flat))) {
            affine_sums<L, kCount, Quotients::kNear>(x, w, inverse, floor, levels, l, sum_l, sum_l2, sum_xl);
        } else {
            affine_sums<L, kCount, Quotients::kNearAndLow>(x, w, inverse, floor, levels, l, sum_l, sum_l2, sum_xl);
        }
    };
    F inverse = L::floats(top) / (highest - floor);
    affine_sums<L, kCount, Quotients::kAny>(x, w, inverse, floor, levels, l, sum_l, sum_l2, sum_xl);
    F scale = L::floats(1) / inverse;
    F best_error = affine_error<L, kCount, kAbsolute>(x, w, l, scale, floor);
    F best_inverse = inverse, best_floor = floor;
    GK_UNROLL(1)
    for (int step = 0; step <= steps.last; ++step) {
        inverse = L::floats(steps.first + steps.width * static_cast<float>(step) + top) / (highest - floor);
        sums(inverse);
        const F determinant = sum_w * sum_l2 - sum_l * sum_l;
        F this_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
        F this_floor = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
        const M above = this_floor > zero;
        if (L::kWidth > 1 || L::any(above)) {  // few are: a lane alone saves itself a division
            this_scale = L::select(above, sum_xl / sum_l2, this_scale);
            this_floor = L::select(above, zero, this_floor);
        }
        const F error = affine_error<L, kCount, kAbsolute>(x, w, l, this_scale, this_floor);
        const M better = (determinant > zero) & (error < best_error);
        best_error = L::select(better, error, best_error);
        scale = L::select(better, this_scale, scale);
        best_inverse = L::select(better, inverse, best_inverse);
        best_floor = L::select(better, floor, best_floor);
        floor = L::select(better, this_floor, floor);
    }
    // A flat group is one value: all quants are zero, and so is its scale.
    const F flat_floor = L::select(lowest > zero, zero, lowest);
    floor = L::select(is_flat, flat_floor, floor);
    return {L::select(is_flat, zero, scale), floor * L::floats(-1), L::select(is_flat, zero, best_inverse),
            L::select(is_flat, zero, best_floor)};
}

// ---------------------------------------------------------------- scales of sub-blocks, 0 <= l <= levels

// Quantizes non-negative `x` (the sub-blocks' scales or minima) to bytes `l`; returns their common scale.
// A byte holds what the reference's uint8_t would: a negative l wraps, and later sweeps read the wrapped
// value while the sums were taken with the unwrapped one.
template <class L, int kCount>
inline typename L::F quantize_positive(const typename L::F* x, const typename L::F* w, int levels,
                                       typename L::I* l) {
    using F = typename L::F;
    using I = typename L::I;
    using M = typename L::M;
    const F zero = L::floats(0);
    const I byte = L::ints(0xff);
    F largest = zero;
    for (int i = 0; i < kCount; ++i) largest = L::select(largest > x[i], largest, x[i]);
    const M is_zero = largest < L::floats(kGroupMaxEpsilon);

    const float top = static_cast<float>(levels);
    F inverse = L::floats(top) / largest;
    F scale = L::floats(1) / inverse;
    F best_error = zero;
    for (int i = 0; i < kCount; ++i) {
        const F difference = x[i] - scale * L::to_float(L::nearest_int(inverse * x[i]) & byte);
        best_error = best_error + w[i] * difference * difference;
    }
    GK_UNROLL(1)
    for (int step = -4; step <= 4; ++step) {
        if (step == 0) continue;
        const F step_inverse = L::floats(0.1f * static_cast<float>(step) + top) / largest;
        const F step_scale = L::floats(1) / step_inverse;
        F error = zero;
        for (int i = 0; i < kCount; ++i) {
            const F quant = L::to_float(L::at_most(L::nearest_int(step_inverse * x[i]), levels));
            const F difference = x[i] - step_scale * quant;
            error = error + w[i] * difference * difference;
        }
        const M better = error < best_error;
        best_error = L::select(better, error, best_error);
        inverse = L::select(better, step_inverse, inverse);
    }
    F sum_xl = zero, sum_l2 = zero;
    for (int i = 0; i < kCount; ++i) {
        const I quant = L::at_most(L::nearest_int(inverse * x[i]), levels);
        const F value = L::to_float(quant);
        sum_xl = sum_xl + w[i] * x[i] * value;
        sum_l2 = sum_l2 + w[i] * value * value;
        l[i] = quant & byte;
    }
    // Up to five sweeps of coordinate descent. A lane in which a sweep changed nothing would repeat it
    // exactly, so lanes may sweep on together until none changes.
    GK_UNROLL(1)
    for (int sweep = 0; sweep < 5; ++sweep) {
        M any_changed = zero > zero;
        for (int i = 0; i < kCount; ++i) {
            const F old_value = L::to_float(l[i]);
            F rest_xl = sum_xl - w[i] * x[i] * old_value;
            F rest_l2 = sum_l2 - w[i] * old_value * old_value;
            const M fits = (rest_xl > zero) & (rest_l2 > zero);
            const I quant = L::at_most(L::nearest_int(x[i] * rest_l2 / rest_xl), levels);
            const F value = L::to_float(quant);
            rest_xl = rest_xl + w[i] * x[i] * value;
            rest_l2 = rest_l2 + w[i] * value * value;
            const M changed = fits & L::negate(quant == l[i]) &
                              (rest_xl * rest_xl * sum_l2 > sum_xl * sum_xl * rest_l2);
            l[i] = L::select(changed, quant & byte, l[i]);
            sum_xl = L::select(changed, rest_xl, sum_xl);
            sum_l2 = L::select(changed, rest_l2, sum_l2);
            any_changed = any_changed | changed;
        }
        if (!L::any(any_changed)) break;
    }
    for (int i = 0; i < kCount; ++i) l[i] = L::select(is_zero, L::ints(0), l[i]);
    return L::select(is_zero, zero, L::select(sum_l2 > zero, sum_xl / sum_l2, zero));
}

}  // namespace
}  // namespace ggufactory

// The scale of a group of non-negative weights whose quants are points of a grid: x = scale * (2 * digit + 1).
//
// Common to IQ2 and IQ3 (quantize_row_iq2_xxs_impl and its kin of ggml-quants.c): each of a fixed sequence
// of inverse scales rounds the weights to digits; digits off the grid move to the cheapest neighbour under
// that scale; least squares gives the step's scale, and the best step wins. Then the groups that had to
// move are rounded once more under the winning scale, and the scale is fitted again.
#pragma once

#include "grid_search.h"

namespace ggufactory {
namespace {

// Inverse scales tried: (2 * kDigits - 1 + width * step) / largest, step = -last ... last.
struct GridSteps {
    int last;
    float width;
};

// Which groups are rounded once more under the scale found.
enum class Refinement {
    kOffGrid,         // those whose digits were off the grid
    kAllIfAnyOffGrid,
    kAll,
};

template <class L, int kGroups>
struct GridFit {
    typename L::F scale;
    typename L::I codes[kGroups];
    typename L::M lost;  // no neighbour had a usable cost, or the scale is no number: the reference aborts
};

// The point of one group under a scale and its inverse. `lost` grows by the lanes that find none;
// `wanted` are the lanes that need one.
template <class L, class G>
inline typename L::I round_to_grid(const Codebook& book, const typename L::F* x, const typename L::F* root_w,
                                   typename L::F inverse, typename L::F scale, typename L::M wanted,
                                   typename L::M& on_grid, typename L::M& lost) {
    using I = typename L::I;
    I digits[G::kElements];
    GK_UNROLL(8)
    for (int i = 0; i < G::kElements; ++i) {
        const typename L::F level = L::floats(0.5f) * (inverse * x[i] - L::floats(1));
        digits[i] = L::clamp(L::nearest_int(level), 0, G::kDigits - 1);
    }
    const I entry = find_entry<L, G>(book, digits);
    on_grid = entry < L::ints(0);
    const I code = entry & L::ints(kCodeMask);
    const typename L::M searching = wanted & L::negate(on_grid);
    if (!L::any(searching)) return code;
    I found;
    if constexpr (G::kElements == Octets::kElements) {
        typename L::F values[G::kDigits];
        for (int q = 0; q < G::kDigits; ++q) values[q] = scale * L::floats(static_cast<float>(2 * q + 1));
        found = cheapest_octets<L>(book, entry, searching, digits, values, x, root_w);
    } else {
        found = cheapest_quads<L>(book, entry, searching, digits, scale, x, root_w);
    }
    const typename L::M none = searching & (found < L::ints(0));
    lost = lost | none;
    return L::select(searching, L::select(none, L::ints(0), found), code);
}

// Sums of w * x * q and w * q * q over all groups, q = 2 * digit + 1.
template <class L, class G, int kGroups>
GK_LANE void grid_sums(const typename L::I* codes, const typename L::F* wx, const typename L::F* w,
                       typename L::F& sum_xq, typename L::F& sum_q2) {
    sum_xq = sum_q2 = L::floats(0);
    GK_UNROLL(2)
    for (int k = 0; k < kGroups; ++k) {
        for (int i = 0; i < G::kElements; ++i) {
            const typename L::I digit = digit_of<L, G>(codes[k], i);
            const typename L::F q = L::to_float(digit + digit + L::ints(1));
            const int at = k * G::kElements + i;
            sum_xq = sum_xq + wx[at] * q;
            sum_q2 = sum_q2 + w[at] * q * q;
        }
    }
}

// `largest`: what the inverse scales divide by; `scale`: the one that stands if no step is better.
// Lanes that are not `active` may hold anything; their result is not used.
template <class L, class G, int kGroups, Refinement kRefinement>
inline GridFit<L, kGroups> fit_to_grid(const Codebook& book, const typename L::F* x, const typename L::F* w,
                                       typename L::F largest, typename L::F scale, typename L::M active,
                                       GridSteps steps) {
    using F = typename L::F;
    using M = typename L::M;
    constexpr int kCount = kGroups * G::kElements;
    const F zero = L::floats(0);
    F root_w[kCount], wx[kCount];
    for (int i = 0; i < kCount; ++i) {
        root_w[i] = L::sqrt(w[i]);
        wx[i] = w[i] * x[i];
    }
    GridFit<L, kGroups> fit;
    M on_grid[kGroups];
    const M never = zero < zero;
    fit.lost = never;
    for (int k = 0; k < kGroups; ++k) {
        fit.codes[k] = L::ints(0);
        on_grid[k] = kRefinement == Refinement::kOffGrid ? L::negate(never) : never;
    }
    F best = zero, sum_xq, sum_q2;
    GK_UNROLL(1)
    for (int step = -steps.last; step <= steps.last; ++step) {
        const float level = static_cast<float>(2 * G::kDigits - 1) + static_cast<float>(step) * steps.width;
        const F inverse = L::floats(level) / largest;
        const F step_scale = L::floats(1) / inverse;
        typename L::I codes[kGroups];
        M step_on_grid[kGroups];
        GK_UNROLL(1)
        for (int k = 0; k < kGroups; ++k) {
            const int first = k * G::kElements;
            codes[k] = round_to_grid<L, G>(book, x + first, root_w + first, inverse, step_scale, active,
                                           step_on_grid[k], fit.lost);
        }
        grid_sums<L, G, kGroups>(codes, wx, w, sum_xq, sum_q2);
        const M better = (sum_q2 > zero) & (sum_xq * sum_xq > best * sum_q2);
        const F candidate = sum_xq / sum_q2;
        scale = L::select(better, candidate, scale);
        best = L::select(better, candidate * sum_xq, best);
        for (int k = 0; k < kGroups; ++k) {
            fit.codes[k] = L::select(better, codes[k], fit.codes[k]);
            on_grid[k] = (better & step_on_grid[k]) | (L::negate(better) & on_grid[k]);
        }
    }

    M refined = L::negate(never);
    if constexpr (kRefinement != Refinement::kAll) {
        refined = never;
        for (int k = 0; k < kGroups; ++k) refined = refined | L::negate(on_grid[k]);
    }
    refined = refined & active & (scale > zero);
    const F inverse = L::floats(1) / scale;
    GK_UNROLL(1)
    for (int k = 0; k < kGroups; ++k) {
        const M moved = kRefinement == Refinement::kOffGrid ? M(refined & L::negate(on_grid[k])) : refined;
        if (!L::any(moved)) continue;
        M unused;
        const int first = k * G::kElements;
        const typename L::I code =
            round_to_grid<L, G>(book, x + first, root_w + first, inverse, scale, moved, unused, fit.lost);
        fit.codes[k] = L::select(moved, code, fit.codes[k]);
    }
    grid_sums<L, G, kGroups>(fit.codes, wx, w, sum_xq, sum_q2);
    fit.scale = L::select(refined & (sum_q2 > zero), sum_xq / sum_q2, scale);
    fit.lost = active & (fit.lost | L::negate((fit.scale < zero) | (fit.scale > zero) | (fit.scale == zero)));
    return fit;
}

}  // namespace
}  // namespace ggufactory

// The scale of a group of non-negative weights whose quants are points of a grid: x = scale * (2 * digit + 1).
//
// Common to IQ2 and IQ3 (quantize_row_iq2_xxs_impl and its kin of ggml-quants.c): each of a fixed sequence
// of inverse scales rounds the weights to digits; digits off the grid move to the cheapest neighbour under
// that scale; least squares gives the step's scale, and the best step wins. Then the groups that had to
// move are rounded once more under the winning scale, and the scale is fitted again.
#pragma once

#include "grid_walk.h"

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

// `x`, `w`: kSubBlocks times kGroups groups. `largest`: what a sub-block's inverse scales divide by; `scale`:
// the one that stands if no step is better. Lanes that are not `active` may hold anything; their result is
// not used.
template <class L, class G, int kSubBlocks, int kGroups, Refinement kRefinement>
inline void fit_to_grid(const Codebook& book, const typename L::F* x, const typename L::F* w,
                        const typename L::F (&largest)[kSubBlocks], const typename L::F (&scale)[kSubBlocks],
                        const typename L::M (&active)[kSubBlocks], GridSteps steps,
                        GridFit<L, kGroups> (&fit)[kSubBlocks]) {
    using F = typename L::F;
    using M = typename L::M;
    constexpr int kAll = kSubBlocks * kGroups, kCount = kGroups * G::kElements;
    const F zero = L::floats(0), one = L::floats(1);
    const M never = zero < zero;
    F inverses[kSubBlocks], scales[kSubBlocks], best[kSubBlocks], wx[kSubBlocks * kCount];
    const auto set_scales = [&](int step) {
        const float level = static_cast<float>(2 * G::kDigits - 1) + static_cast<float>(step) * steps.width;
        for (int j = 0; j < kSubBlocks; ++j) {
            inverses[j] = L::floats(level) / largest[j];
            scales[j] = one / inverses[j];
        }
    };
    GK_GPU_UNROLL(8)
    for (int i = 0; i < kSubBlocks * kCount; ++i) wx[i] = w[i] * x[i];
    set_scales(-steps.last);
    GridWalk<L, G, kSubBlocks, kGroups> walk(book, x, w, scales);
    M on_grid[kAll], wanted[kAll];
    for (int k = 0; k < kAll; ++k) {
        on_grid[k] = kRefinement == Refinement::kOffGrid ? L::negate(never) : never;
        wanted[k] = active[k / kGroups];
    }
    for (int j = 0; j < kSubBlocks; ++j) {
        best[j] = zero;
        fit[j].scale = scale[j];
        for (int k = 0; k < kGroups; ++k) fit[j].codes[k] = L::ints(0);
    }
    GK_UNROLL(1)
    for (int step = -steps.last; step <= steps.last; ++step) {
        set_scales(step);
        walk.go_to(inverses, scales, wanted);
        GK_UNROLL(1)
        for (int j = 0; j < kSubBlocks; ++j) {
            const typename L::I* codes = walk.codes + j * kGroups;
            F sum_xq, sum_q2;
            grid_sums<L, G, kGroups>(codes, wx + j * kCount, w + j * kCount, sum_xq, sum_q2);
            const M better = (sum_q2 > zero) & (sum_xq * sum_xq > best[j] * sum_q2);
            const F candidate = sum_xq / sum_q2;
            fit[j].scale = L::select(better, candidate, fit[j].scale);
            best[j] = L::select(better, candidate * sum_xq, best[j]);
            for (int k = 0; k < kGroups; ++k) {
                M& on = on_grid[j * kGroups + k];
                fit[j].codes[k] = L::select(better, codes[k], fit[j].codes[k]);
                on = (better & walk.on_grid[j * kGroups + k]) | (L::negate(better) & on);
            }
        }
    }

    M refined[kSubBlocks];
    for (int j = 0; j < kSubBlocks; ++j) {
        M any_off = kRefinement == Refinement::kAll ? L::negate(never) : never;
        for (int k = j * kGroups; k < (j + 1) * kGroups; ++k) any_off = any_off | L::negate(on_grid[k]);
        refined[j] = any_off & active[j] & (fit[j].scale > zero);
        for (int k = j * kGroups; k < (j + 1) * kGroups; ++k) {
            wanted[k] = kRefinement == Refinement::kOffGrid ? M(refined[j] & L::negate(on_grid[k])) : refined[j];
        }
        scales[j] = fit[j].scale;
        inverses[j] = one / scales[j];
    }
    walk.start_again();
    walk.go_to(inverses, scales, wanted);
    GK_GPU_UNROLL(1)
    for (int j = 0; j < kSubBlocks; ++j) {
        for (int k = 0; k < kGroups; ++k) {
            const int group = j * kGroups + k;
            fit[j].codes[k] = L::select(wanted[group], walk.codes[group], fit[j].codes[k]);
        }
        F sum_xq, sum_q2;
        grid_sums<L, G, kGroups>(fit[j].codes, wx + j * kCount, w + j * kCount, sum_xq, sum_q2);
        fit[j].scale = L::select(refined[j] & (sum_q2 > zero), sum_xq / sum_q2, fit[j].scale);
        const F found = fit[j].scale;
        fit[j].lost = active[j] & (walk.lost[j] | L::negate((found < zero) | (found > zero) | (found == zero)));
    }
}

}  // namespace
}  // namespace ggufactory

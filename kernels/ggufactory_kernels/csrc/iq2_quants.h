// IQ2: signs apart, and eight magnitudes 1, 3 or 5 at a time as a point of a grid (quantize_row_iq2_*_impl of
// ggml-quants.c). A sub-block's scale is searched with its points (grid_fit.h); the largest scale becomes
// 31 steps of the super-block's.
#pragma once

#include "grid_blocks.h"
#include "grid_fit.h"
#include "scale_search.h"

namespace ggufactory {
namespace {

template <class L, int kGroups>
GK_LANE void take_fit(const GridFit<L, kGroups>& fit, typename L::M active, int sign_mask,
                      GridSubBlock<L, kGroups, kGroups>& sub) {
    for (int k = 0; k < kGroups; ++k) sub.codes[k] = fit.codes[k];
    sub.active = active;
    sub.scale = make_positive<L>(L::select(active, fit.scale, L::floats(0)), sign_mask, sub.signs);
    sub.lost = fit.lost;
}

struct IQ2_XXS : IQ2_XXSLayout, SearchedInGrid {
    static constexpr int kSubBlock = 32, kSubBlocks = kBlock / kSubBlock, kGroups = kSubBlock / 8;
    static constexpr int kTogether = 2;  // sub-blocks

    static const Codebook& codebook() { return iq2_xxs_codebook(); }

    // `x`, `importance` (never null): kBlock floats of each lane's block. Writes kBytes bytes.
    template <class L>
    static GridOutcome<L> quantize(const Codebook& book, const typename L::F* x,
                                   const typename L::F* importance, typename L::I* bytes) {
        using F = typename L::F;
        using I = typename L::I;
        const F zero = L::floats(0);
        const F mean_square = sum_of_squares<L>(x) / L::floats(kBlock);
        F scales[kSubBlocks], largest = zero;
        I signs[kSubBlocks];
        typename L::M lost = zero < zero;
        GK_UNROLL(1)
        for (int first = 0; first < kSubBlocks; first += kTogether) {
            GridSubBlock<L, kGroups, kGroups> subs[kTogether];
            search<L>(book, x + first * kSubBlock, importance + first * kSubBlock, mean_square, subs);
            GK_GPU_UNROLL(1)
            for (int j = first; j < first + kTogether; ++j) {
                const GridSubBlock<L, kGroups, kGroups>& sub = subs[j - first];
                lost = lost | sub.lost;
                scales[j] = sub.scale;
                largest = L::select(largest > sub.scale, largest, sub.scale);
                signs[j] = L::ints(0);
                for (int k = 0; k < kGroups; ++k) {
                    const I place = place_of<L, Octets>(book, sub.codes[k]);
                    bytes[kQuants + 8 * j + k] = L::select(sub.active, place, L::ints(0));
                    signs[j] = signs[j] | L::select(sub.active, sub.signs[k] << (7 * k), L::ints(0));
                }
            }
        }
        const typename L::M is_zero = largest == zero;
        const F d = largest / L::floats(31);
        const F inverse = L::floats(1) / d;
        for (int j = 0; j < kSubBlocks; ++j) {
            I* points = bytes + kQuants + 8 * j;
            store_word<L>(signs[j] | (quantize_odd_scale<L>(scales[j], inverse, 15) << 28), points + kGroups);
            for (int k = 0; k < 8; ++k) points[k] = L::select(is_zero, L::ints(0), points[k]);
        }
        const I half_scale = float_to_half<L>(d);
        store_half<L>(half_scale, bytes + kScale);
        return {half_is_finite<L>(half_scale), lost};
    }

private:
    template <class L>
    static inline void search(const Codebook& book, const typename L::F* x, const typename L::F* importance,
                              typename L::F mean_square, GridSubBlock<L, kGroups, kGroups> (&subs)[kTogether]) {
        using F = typename L::F;
        const F zero = L::floats(0);
        F w[kTogether * kSubBlock], folded[kTogether * kSubBlock], guesses[kTogether], spans[kTogether];
        typename L::M active[kTogether];
        grid_weights<L, kTogether * kSubBlock>(x, importance, mean_square, w);
        GK_UNROLL(1)
        for (int j = 0; j < kTogether; ++j) {
            GK_GPU_UNROLL(1)
            for (int k = 0; k < kGroups; ++k) {
                const int at = j * kSubBlock + 8 * k;
                subs[j].signs[k] = fold_signs_evenly<L>(x + at, w + at, folded + at);
            }
            const F* sub_folded = folded + j * kSubBlock;
            const F largest = largest_of<L, kSubBlock>(sub_folded);
            // The first guess comes from the plain quantizer of non-negative numbers, with one level more.
            typename L::I levels[kSubBlock];
            guesses[j] =
                quantize_positive<L, kSubBlock>(sub_folded, w + j * kSubBlock, Octets::kDigits + 1, levels);
            spans[j] = guesses[j] * L::floats(Octets::kDigits);
            active[j] =
                L::negate((largest < L::floats(kGroupMaxEpsilon)) | (spans[j] < zero) | (spans[j] == zero));
        }
        GridFit<L, kGroups> fit[kTogether];
        fit_to_grid<L, Octets, kTogether, kGroups, Refinement::kAll>(book, folded, w, spans, guesses, active,
                                                                     {6, 0.1f}, fit);
        for (int j = 0; j < kTogether; ++j) take_fit<L>(fit[j], active[j], 0x7f, subs[j]);
    }
};

// Sub-blocks of sixteen, as IQ2_XS and IQ2_S have them.
constexpr int kIq2SubBlocks = kSuperBlock / 16;

constexpr int kIq2Together = 4;

template <class L>
using Iq2SubBlock = GridSubBlock<L, 2, 2>;

// Fits scales and codes to kIq2Together sub-blocks of folded weights; one below `epsilon` is zero.
template <class L>
GK_LANE void fit_iq2_sub_blocks(const Codebook& book, const typename L::F* folded, const typename L::F* w,
                                float epsilon, int sign_mask, Iq2SubBlock<L> (&subs)[kIq2Together]) {
    typename L::F largest[kIq2Together], scales[kIq2Together];
    typename L::M active[kIq2Together];
    for (int j = 0; j < kIq2Together; ++j) {
        largest[j] = largest_of<L, 16>(folded + 16 * j);
        scales[j] = largest[j] / L::floats(5);
        active[j] = L::negate(largest[j] < L::floats(epsilon));
    }
    GridFit<L, 2> fit[kIq2Together];
    fit_to_grid<L, Octets, kIq2Together, 2, Refinement::kOffGrid>(book, folded, w, largest, scales, active,
                                                                  {9, 0.1f}, fit);
    for (int j = 0; j < kIq2Together; ++j) take_fit<L>(fit[j], active[j], sign_mask, subs[j]);
}

struct IQ2_XS : IQ2_XSLayout, SearchedInGrid {
    static const Codebook& codebook() { return iq2_xs_codebook(); }

    // `x`, `importance` (never null): kBlock floats of each lane's block. Writes kBytes bytes.
    template <class L>
    static GridOutcome<L> quantize(const Codebook& book, const typename L::F* x,
                                   const typename L::F* importance, typename L::I* bytes) {
        using F = typename L::F;
        using I = typename L::I;
        const F zero = L::floats(0);
        const F mean_square = sum_of_squares<L>(x) / L::floats(kBlock);
        F scales[kIq2SubBlocks], largest = zero;
        typename L::M lost = zero < zero;
        GK_UNROLL(1)
        for (int first = 0; first < kIq2SubBlocks; first += kIq2Together) {
            F w[16 * kIq2Together], folded[16 * kIq2Together];
            Iq2SubBlock<L> subs[kIq2Together];
            grid_weights<L, 16 * kIq2Together>(x + 16 * first, importance + 16 * first, mean_square, w);
            GK_GPU_UNROLL(1)
            for (int k = 0; k < 2 * kIq2Together; ++k) {
                subs[k / 2].signs[k % 2] =
                    fold_signs_evenly<L>(x + 16 * first + 8 * k, w + 8 * k, folded + 8 * k);
            }
            fit_iq2_sub_blocks<L>(book, folded, w, kGroupMaxEpsilon, 0x7f, subs);
            GK_GPU_UNROLL(1)
            for (int j = first; j < first + kIq2Together; ++j) {
                const Iq2SubBlock<L>& sub = subs[j - first];
                lost = lost | sub.lost;
                scales[j] = sub.scale;
                largest = L::select(largest > sub.scale, largest, sub.scale);
                for (int k = 0; k < 2; ++k) {
                    const I group = place_of<L, Octets>(book, sub.codes[k]) | (sub.signs[k] << 9);
                    store_half<L>(L::select(sub.active, group, L::ints(0)), bytes + kQuants + 4 * j + 2 * k);
                }
            }
        }
        const typename L::M is_zero = largest == zero;
        GK_GPU_UNROLL(8)
        for (int i = kQuants; i < kSubScales; ++i) bytes[i] = L::select(is_zero, L::ints(0), bytes[i]);
        const F d = largest / L::floats(31);
        pack_odd_scales<L, kIq2SubBlocks>(scales, L::floats(1) / d, bytes + kSubScales);
        const I half_scale = float_to_half<L>(d);
        store_half<L>(half_scale, bytes + kScale);
        return {half_is_finite<L>(half_scale), lost};
    }
};

struct IQ2_S : IQ2_SLayout, SearchedInGrid {
    static const Codebook& codebook() { return iq2_s_codebook(); }

    // `x`, `importance` (null: none): kBlock floats of each lane's block. Writes kBytes bytes.
    template <class L>
    static GridOutcome<L> quantize(const Codebook& book, const typename L::F* x,
                                   const typename L::F* importance, typename L::I* bytes) {
        using F = typename L::F;
        using I = typename L::I;
        constexpr float kEpsilon = 1e-8f;
        const F zero = L::floats(0);
        const F twice_mean_square = L::floats(2) * sum_of_squares<L>(x) / L::floats(kBlock);
        F scales[kIq2SubBlocks], largest = zero;
        typename L::M lost = zero < zero;
        for (int i = 0; i < kBlock / 32; ++i) bytes[kHighQuants + i] = L::ints(0);
        GK_UNROLL(1)
        for (int first = 0; first < kIq2SubBlocks; first += kIq2Together) {
            F w[16 * kIq2Together], folded[16 * kIq2Together];
            Iq2SubBlock<L> subs[kIq2Together];
            if (importance) {
                grid_weights<L, 16 * kIq2Together>(x + 16 * first, importance + 16 * first, twice_mean_square, w);
            } else {
                const F base = L::floats(0.25f) * twice_mean_square;
                GK_GPU_UNROLL(8)
                for (int i = 0; i < 16 * kIq2Together; ++i) w[i] = base + x[16 * first + i] * x[16 * first + i];
            }
            GK_GPU_UNROLL(1)
            for (int k = 0; k < 2 * kIq2Together; ++k) {
                subs[k / 2].signs[k % 2] = fold_signs<L>(x + 16 * first + 8 * k, folded + 8 * k);
            }
            fit_iq2_sub_blocks<L>(book, folded, w, kEpsilon, 0xff, subs);
            GK_GPU_UNROLL(1)
            for (int j = first; j < first + kIq2Together; ++j) {
                const Iq2SubBlock<L>& sub = subs[j - first];
                lost = lost | sub.lost;
                scales[j] = sub.scale;
                largest = L::select(largest > sub.scale, largest, sub.scale);
                for (int k = 0; k < 2; ++k) {
                    const int group = 2 * j + k;
                    const I place = L::select(sub.active, place_of<L, Octets>(book, sub.codes[k]), L::ints(0));
                    bytes[kQuants + group] = place & L::ints(0xff);
                    bytes[kSigns + group] = L::select(sub.active, sub.signs[k], L::ints(0));
                    I& high = bytes[kHighQuants + group / 4];
                    high = high | (L::shift_right(place, 8) << (2 * (group % 4)));
                }
            }
        }
        const F d = largest / L::floats(31);
        pack_odd_scales<L, kIq2SubBlocks>(scales, L::floats(1) / d, bytes + kSubScales);
        const I half_scale = float_to_half<L>(d * L::floats(0.9875f));
        store_half<L>(half_scale, bytes + kScale);
        return {half_is_finite<L>(half_scale), lost};
    }
};

}  // namespace
}  // namespace ggufactory

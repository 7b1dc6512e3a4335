// IQ3: signs apart, and four magnitudes 1, 3, ... 15 at a time as a point of a grid
// (quantize_row_iq3_xxs_impl and quantize_row_iq3_s_impl of ggml-quants.c). A sub-block's scale is searched
// with its points (grid_fit.h); the largest scale becomes 31 steps of the super-block's.
#pragma once

#include "grid_blocks.h"
#include "grid_fit.h"

namespace ggufactory {
namespace {

constexpr int kIq3SubBlock = 32;
constexpr int kIq3SubBlocks = kSuperBlock / kIq3SubBlock;
constexpr int kIq3Points = kIq3SubBlock / Quads::kElements;

template <class L>
using Iq3SubBlock = GridSubBlock<L, kIq3Points, kIq3SubBlock / 8>;

template <class L>
GK_LANE void iq3_weights(const typename L::F* x, const typename L::F* importance, int first,
                         typename L::F twice_mean_square, typename L::F* w) {
    if (importance) {
        grid_weights<L, kIq3SubBlock>(x + first, importance + first, twice_mean_square, w);
    } else {
        square_weights<L, kIq3SubBlock>(x + first, w);
    }
}

// Fits scale and codes to a sub-block of folded weights, of which `largest` is the largest.
template <class L, Refinement kRefinement>
GK_LANE void fit_iq3_sub_block(const Codebook& book, const typename L::F* folded, const typename L::F* w,
                               typename L::F largest, int last_step, int sign_mask, Iq3SubBlock<L>& sub) {
    GridFit<L, kIq3Points> fit[1];
    fit_to_grid<L, Quads, 1, kIq3Points, kRefinement>(book, folded, w, {largest}, {largest / L::floats(15)},
                                                      {sub.active}, {last_step, 0.2f}, fit);
    for (int k = 0; k < kIq3Points; ++k) sub.codes[k] = fit[0].codes[k];
    sub.scale = make_positive<L>(L::select(sub.active, fit[0].scale, L::floats(0)), sign_mask, sub.signs);
    sub.lost = fit[0].lost;
}

struct IQ3_XXS : IQ3_XXSLayout, SearchedInGrid {
    static const Codebook& codebook() { return iq3_xxs_codebook(); }

    // `x`, `importance` (null: none): kBlock floats of each lane's block. Writes kBytes bytes.
    template <class L>
    static GridOutcome<L> quantize(const Codebook& book, const typename L::F* x,
                                   const typename L::F* importance, typename L::I* bytes) {
        using F = typename L::F;
        using I = typename L::I;
        constexpr float kEpsilon = 1e-8f;
        const F zero = L::floats(0);
        const F twice_mean_square = L::floats(2) * sum_of_squares<L>(x) / L::floats(kBlock);
        F scales[kIq3SubBlocks], largest = zero;
        I signs[kIq3SubBlocks];
        typename L::M lost = zero < zero;
        GK_UNROLL(1)
        for (int j = 0; j < kIq3SubBlocks; ++j) {
            const int first = j * kIq3SubBlock;
            F w[kIq3SubBlock], folded[kIq3SubBlock];
            Iq3SubBlock<L> sub;
            iq3_weights<L>(x, importance, first, twice_mean_square, w);
            GK_GPU_UNROLL(1)
            for (int i = 0; i < kIq3SubBlock; i += 8) {
                sub.signs[i / 8] = fold_signs_evenly<L>(x + first + i, w + i, folded + i);
            }
            const F sub_largest = largest_of<L, kIq3SubBlock>(folded);
            sub.active = L::negate(sub_largest < L::floats(kEpsilon));
            fit_iq3_sub_block<L, Refinement::kOffGrid>(book, folded, w, sub_largest, 15, 0x7f, sub);
            lost = lost | sub.lost;
            scales[j] = sub.scale;
            largest = L::select(largest > sub.scale, largest, sub.scale);
            for (int k = 0; k < kIq3Points; ++k) {
                const I place = place_of<L, Quads>(book, sub.codes[k]);
                bytes[kQuants + kIq3Points * j + k] = L::select(sub.active, place, L::ints(0));
            }
            signs[j] = L::ints(0);
            for (int k = 0; k < kIq3SubBlock / 8; ++k) {
                signs[j] = signs[j] | L::select(sub.active, sub.signs[k] << (7 * k), L::ints(0));
            }
        }
        const F d = largest / L::floats(31);
        const F inverse = L::floats(1) / d;
        for (int j = 0; j < kIq3SubBlocks; ++j) {
            store_word<L>(signs[j] | (quantize_odd_scale<L>(scales[j], inverse, 15) << 28),
                          bytes + kSignsAndScales + 4 * j);
        }
        const typename L::M is_zero = largest == zero;
        GK_GPU_UNROLL(8)
        for (int i = kQuants; i < kBytes; ++i) bytes[i] = L::select(is_zero, L::ints(0), bytes[i]);
        const I half_scale = float_to_half<L>(d * L::floats(1.0125f));
        store_half<L>(half_scale, bytes + kScale);
        return {half_is_finite<L>(half_scale), lost};
    }
};

struct IQ3_S : IQ3_SLayout, SearchedInGrid {
    static const Codebook& codebook() { return iq3_s_codebook(); }

    // `x`, `importance` (null: none): kBlock floats of each lane's block. Writes kBytes bytes.
    template <class L>
    static GridOutcome<L> quantize(const Codebook& book, const typename L::F* x,
                                   const typename L::F* importance, typename L::I* bytes) {
        using F = typename L::F;
        using I = typename L::I;
        const F zero = L::floats(0);
        const F twice_mean_square = L::floats(2) * sum_of_squares<L>(x) / L::floats(kBlock);
        F scales[kIq3SubBlocks], largest = zero;
        typename L::M lost = zero < zero, written[kIq3SubBlocks];
        GK_UNROLL(1)
        for (int j = 0; j < kIq3SubBlocks; ++j) {
            const int first = j * kIq3SubBlock;
            F w[kIq3SubBlock], folded[kIq3SubBlock];
            Iq3SubBlock<L> sub;
            iq3_weights<L>(x, importance, first, twice_mean_square, w);
            GK_GPU_UNROLL(1)
            for (int i = 0; i < kIq3SubBlock; i += 8) {
                sub.signs[i / 8] = fold_signs<L>(x + first + i, folded + i);
            }
            const F sub_largest = largest_of<L, kIq3SubBlock>(folded);
            sub.active = L::negate(sub_largest == zero);
            fit_iq3_sub_block<L, Refinement::kAllIfAnyOffGrid>(book, folded, w, sub_largest, 9, 0xff, sub);
            lost = lost | sub.lost;
            scales[j] = sub.scale;
            largest = L::select(largest > sub.scale, largest, sub.scale);
            I high = L::ints(0);
            for (int k = 0; k < kIq3Points; ++k) {
                const I place = L::select(sub.active, place_of<L, Quads>(book, sub.codes[k]), L::ints(0));
                bytes[kQuants + kIq3Points * j + k] = place & L::ints(0xff);
                high = high | (L::shift_right(place, 8) << k);
            }
            bytes[kHighQuants + j] = high;
            for (int k = 0; k < kIq3SubBlock / 8; ++k) {
                bytes[kSigns + kIq3SubBlock / 8 * j + k] = L::select(sub.active, sub.signs[k], L::ints(0));
            }
            written[j] = sub.active;
        }
        close_gaps<L, kIq3Points>(written, bytes + kQuants);
        close_gaps<L, kIq3SubBlock / 8>(written, bytes + kSigns);
        const F d = largest / L::floats(31);
        pack_odd_scales<L, kIq3SubBlocks>(scales, L::floats(1) / d, bytes + kSubScales);
        const I half_scale = float_to_half<L>(d * L::floats(1.033f));
        store_half<L>(half_scale, bytes + kScale);
        return {half_is_finite<L>(half_scale), lost};
    }

private:
    // The reference does not move on after a sub-block of zeros, so the ones after it are stored a place
    // early, `kSize` bytes each, and zeros fill the end. Their high bits and scales stay where they belong.
    template <class L, int kSize>
    static inline void close_gaps(const typename L::M* written, typename L::I* bytes) {
        for (int j = kIq3SubBlocks - 2; j >= 0; --j) {
            const typename L::M gap = L::negate(written[j]);
            if (!L::any(gap)) continue;
            for (int i = j * kSize; i < kIq3SubBlocks * kSize; ++i) {
                const bool has_next = i + kSize < kIq3SubBlocks * kSize;
                bytes[i] = L::select(gap, has_next ? bytes[i + kSize] : L::ints(0), bytes[i]);
            }
        }
    }
};

}  // namespace
}  // namespace ggufactory

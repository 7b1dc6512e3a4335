// IQ1: eight weights at a time are a point of a grid of digits 0, 1, 2, which stand for -1, 0, 1 with a shift
// of an eighth up or down (quantize_row_iq1_s_impl and quantize_row_iq1_m_impl of ggml-quants.c).
// A sub-block's digits are found first (ternary_split.h), then each group of eight moves to the cheapest point
// of the grid.
#pragma once

#include "grid_blocks.h"
#include "grid_search.h"
#include "scale_search.h"
#include "ternary_split.h"

namespace ggufactory {
namespace {

// Digits that a negative scale goes with become those of the positive one.
template <class L, int kCount>
GK_LANE void mirror_digits(typename L::M negative, typename L::I* digits) {
    for (int i = 0; i < kCount; ++i) digits[i] = L::select(negative, L::ints(2) - digits[i], digits[i]);
}

// One group of eight onto the grid, in the lanes that are `active`. Where no neighbour's cost is a number,
// the reference goes on to read weights that are not there; such lanes are `lost`.
template <class L>
inline typename L::I move_to_grid(const Codebook& book, const typename L::I* digits, const typename L::F* x,
                                  const typename L::F* w, typename L::F scale, const typename L::F* shifted,
                                  typename L::M active, typename L::M& moved, typename L::M& lost) {
    using I = typename L::I;
    const I entry = find_entry<L, Octets>(book, digits);
    const typename L::M searching = active & L::negate(entry < L::ints(0));
    const I code = entry & L::ints(kCodeMask);
    moved = moved | searching;
    typename L::F values[3];
    for (int q = 0; q < 3; ++q) values[q] = scale * shifted[q];
    I found;
    if constexpr (L::kSearchesTogether) {
        found = cheapest_octets_together<L>(book, entry, searching, digits, values, x, w);
    } else {
        if (!L::any(searching)) return code;
        found = cheapest_octets<L>(book, entry, searching, digits, values, x, w);
    }
    const typename L::M none = searching & (found < L::ints(0));
    lost = lost | none;
    return L::select(searching, L::select(none, L::ints(0), found), code);
}

// What digit i of a code stands for.
template <class L>
GK_LANE typename L::F shifted_value(typename L::I code, int i, const typename L::F* shifted) {
    const typename L::I digit = digit_of<L, Octets>(code, i);
    return L::select(digit == L::ints(0), shifted[0], L::select(digit == L::ints(1), shifted[1], shifted[2]));
}

// The values of the digits, shifted up or down.
template <class L>
GK_LANE void shift_values(typename L::M up, typename L::F* shifted) {
    for (int q = 0; q < 3; ++q) shifted[q] = L::select(up, L::floats(kIq1Up[q]), L::floats(kIq1Down[q]));
}

template <class L>
GK_LANE void add_shifted_sums(typename L::I code, const typename L::F* x, const typename L::F* w,
                              const typename L::F* shifted, typename L::F& sum_xq, typename L::F& sum_q2) {
    for (int i = 0; i < 8; ++i) {
        const typename L::F q = shifted_value<L>(code, i, shifted);
        sum_xq = sum_xq + w[i] * q * x[i];
        sum_q2 = sum_q2 + w[i] * q * q;
    }
}

template <class L>
GK_LANE typename L::M is_not_negative(typename L::F f) {
    return (f > L::floats(0)) | (f == L::floats(0));
}

struct IQ1_S : IQ1_SLayout, SearchedInGrid {
    static constexpr int kSubBlock = 32, kSubBlocks = kBlock / kSubBlock, kGroups = kSubBlock / 8;

    static const Codebook& codebook() { return iq1_codebook(); }

    // `x`, `importance` (never null): kBlock floats of each lane's block. Writes kBytes bytes.
    template <class L>
    static GridOutcome<L> quantize(const Codebook& book, const typename L::F* x,
                                   const typename L::F* importance, typename L::I* bytes) {
        using F = typename L::F;
        using I = typename L::I;
        const F zero = L::floats(0);
        const F twice_mean_square = L::floats(2) * sum_of_squares<L>(x) / L::floats(kBlock);
        F scales[kSubBlocks], largest = zero;
        I high_bits[kSubBlocks], down[kSubBlocks];
        typename L::M lost = zero < zero;
        GK_UNROLL(1)
        for (int j = 0; j < kSubBlocks; ++j) {
            const int first = j * kSubBlock;
            F w[kSubBlock];
            grid_weights<L, kSubBlock>(x + first, importance + first, twice_mean_square, w);
            const SubBlock<L> sub = search<L>(book, x + first, w);
            lost = lost | sub.lost;
            scales[j] = sub.scale;
            largest = L::select(largest > sub.scale, largest, sub.scale);
            high_bits[j] = L::ints(0);
            for (int k = 0; k < kGroups; ++k) {
                const I place = L::select(sub.active, place_of<L, Octets>(book, sub.codes[k]), L::ints(0));
                bytes[kQuants + kGroups * j + k] = place & L::ints(0xff);
                high_bits[j] = high_bits[j] | (L::shift_right(place, 8) << (3 * k));
            }
            down[j] = L::select(sub.active & L::negate(sub.up), L::ints(8), L::ints(0));
        }
        const typename L::M is_zero = largest == zero;
        const F d = largest / L::floats(15);
        const F inverse = L::floats(1) / d;
        for (int j = 0; j < kSubBlocks; ++j) {
            const I scale = (quantize_odd_scale<L>(scales[j], inverse, 7) | down[j]) << 12;
            store_half<L>(high_bits[j] | L::select(is_zero, L::ints(0), scale), bytes + kHighQuants + 2 * j);
        }
        const I half_scale = float_to_half<L>(d * L::floats(1.125f));
        store_half<L>(half_scale, bytes + kScale);
        return {half_is_finite<L>(half_scale), lost};
    }

private:
    template <class L>
    struct SubBlock {
        typename L::F scale;
        typename L::I codes[kGroups];
        typename L::M up, active, lost;
    };

    template <class L>
    static inline SubBlock<L> search(const Codebook& book, const typename L::F* x, const typename L::F* w) {
        using F = typename L::F;
        using M = typename L::M;
        constexpr float kEpsilon = 1e-12f;
        const F zero = L::floats(0);
        const F largest = largest_magnitude<L, kSubBlock>(x);
        const SortedWeights<L, kSubBlock> sorted(x);
        const TernarySplit<L> split = best_split<L, kSubBlock>(sorted, w, largest);
        SubBlock<L> sub;
        sub.lost = zero < zero;
        sub.active = L::negate((largest < L::floats(kEpsilon)) | (split.first < L::ints(0)));
        const M negative = split.scale < zero;
        sub.scale = L::select(negative, zero - split.scale, split.scale);
        sub.up = (negative & (split.shifts == L::ints(0))) | L::negate(negative | (split.shifts == L::ints(0)));
        typename L::I digits[kSubBlock];
        sorted.digits(split, x, digits);
        mirror_digits<L, kSubBlock>(negative, digits);
        F shifted[3];
        shift_values<L>(sub.up, shifted);
        M moved = zero < zero;
        for (int k = 0; k < kGroups; ++k) {
            sub.codes[k] = move_to_grid<L>(book, digits + 8 * k, x + 8 * k, w + 8 * k, sub.scale, shifted,
                                           sub.active, moved, sub.lost);
        }
        F sum_xq = zero, sum_q2 = zero;
        for (int k = 0; k < kGroups; ++k) {
            add_shifted_sums<L>(sub.codes[k], x + 8 * k, w + 8 * k, shifted, sum_xq, sum_q2);
        }
        const M fitted = moved & (sum_xq > zero) & (sum_q2 > zero);
        sub.scale = L::select(sub.active, L::select(fitted, sum_xq / sum_q2, sub.scale), zero);
        sub.lost = sub.active & (sub.lost | L::negate(is_not_negative<L>(sub.scale)));
        return sub;
    }
};

struct IQ1_M : IQ1_MLayout, SearchedInGrid {
    static constexpr int kSubBlock = 16, kSubBlocks = kBlock / kSubBlock;

    static const Codebook& codebook() { return iq1_codebook(); }

    // `x`, `importance` (null: none): kBlock floats of each lane's block. Writes kBytes bytes.
    template <class L>
    static GridOutcome<L> quantize(const Codebook& book, const typename L::F* x,
                                   const typename L::F* importance, typename L::I* bytes) {
        using F = typename L::F;
        using I = typename L::I;
        const F zero = L::floats(0);
        const F twice_mean_square = L::floats(2) * sum_of_squares<L>(x) / L::floats(kBlock);
        F w[kBlock];
        if (importance) {
            grid_weights<L, kBlock>(x, importance, twice_mean_square, w);
        } else {
            square_weights<L, kBlock>(x, w);
        }
        SubBlock<L> subs[kSubBlocks];
        F largest = zero;
        typename L::M lost = zero < zero;
        GK_UNROLL(1)
        for (int j = 0; j < kSubBlocks; ++j) {
            subs[j] = search<L>(book, x + j * kSubBlock, w + j * kSubBlock);
            lost = lost | subs[j].lost;
            largest = L::select(largest > subs[j].scale, largest, subs[j].scale);
        }
        const typename L::M is_zero = largest == zero;
        const F d = largest / L::floats(15);
        const F inverse = L::floats(1) / d;
        // The scale is fitted once more to all quants as they are stored.
        F sum_xq = zero, sum_q2 = zero;
        I scales[kSubBlocks];
        GK_UNROLL(1)
        for (int j = 0; j < kSubBlocks; ++j) {
            const SubBlock<L>& sub = subs[j];
            scales[j] = quantize_odd_scale<L>(sub.scale, inverse, 7);
            const F step = L::to_float(scales[j] + scales[j] + L::ints(1));
            I high_bits = L::ints(0);
            for (int k = 0; k < 2; ++k) {
                F shifted[3];
                shift_values<L>(is_up<L>(sub.shifts, k), shifted);
                for (F& value : shifted) value = value * step;
                const int first = j * kSubBlock + 8 * k;
                add_shifted_sums<L>(sub.codes[k], x + first, w + first, shifted, sum_xq, sum_q2);
                const I place = place_of<L, Octets>(book, sub.codes[k]);
                bytes[kQuants + 2 * j + k] = place & L::ints(0xff);
                const I down = L::select(is_up<L>(sub.shifts, k) | is_zero, L::ints(0), L::ints(8));
                high_bits = high_bits | ((L::shift_right(place, 8) | down) << (4 * k));
            }
            bytes[kHighQuants + j] = high_bits;
        }
        const F fitted = L::select(sum_q2 > zero, sum_xq / sum_q2, d);
        const I half_scale = float_to_half<L>(fitted * L::floats(1.1125f));
        for (int j = 0; j < kSubBlocks; j += 4) {
            const I part = L::shift_right(half_scale, j) & L::ints(0x0f);
            const I word = scales[j] | (scales[j + 1] << 3) | (scales[j + 2] << 6) | (scales[j + 3] << 9) |
                           (part << 12);
            store_half<L>(L::select(is_zero, L::ints(0), word), bytes + kSubScales + j / 2);
        }
        const typename L::M finite = half_is_finite<L>(half_scale) | is_zero;
        return {finite, lost};
    }

private:
    template <class L>
    struct SubBlock {
        typename L::F scale;
        typename L::I codes[2];
        typename L::I shifts;  // bit 1: the first half down, bit 0: the second
        typename L::M lost;
    };

    // Whether half k of a sub-block is shifted up.
    template <class L>
    static GK_LANE typename L::M is_up(typename L::I shifts, int k) {
        return (shifts & L::ints(k == 0 ? 2 : 1)) == L::ints(0);
    }

    template <class L>
    static inline SubBlock<L> search(const Codebook& book, const typename L::F* x, const typename L::F* w) {
        using F = typename L::F;
        using M = typename L::M;
        constexpr float kEpsilon = 1e-7f;
        const F zero = L::floats(0);
        const F largest = largest_magnitude<L, kSubBlock>(x);
        const SortedWeights<L, kSubBlock> sorted(x);
        const TernarySplit<L> split = best_split_by_halves<L, kSubBlock>(sorted, w, largest);
        const M active = L::negate((largest < L::floats(kEpsilon)) | (split.first < L::ints(0)));
        const M negative = split.scale < zero;
        SubBlock<L> sub;
        sub.lost = zero < zero;
        sub.scale = L::select(negative, zero - split.scale, split.scale);
        sub.shifts = L::select(negative, L::ints(3) - split.shifts, split.shifts);
        sub.shifts = L::select(active, sub.shifts, L::ints(0));
        typename L::I digits[kSubBlock];
        sorted.digits(split, x, digits);
        mirror_digits<L, kSubBlock>(negative, digits);
        F sum_xq = zero, sum_q2 = zero;
        M moved = zero < zero;
        for (int k = 0; k < 2; ++k) {
            F shifted[3];
            shift_values<L>(is_up<L>(sub.shifts, k), shifted);
            sub.codes[k] = move_to_grid<L>(book, digits + 8 * k, x + 8 * k, w + 8 * k, sub.scale, shifted,
                                           active, moved, sub.lost);
            sub.codes[k] = L::select(active, sub.codes[k], L::ints(0));
            add_shifted_sums<L>(sub.codes[k], x + 8 * k, w + 8 * k, shifted, sum_xq, sum_q2);
        }
        const M fitted = moved & (sum_xq > zero) & (sum_q2 > zero);
        sub.scale = L::select(active, L::select(fitted, sum_xq / sum_q2, sub.scale), zero);
        sub.lost = active & (sub.lost | L::negate(is_not_negative<L>(sub.scale)));
        return sub;
    }
};

}  // namespace
}  // namespace ggufactory

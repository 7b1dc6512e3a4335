// K-quants with a scale and a minimum for each sub-block: x = d * scale * q - dmin * minimum.
//
// Order of the work, as in quantize_row_q4_K_ref and quantize_row_q4_K_impl (ggml-quants.c): search each
// sub-block's scale and minimum; quantize those eight and eight to six bits; round them to what the file
// holds; then round every weight again with the stored, half-precision scales.
#pragma once

#include "blocks.h"
#include "half.h"
#include "scale_search.h"
#include "sub_blocks.h"

namespace ggufactory {
namespace {

constexpr int kAffineSubBlocks = 8;
constexpr int kAffineSubBlock = kSuperBlock / kAffineSubBlocks;

template <class L>
struct AffineSuperBlock {
    AffineScale<L> found[kAffineSubBlocks];
    typename L::F weight_sums[kAffineSubBlocks];
};

// Element weights without importance: the sub-block's root mean square plus the element's magnitude.
template <class L>
GK_LANE void magnitude_weights(const typename L::F* x, typename L::F* w) {
    typename L::F sum_squares = L::floats(0);
    for (int i = 0; i < kAffineSubBlock; ++i) sum_squares = sum_squares + x[i] * x[i];
    const typename L::F root_mean_square = L::sqrt(sum_squares / L::floats(kAffineSubBlock));
    for (int i = 0; i < kAffineSubBlock; ++i) w[i] = L::kept(root_mean_square + L::abs(x[i]));
}

// Element weights with importance: it counts more where the weight is large beside the super-block's
// mean square (doubled, as the reference has it).
template <class L>
GK_LANE void importance_weights(const typename L::F* x, const typename L::F* importance,
                                typename L::F twice_mean_square, typename L::F* w) {
    for (int i = 0; i < kAffineSubBlock; ++i) {
        w[i] = importance[i] * L::sqrt(twice_mean_square + x[i] * x[i]);
    }
}

template <class L>
inline void search_sub_blocks(const typename L::F* x, const typename L::F* importance, int levels,
                              AffineSteps steps, AffineSuperBlock<L>& block) {
    using F = typename L::F;
    using S = SideBySide<L>;
    using P = typename S::Lanes;
    F twice_mean_square = L::floats(0);
    if (importance) {
        F sum_squares = L::floats(0);
        for (int i = 0; i < kSuperBlock; ++i) sum_squares = sum_squares + x[i] * x[i];
        twice_mean_square = L::floats(2) * sum_squares / L::floats(kSuperBlock);
    }
    GK_UNROLL(1)
    for (int j = 0; j < kAffineSubBlocks; j += S::kCount) {
        const int first = j * kAffineSubBlock;
        typename P::F xs[kAffineSubBlock], ws[kAffineSubBlock];
        S::load(x + first, xs);
        if (importance) {
            typename P::F importances[kAffineSubBlock];
            S::load(importance + first, importances);
            importance_weights<P>(xs, importances, S::same(twice_mean_square), ws);
        } else {
            magnitude_weights<P>(xs, ws);
        }
        typename P::F sum = P::floats(0);
        for (int i = 0; i < kAffineSubBlock; ++i) sum = sum + ws[i];
        const AffineScale<P> found = search_affine_scale<P, kAffineSubBlock>(xs, ws, levels, steps);
        for (int k = 0; k < S::kCount; ++k) {
            block.weight_sums[j + k] = S::part(sum, k);
            block.found[j + k] = {S::part(found.scale, k), S::part(found.minimum, k), S::part(found.inverse, k),
                                  S::part(found.floor, k)};
        }
    }
}

// Six-bit bytes by the largest of `values`, which becomes 63; returns what 63 stands for, over 63.
template <class L>
GK_LANE typename L::F quantize_by_largest(const typename L::F* values, typename L::I* bytes) {
    using F = typename L::F;
    const F zero = L::floats(0);
    F largest = zero;
    for (int j = 0; j < kAffineSubBlocks; ++j) largest = L::select(values[j] > largest, values[j], largest);
    const F inverse = L::select(largest > zero, L::floats(63) / largest, zero);
    for (int j = 0; j < kAffineSubBlocks; ++j) {
        bytes[j] = L::at_most(L::nearest_int(inverse * values[j]) & L::ints(0xff), 63);
    }
    return largest / L::floats(63);
}

// Eight scales and eight minima of six bits in twelve bytes: four of each whole, with the upper two bits
// of the other four above them, whose lower four bits fill the last four bytes.
template <class L>
GK_LANE void pack_six_bits(const typename L::I* scales, const typename L::I* minima, typename L::I* bytes) {
    const typename L::I byte = L::ints(0xff), low = L::ints(0x0f);
    for (int j = 0; j < 4; ++j) {
        bytes[j] = (scales[j] | (L::shift_right(scales[j + 4], 4) << 6)) & byte;
        bytes[j + 4] = (minima[j] | (L::shift_right(minima[j + 4], 4) << 6)) & byte;
        bytes[j + 8] = (scales[j + 4] & low) | ((minima[j + 4] & low) << 4);
    }
}

template <class L>
GK_LANE void unpack_six_bits(const typename L::I* bytes, typename L::I* scales, typename L::I* minima) {
    const typename L::I six = L::ints(0x3f), low = L::ints(0x0f);
    for (int j = 0; j < 4; ++j) {
        scales[j] = bytes[j] & six;
        minima[j] = bytes[j + 4] & six;
        scales[j + 4] = (bytes[j + 8] & low) | (L::shift_right(bytes[j], 6) << 4);
        minima[j + 4] = L::shift_right(bytes[j + 8], 4) | (L::shift_right(bytes[j + 4], 6) << 4);
    }
}

// The quants of one sub-block under its stored scale `d` and minimum `dm`. Where the stored scale is zero
// the search's own quants stay.
template <class L, int kCount = kAffineSubBlock>
inline void round_to_stored_scale(const typename L::F* x, typename L::F d, typename L::F dm,
                                  const AffineScale<L>& found, int levels, typename L::I* quants) {
    const typename L::M vanished = d == L::floats(0);
    for (int i = 0; i < kCount; ++i) {
        quants[i] = L::clamp(L::nearest_int((x[i] + dm) / d), 0, levels);
    }
    if (!L::any(vanished)) return;
    for (int i = 0; i < kCount; ++i) {
        const typename L::I searched =
            L::clamp(L::nearest_int(found.inverse * (x[i] - found.floor)), 0, levels);
        quants[i] = L::select(vanished, searched, quants[i]);
    }
}

// Scales, minima and quants of a super-block; writes the twelve bytes and the two halves at their places.
template <class L, class Layout>
GK_LANE typename L::M quantize_affine_super_block(const typename L::F* x, const typename L::F* importance,
                                                  int levels, AffineSteps steps, typename L::I* bytes,
                                                  typename L::I* quants) {
    using F = typename L::F;
    using I = typename L::I;
    AffineSuperBlock<L> block;
    search_sub_blocks<L>(x, importance, levels, steps, block);

    F scales[kAffineSubBlocks], minima[kAffineSubBlocks];
    for (int j = 0; j < kAffineSubBlocks; ++j) {
        scales[j] = block.found[j].scale;
        minima[j] = block.found[j].minimum;
    }
    I scale_bytes[kAffineSubBlocks], minimum_bytes[kAffineSubBlocks];
    F scale, minimum;
    if (importance) {
        scale = quantize_positive<L, kAffineSubBlocks>(scales, block.weight_sums, 63, scale_bytes);
        minimum = quantize_positive<L, kAffineSubBlocks>(minima, block.weight_sums, 63, minimum_bytes);
    } else {
        scale = quantize_by_largest<L>(scales, scale_bytes);
        minimum = quantize_by_largest<L>(minima, minimum_bytes);
    }
    // A group that has only weights of no importance beside a few may get a negative scale, whose byte wraps.
    // The reference bounds those of Q5_K; those of Q4_K spill into their neighbours' bits.
    if constexpr (Layout::kNumber == Q5_KLayout::kNumber) {
        for (int j = 0; j < kAffineSubBlocks; ++j) {
            scale_bytes[j] = L::at_most(scale_bytes[j], 63);
            minimum_bytes[j] = L::at_most(minimum_bytes[j], 63);
        }
    }
    pack_six_bits<L>(scale_bytes, minimum_bytes, bytes + Layout::kSubScales);
    unpack_six_bits<L>(bytes + Layout::kSubScales, scale_bytes, minimum_bytes);
    const I half_scale = float_to_half<L>(scale), half_minimum = float_to_half<L>(minimum);
    store_half<L>(half_scale, bytes + Layout::kScale);
    store_half<L>(half_minimum, bytes + Layout::kMinimum);

    const F stored_scale = half_to_float<L>(half_scale), stored_minimum = half_to_float<L>(half_minimum);
    GK_UNROLL(1)
    for (int j = 0; j < kAffineSubBlocks; ++j) {
        const int first = j * kAffineSubBlock;
        round_to_stored_scale<L>(x + first, stored_scale * L::to_float(scale_bytes[j]),
                                 stored_minimum * L::to_float(minimum_bytes[j]), block.found[j], levels,
                                 quants + first);
    }
    return half_is_finite<L>(half_scale) & half_is_finite<L>(half_minimum);
}

struct Q4_K : Q4_KLayout {
    // `x`, `importance` (null: none): kBlock floats of each lane's block. Writes kBytes bytes.
    // Returns where the stored scales are finite.
    template <class L>
    static typename L::M quantize(const typename L::F* x, const typename L::F* importance,
                                  typename L::I* bytes) {
        constexpr int kLevels = 15;
        const AffineSteps steps = importance ? AffineSteps{-0.9f, 0.05f, 36} : AffineSteps{-1.f, 0.1f, 20};
        typename L::I quants[kBlock];
        const typename L::M finite =
            quantize_affine_super_block<L, Q4_KLayout>(x, importance, kLevels, steps, bytes, quants);
        // A byte holds weights i and i + 32 of each 64.
        GK_GPU_UNROLL(1)
        for (int group = 0; group < kBlock / 64; ++group) {
            GK_GPU_UNROLL(8)
            for (int i = 0; i < 32; ++i) {
                bytes[kQuants + 32 * group + i] = quants[64 * group + i] | (quants[64 * group + 32 + i] << 4);
            }
        }
        return finite;
    }
};

struct Q5_K : Q5_KLayout {
    // As Q4_K::quantize.
    template <class L>
    static typename L::M quantize(const typename L::F* x, const typename L::F* importance,
                                  typename L::I* bytes) {
        using I = typename L::I;
        constexpr int kLevels = 31;
        const AffineSteps steps = importance ? AffineSteps{-0.9f, 0.05f, 36} : AffineSteps{-0.5f, 0.1f, 15};
        I quants[kBlock];
        const typename L::M finite =
            quantize_affine_super_block<L, Q5_KLayout>(x, importance, kLevels, steps, bytes, quants);
        // The low four bits as in Q4_K. Bit j of fifth byte i belongs to weight i of sub-block j.
        const I low = L::ints(0x0f);
        for (int i = 0; i < 32; ++i) {
            I fifth_bits = L::ints(0);
            for (int j = 0; j < kAffineSubBlocks; j += 2) {
                const I even = quants[32 * j + i], odd = quants[32 * j + 32 + i];
                bytes[kQuants + 16 * j + i] = (even & low) | ((odd & low) << 4);
                fifth_bits = fifth_bits | (L::shift_right(even, 4) << j) | (L::shift_right(odd, 4) << (j + 1));
            }
            bytes[kFifthBits + i] = fifth_bits;
        }
        return finite;
    }
};

}  // namespace
}  // namespace ggufactory

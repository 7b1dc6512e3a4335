// The short blocks of 32 weights under one scale, rounded without a search: quantize_row_q8_0_ref
// (ggml-quants.c).
#pragma once

#include "blocks.h"
#include "half.h"

namespace ggufactory {
namespace {

// roundf(), halves away from zero, for |f| < 2^24. The addend is the largest float below a half: with
// 0.5 itself the sum would round up to the next integer just below a half.
template <class L>
GK_LANE typename L::I round_half_away(typename L::F f) {
    using I = typename L::I;
    const I below_half = L::bits(L::floats(0x1.fffffep-2f));
    const I sign = L::bits(f) & L::ints(INT32_MIN);
    return L::truncate(f + L::from_bits(below_half | sign));
}

struct Q8_0 : Q8_0Layout {
    // `x`: kBlock floats of each lane's block; importance is not used. Writes kBytes bytes.
    // Returns where the stored scale is finite.
    template <class L>
    static typename L::M quantize(const typename L::F* x, const typename L::F* /*importance*/,
                                  typename L::I* bytes) {
        using F = typename L::F;
        using I = typename L::I;
        F magnitude = L::floats(0);
        GK_UNROLL(32)
        for (int i = 0; i < kBlock; ++i) {
            const F size = L::abs(x[i]);
            magnitude = L::select(magnitude > size, magnitude, size);
        }
        const F scale = magnitude / L::floats(127);
        const F inverse = L::select(scale == L::floats(0), L::floats(0), L::floats(1) / scale);
        const I half_scale = float_to_half<L>(scale);
        bytes[kScale] = half_scale & L::ints(0xff);
        bytes[kScale + 1] = L::shift_right(half_scale, 8);
        // A denormal scale has no inverse; truncate() then gives INT_MIN, whose low byte is the
        // reference's zero.
        GK_UNROLL(32)
        for (int i = 0; i < kBlock; ++i) bytes[kQuants + i] = round_half_away<L>(x[i] * inverse) & L::ints(0xff);
        return half_is_finite<L>(half_scale);
    }
};

}  // namespace
}  // namespace ggufactory

// What a lane can do.
//
// A quantizer is written once, as the walk of one lane over one block in exactly the reference's order
// of IEEE single-precision operations. `Lanes` says what a lane is: `ScalarLanes` below is one number
// (a plain CPU build; `ThreadLanes`: a CUDA thread), `VectorLanes` (vector_lanes.h) as many blocks side by side as the
// instruction set holds, `PairLanes` (pair_lanes.h) two of either. No lane sees another, so the bytes
// of a block cannot depend on the width.
//
// A lanes class has:
//   F, I, M                       floats, 32-bit integers and conditions, one per lane
//   kWidth                        how many lanes
//   kSideBySide                   how many sub-blocks are searched at a time
//   kReadsTables                  whether reading from a table is quicker than comparing with all its entries
//   kSearchesTogether             whether other lanes help with a search of neighbours (cuda/team_search.h)
//   +  -  *  /  <  >  ==  &  |    as for the plain types; comparisons give an M
//   floats(c), ints(c)            the same constant in every lane
//   select(m, a, b)               a where m, else b. Both are computed: a lane has no branches, and
//                                 the reference's `continue` and early `return` become selects
//   negate(m), any(m)             any() is the only thing that looks across lanes; it may only guard
//                                 work whose result no lane would use
//   lane_bits(m)                  bit k is lane k; for what each lane then does alone
//   bits(f), from_bits(i)         reinterpretation
//   to_float(i), truncate(f)      truncate() gives INT_MIN out of range and for NaN, as cvttss2si does
//   truncate_near(f)              the same for |f| < 2^31 only
//   nearest_int(f)                the reference's rounding, see below; 0 for NaN, as there
//   shift_right(i, n)             logical
//   clamp(i, lo, hi), at_most(i, hi), sqrt(f), abs(f)
//   minimum(a, b), maximum(a, b)  b, which is a number, where a is NaN; of zeros with different signs either
//   round_clamped(f, lo, hi)      float of clamp(nearest_int(f), lo, hi), for |f| < 2^22 only
//   round_at_most(f, hi)          the same without the lower bound, round_at_least(f, lo) without the upper one,
//                                 round_near(f) without any
//   kept(f)                       f, made once: a GPU's compiler would otherwise make it again for each use
//   gather(table, i)              table[i]; pick(x, i): x[i], of the lane's own column
//   gather_words(x, i)            lane i % kWidth of x[i / kWidth]
//   load_*, store, transpose      the driver's business (tile.h), not the algorithms'
#pragma once

#include "language.h"

namespace ggufactory {
// This code is compiled once for each instruction set. Without internal linkage the linker would keep
// one copy of each function for all of them, and a machine without AVX-512 might get that one.
namespace {

// 1.5 * 2^23: adding it to a float below 2^22 leaves the nearest integer (ties to even) in the low bits.
constexpr float kRoundingOffset = 12582912.f;

struct ScalarLanes {
    using F = float;
    using I = int32_t;
    using M = bool;
    static constexpr int kWidth = 1;
    static constexpr int kSideBySide = 2;
    static constexpr bool kReadsTables = false;
    static constexpr bool kSearchesTogether = false;

    static GK_LANE F floats(float value) { return value; }
    static GK_LANE I ints(int32_t value) { return value; }
    static GK_LANE F select(M m, F a, F b) { return m ? a : b; }
    static GK_LANE I select(M m, I a, I b) { return m ? a : b; }
    static GK_LANE M negate(M m) { return !m; }
    static GK_LANE bool any(M m) { return m; }
    static GK_LANE uint32_t lane_bits(M m) { return m; }

    static GK_LANE I bits(F f) {
        I i;
        std::memcpy(&i, &f, sizeof i);
        return i;
    }
    static GK_LANE F from_bits(I i) {
        F f;
        std::memcpy(&f, &i, sizeof f);
        return f;
    }
    static GK_LANE F to_float(I i) { return static_cast<F>(i); }
    static GK_LANE I truncate(F f) { return abs(f) < 0x1p31f ? static_cast<I>(f) : INT32_MIN; }
    // The bit form is not rint(): beyond 2^22 it wraps, and the reference's result with it.
    static GK_LANE I nearest_int(F f) { return (bits(f + kRoundingOffset) & 0x007fffff) - 0x00400000; }
    static GK_LANE I shift_right(I i, int n) { return static_cast<I>(static_cast<uint32_t>(i) >> n); }
    static GK_LANE I clamp(I i, int32_t lo, int32_t hi) { return i < lo ? lo : i > hi ? hi : i; }
    static GK_LANE I at_most(I i, int32_t hi) { return i > hi ? hi : i; }
    static GK_LANE F sqrt(F f) { return square_root(f); }
    static GK_LANE F abs(F f) { return magnitude_of(f); }
    static GK_LANE F minimum(F a, F b) { return least_of(a, b); }
    static GK_LANE F maximum(F a, F b) { return greatest_of(a, b); }
    static GK_LANE F round_clamped(F f, int32_t lo, int32_t hi) {
        const F low = kRoundingOffset + static_cast<F>(lo), high = kRoundingOffset + static_cast<F>(hi);
        return minimum(maximum(f + kRoundingOffset, low), high) - kRoundingOffset;
    }
    static GK_LANE F round_at_least(F f, int32_t lo) {
        const F low = kRoundingOffset + static_cast<F>(lo);
        return maximum(f + kRoundingOffset, low) - kRoundingOffset;
    }
    static GK_LANE F round_at_most(F f, int32_t hi) {
        const F high = kRoundingOffset + static_cast<F>(hi);
        return minimum(f + kRoundingOffset, high) - kRoundingOffset;
    }
    static GK_LANE F round_near(F f) { return (f + kRoundingOffset) - kRoundingOffset; }
    static GK_LANE I truncate_near(F f) { return truncate(f); }
    static GK_LANE F kept(F f) { return f; }

    static GK_LANE I gather(const int32_t* table, I i) { return table[i]; }
    static GK_LANE F gather_words(const F* x, I i) { return x[i]; }
    static GK_LANE F pick(const F* x, I i) { return x[i]; }
    static GK_LANE I pick(const I* x, I i) { return x[i]; }

    static GK_LANE F load_floats(const void* from) {
        F f;
        std::memcpy(&f, from, sizeof f);
        return f;
    }
    static GK_LANE I load_halves(const void* from) {
        uint16_t half;
        std::memcpy(&half, from, sizeof half);
        return half;
    }
    static GK_LANE void store_ints(void* to, I i) { std::memcpy(to, &i, sizeof i); }
    static GK_LANE void store_halves(void* to, I a, I b) {
        const uint16_t halves[2] = {static_cast<uint16_t>(a), static_cast<uint16_t>(b)};
        std::memcpy(to, halves, sizeof halves);
    }
    static GK_LANE void transpose(I (&)[1]) {}
};

// A CUDA thread: its registers hold one sub-block, and other threads fill the cycles in which it waits. Those of
// its warp walk beside it, each in its own block, and search together.
struct ThreadLanes : ScalarLanes {
    static constexpr int kSideBySide = 1;
    static constexpr bool kReadsTables = true;
    static constexpr bool kSearchesTogether = true;

    // NaN becomes 0 by itself where a CPU makes it, whose NaNs have one bit of 23 set; a GPU's have all of them.
    static GK_LANE I nearest_int(F f) { return f == f ? ScalarLanes::nearest_int(f) : 0; }

#if defined(__CUDACC_RTC__)
    static GK_LANE I truncate_near(F f) { return static_cast<I>(f); }
    static GK_LANE F kept(F f) {
        asm("" : "+f"(f));
        return f;
    }
#endif
};

}  // namespace
}  // namespace ggufactory

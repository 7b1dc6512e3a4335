// The codebooks of the IQ types: for every combination of digits that rounding can give, its place in the
// grid, or the grid points nearest to it, among which the quantizer then looks for the cheapest.
//
// As iq2xs_init_impl and iq3xs_init_impl (ggml-quants.c) make them: the points in the few smallest
// distinct distances, ordered by distance and then by place in the grid. Built at first use, in
// milliseconds, because only digits that occur are looked at and distances are counted, not sorted.
#pragma once

#include "language.h"

namespace ggufactory {

// Eight digits 0, 1, 2 (IQ1, IQ2).
struct Octets {
    static constexpr int kElements = 8, kDigits = 3, kBits = 2;
};

// Four digits 0 ... 7 (IQ3).
struct Quads {
    static constexpr int kElements = 4, kDigits = 8, kBits = 3;
};

// Codes in groups as wide as the widest vector, the last one filled up with repetitions of its last code.
struct alignas(32) CodeGroup {
    static constexpr int kSize = 16;
    uint16_t codes[kSize];
};

struct NeighbourList {
    // `groups[first ...]`: the neighbours that can be cheapest wherever an element's cost grows with the
    // distance from its own digit. That rules out points with another point on the way to them.
    int32_t first;
    uint16_t count;
    // All neighbours, for the queries where it does not.
    int32_t all_first;
    uint16_t all_count;
};

struct Codebook {
    // By the digits as a number to the base kDigits, the first element lowest. On the grid: negative,
    // with the place in the grid above the sixteen bits of the code; off it: the number of the list.
    const int32_t* entries;
    const NeighbourList* lists;
    const CodeGroup* groups;
};

// Base of the types whose quantize() takes a codebook first: their own, `codebook()`.
struct SearchedInGrid {};

const Codebook& iq2_xxs_codebook();
const Codebook& iq2_xs_codebook();
const Codebook& iq2_s_codebook();
const Codebook& iq3_xxs_codebook();
const Codebook& iq3_s_codebook();
const Codebook& iq1_codebook();

}  // namespace ggufactory

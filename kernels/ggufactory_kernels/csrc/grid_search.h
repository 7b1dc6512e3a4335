// From rounded digits to a point of the grid, in lanes.
//
// Where the digits themselves are a point, that is the answer. Elsewhere the reference computes the
// weighted square error of every neighbour; here each lane that needs it scans its own list, or lanes search
// together. This is IQ1's search, which is done once; the other types' is that of grid_walk.h.
#pragma once

#include "cuda/team_search.h"

namespace ggufactory {
namespace {

template <class G>
constexpr int32_t kDigitMask = (1 << G::kBits) - 1;

constexpr int32_t kCodeMask = 0xffff;

// Digit i of a code.
template <class L, class G>
GK_LANE typename L::I digit_of(typename L::I code, int i) {
    return L::shift_right(code, G::kBits * i) & L::ints(kDigitMask<G>);
}

// The digits as a number to the base kDigits, the first element lowest.
template <class L, class G>
GK_LANE typename L::I digits_number(const typename L::I* digits) {
    typename L::I number = digits[G::kElements - 1];
    for (int i = G::kElements - 2; i >= 0; --i) {
        number = (G::kDigits == 8 ? number << 3 : number + (number << 1)) + digits[i];
    }
    return number;
}

// What the codebook has under these digits: negative on the grid, see Codebook::entries.
template <class L, class G>
GK_LANE typename L::I find_entry(const Codebook& book, const typename L::I* digits) {
    return L::gather(book.entries, digits_number<L, G>(digits));
}

// The place in the grid of a code that is on it.
template <class L, class G>
GK_LANE typename L::I place_of(const Codebook& book, typename L::I code) {
    typename L::I digits[G::kElements];
    for (int i = 0; i < G::kElements; ++i) digits[i] = digit_of<L, G>(code, i);
    return L::shift_right(find_entry<L, G>(book, digits), 16) & L::ints(0x7fff);
}

// What each element of an octet costs under each digit, if digit q stands for `values[q]`. The lanes where a step
// between two digits never makes it cheaper to go away from the element's own.
template <class L>
GK_LANE typename L::M octet_costs(const typename L::I* digits, const typename L::F* values, const typename L::F* x,
                                  const typename L::F* w,
                                  typename L::F (&costs)[Octets::kElements][OctetTable::kStride]) {
    using F = typename L::F;
    typename L::M grow = L::ints(0) == L::ints(0);
    for (int i = 0; i < Octets::kElements; ++i) {
        for (int q = 0; q < OctetTable::kStride; ++q) {
            const F difference = values[q < Octets::kDigits ? q : 0] - x[i];
            costs[i][q] = w[i] * difference * difference;
        }
        for (int q = 0; q + 1 < Octets::kDigits; ++q) {
            const typename L::M towards = L::ints(q) < digits[i];
            const F nearer = L::select(towards, costs[i][q + 1], costs[i][q]);
            const F farther = L::select(towards, costs[i][q], costs[i][q + 1]);
            grow = grow & ((nearer < farther) | (nearer == farther));
        }
    }
    return grow;
}

// The cheapest neighbours of `digits` where `wanted`, if digit q stands for `values[q]`. The codes found, -1
// where there is none because the costs are no numbers or too large. `entry`: what find_entry() gave.
template <class L>
inline typename L::I cheapest_octets(const Codebook& book, typename L::I entry, typename L::M wanted,
                                     const typename L::I* digits, const typename L::F* values,
                                     const typename L::F* x, const typename L::F* w) {
    constexpr int kWidth = L::kWidth, kStride = OctetTable::kStride, kCosts = OctetTable::kCount;
    typename L::F costs[Octets::kElements][kStride];
    const typename L::M grow = octet_costs<L>(digits, values, x, w, costs);
    // A table for each lane, one after the other.
    alignas(64) float tables[kWidth * kCosts];
    for (int first = 0; first < kCosts; first += kWidth) {
        typename L::I rows[kWidth];
        for (int k = 0; k < kWidth; ++k) rows[k] = L::bits(costs[(first + k) / kStride][(first + k) % kStride]);
        L::transpose(rows);
        for (int lane = 0; lane < kWidth; ++lane) L::store_ints(tables + lane * kCosts + first, rows[lane]);
    }
    int32_t numbers[kWidth], found[kWidth];
    L::store_ints(numbers, entry);
    L::store_ints(found, L::ints(0));
    const uint32_t few = L::lane_bits(grow);
    for (uint32_t rest = L::lane_bits(wanted); rest; rest &= rest - 1) {
        const int lane = lowest_bit(rest);
        const NeighbourList& list = book.lists[numbers[lane]];
        const bool all = !(few >> lane & 1);
        const OctetTable table{tables + lane * kCosts};
        found[lane] = cheapest_code<OctetCandidates>(
            book.groups[all ? list.all_first : list.first].codes,
            all ? list.all_count : list.count, [&](auto candidates) { return table.of(candidates); });
    }
    return L::bits(L::load_floats(found));
}

// The same, by lanes that search together.
template <class L>
GK_LANE int32_t cheapest_octets_together(const Codebook& book, int32_t entry, bool wanted, const int32_t* digits,
                                         const float* values, const float* x, const float* w) {
    const uint32_t asking = ballot(wanted);
    if (!asking) return 0;
    float costs[Octets::kElements][OctetTable::kStride];
    const bool grow = octet_costs<L>(digits, values, x, w, costs);
    const auto ask = [&](Query<Octets>& query) {
        query.look_in(book.lists[entry], !grow);
        query.margin = 0, query.is_lasting = false;
        for (int i = 0; i < Octets::kElements; ++i) query.x[i] = x[i], query.w[i] = w[i];
        for (int q = 0; q < Octets::kDigits; ++q) query.values[q] = values[q];
    };
    return search_together<Octets>(book, asking, ask).code;
}

}  // namespace
}  // namespace ggufactory

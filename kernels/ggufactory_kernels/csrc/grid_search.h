// From rounded digits to a point of the grid, in lanes.
//
// Where the digits themselves are a point, that is the answer. Elsewhere the reference computes the
// weighted square error of every neighbour; here each lane that needs it scans its own list.
#pragma once

#include "neighbour_scan.h"

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

// What the codebook has under these digits: negative on the grid, see Codebook::entries.
template <class L, class G>
GK_LANE typename L::I find_entry(const Codebook& book, const typename L::I* digits) {
    typename L::I number = digits[G::kElements - 1];
    for (int i = G::kElements - 2; i >= 0; --i) {
        number = (G::kDigits == 8 ? number << 3 : number + (number << 1)) + digits[i];
    }
    return L::gather(book.entries.data(), number);
}

// The place in the grid of a code that is on it.
template <class L, class G>
GK_LANE typename L::I place_of(const Codebook& book, typename L::I code) {
    typename L::I digits[G::kElements];
    for (int i = 0; i < G::kElements; ++i) digits[i] = digit_of<L, G>(code, i);
    return L::shift_right(find_entry<L, G>(book, digits), 16) & L::ints(0x7fff);
}

// Where each element's cost does not fall with the distance from its own digit, to either side.
template <class L, class G>
GK_LANE typename L::M costs_grow(const typename L::F (&costs)[G::kElements][kCostStride<G>],
                                 const typename L::I* digits) {
    typename L::M grow = L::ints(0) == L::ints(0);
    for (int i = 0; i < G::kElements; ++i) {
        for (int q = 0; q + 1 < G::kDigits; ++q) {
            const typename L::M above = L::ints(q) < digits[i];  // this step leads towards the digit
            const typename L::F lower = L::select(above, costs[i][q + 1], costs[i][q]);
            const typename L::F upper = L::select(above, costs[i][q], costs[i][q + 1]);
            grow = grow & ((lower < upper) | (lower == upper));
        }
    }
    return grow;
}

// The codes of the cheapest neighbours of `digits`, in the lanes where `wanted`; -1 where there is none
// because the costs are no numbers or too large.
// `values`: what each digit stands for; `entry`: what find_entry() gave.
template <class L, class G>
inline typename L::I cheapest_neighbours(const Codebook& book, typename L::I entry, typename L::M wanted,
                                         const typename L::I* digits, const typename L::F* values,
                                         const typename L::F* x, const typename L::F* w) {
    using I = typename L::I;
    constexpr int kWidth = L::kWidth, kStride = kCostStride<G>, kCosts = G::kElements * kStride;
    static_assert(kCosts % kWidth == 0);
    typename L::F costs[G::kElements][kStride];
    for (int i = 0; i < G::kElements; ++i) {
        for (int q = 0; q < kStride; ++q) {
            const typename L::F difference = values[q < G::kDigits ? q : 0] - x[i];
            costs[i][q] = w[i] * difference * difference;
        }
    }
    // A table for each lane, one after the other.
    alignas(64) float tables[kWidth * kCosts];
    for (int first = 0; first < kCosts; first += kWidth) {
        I rows[kWidth];
        for (int k = 0; k < kWidth; ++k) rows[k] = L::bits(costs[(first + k) / kStride][(first + k) % kStride]);
        L::transpose(rows);
        for (int lane = 0; lane < kWidth; ++lane) L::store_ints(tables + lane * kCosts + first, rows[lane]);
    }
    int32_t numbers[kWidth], grow[kWidth], found[kWidth];
    L::store_ints(numbers, L::select(wanted, entry, L::ints(-1)));
    L::store_ints(grow, L::select(costs_grow<L, G>(costs, digits), L::ints(1), L::ints(0)));
    for (int lane = 0; lane < kWidth; ++lane) {
        found[lane] = 0;
        if (numbers[lane] < 0) continue;
        const NeighbourList& list = book.lists[static_cast<size_t>(numbers[lane])];
        const bool few = grow[lane] != 0;
        found[lane] = cheapest_code<G>(book.groups.data() + (few ? list.first : list.all_first),
                                       few ? list.count : list.all_count, tables + lane * kCosts);
    }
    return L::bits(L::load_floats(found));
}

}  // namespace
}  // namespace ggufactory

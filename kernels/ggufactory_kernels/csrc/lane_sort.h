// Sorting in lanes: each lane its own column, without branches.
#pragma once

#include "lanes.h"

namespace ggufactory {
namespace {

// Sorts x[0 .. kCount) upwards, equal values (and the two zeros) by their index, which `index` gets: the
// stable order that the reference's qsort gives with the C library of its releases.
// Batcher's odd-even merge sort (AFIPS 1968); kCount is a power of two.
template <class L, int kCount>
inline void sort_with_index(typename L::F* x, typename L::I* index) {
    static_assert((kCount & (kCount - 1)) == 0);
    for (int i = 0; i < kCount; ++i) index[i] = L::ints(i);
    const auto order = [&](int low, int high) {
        const typename L::F a = x[low], b = x[high];
        const typename L::I i = index[low], j = index[high];
        const typename L::M swap = (b < a) | ((a == b) & (j < i));
        x[low] = L::select(swap, b, a);
        x[high] = L::select(swap, a, b);
        index[low] = L::select(swap, j, i);
        index[high] = L::select(swap, i, j);
    };
    for (int part = 1; part < kCount; part *= 2) {
        for (int gap = part; gap > 0; gap /= 2) {
            for (int first = gap % part; first + gap < kCount; first += 2 * gap) {
                for (int i = first; i < first + gap && i + gap < kCount; ++i) {
                    if (i / (2 * part) == (i + gap) / (2 * part)) order(i, i + gap);
                }
            }
        }
    }
}

}  // namespace
}  // namespace ggufactory

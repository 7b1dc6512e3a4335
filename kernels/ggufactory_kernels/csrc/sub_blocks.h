// Sub-blocks of a super-block, searched two at a time, and the packing that two of the K-quants share.
#pragma once

#include "pair_lanes.h"

namespace ggufactory {
namespace {

// Element i of the pair is element i of both sub-blocks.
template <class L, int kCount>
GK_LANE void pair_up(const typename L::F* first, const typename L::F* second,
                     typename PairLanes<L>::F (&pair)[kCount]) {
    for (int i = 0; i < kCount; ++i) pair[i] = {first[i], second[i]};
}

// Of each 128 quants of two bits, byte i holds quants i, i + 32, i + 64 and i + 96.
template <class L>
GK_LANE void pack_two_bits(const typename L::I* quants, typename L::I* bytes) {
    for (int group = 0; group < 2; ++group) {
        for (int i = 0; i < 32; ++i) {
            const typename L::I* q = quants + 128 * group + i;
            bytes[32 * group + i] = q[0] | (q[32] << 2) | (q[64] << 4) | (q[96] << 6);
        }
    }
}

}  // namespace
}  // namespace ggufactory

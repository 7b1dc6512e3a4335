// Sub-blocks of a super-block, searched two at a time.
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

}  // namespace
}  // namespace ggufactory

// The cheapest of a list of grid points: the inner loop of all IQ types. Of equally cheap points the first in
// the list wins.
#pragma once

#include "neighbour_costs.h"

namespace ggufactory {
namespace {

// The code of the cheapest of `count` points, or -1 where no cost is below FLT_MAX (the reference stops).
// `cost_of`: the costs of the candidates V.
template <class V, class CostOf>
inline int32_t cheapest_code(const uint16_t* codes, int count, const CostOf& cost_of) {
    constexpr int kCount = V::kCount;
    typename V::F best = V::minimum(cost_of(V::load_codes(codes)), V::floats(FLT_MAX));
    typename V::I block = V::ints(0);
    for (int j = kCount; j < count; j += kCount) {
        const typename V::F cost = cost_of(V::load_codes(codes + j));
        const typename V::M better = V::less(cost, best);
        best = V::select(better, cost, best);
        block = V::select(better, V::ints(j), block);
    }
    const float least = V::least(best);
    if (!(least < FLT_MAX)) return -1;
    const unsigned equal = V::bits(V::equal(best, V::floats(least)));
    if (count <= kCount) return codes[lowest_bit(equal)];
    // Of the cheapest the first place.
    alignas(64) int32_t blocks[kCount];
    V::store(blocks, block);
    int first = INT32_MAX;
    for (unsigned rest = equal; rest; rest &= rest - 1) {
        const int lane = lowest_bit(rest);
        if (blocks[lane] + lane < first) first = blocks[lane] + lane;
    }
    return codes[first];
}

// The cheapest point, and by which part the inverse scale may grow with no other point becoming cheaper:
// until the first of the others, each with its own slope, comes within `margin` of it, and not by more than
// kMostGrowth. Less than zero: one is already.
struct LastingPoint {
    int32_t code;  // or -1, as above
    float growth;
};

constexpr int kMostLasting = 64;  // candidates; there are hardly ever more
constexpr float kMostGrowth = 0.5f;

// `count`: at most kMostLasting.
template <class V, class Costs>
GK_LANE LastingPoint cheapest_lasting(const uint16_t* codes, int count, const Costs& costs, float margin) {
    constexpr int kCount = V::kCount;
    using F = typename V::F;
    alignas(64) float cost[kMostLasting], slope[kMostLasting];
    F best = V::floats(FLT_MAX);
    for (int j = 0; j < count; j += kCount) {
        const typename V::I candidates = V::load_codes(codes + j);
        const F here = costs.cost(candidates);
        V::store(cost + j, here);
        V::store(slope + j, costs.slope(candidates));
        best = V::minimum(here, best);
    }
    const float least = V::least(best);
    if (!(least < FLT_MAX)) return {-1, -1};
    int place = 0;
    unsigned equal;
    while (!(equal = V::bits(V::equal(V::load(cost + place), V::floats(least))))) place += kCount;
    place += lowest_bit(equal);

    F growth = V::floats(kMostGrowth);
    for (int j = 0; j < count; j += kCount) {
        const F ahead = V::subtract(V::load(cost + j), V::floats(least + margin));
        const F closing = V::maximum(V::subtract(V::load(slope + j), V::floats(slope[place])), V::floats(FLT_MIN));
        const auto same = V::equal(V::load_codes(codes + j), V::ints(codes[place]));
        growth = V::minimum(V::select(same, V::floats(kMostGrowth), V::divide(ahead, closing)), growth);
    }
    return {codes[place], V::least(growth)};
}

}  // namespace
}  // namespace ggufactory

// Sub-blocks of a super-block, searched one or two at a time, and the packing that two of the K-quants share.
#pragma once

#include "pair_lanes.h"

namespace ggufactory {
namespace {

// Sub-blocks side by side: element i of `Lanes` is element i of all kCount of them.
template <class L, int kCount_ = L::kSideBySide>
struct SideBySide {
    static_assert(kCount_ == 2);
    static constexpr int kCount = 2;
    using Lanes = PairLanes<L>;

    // The first of them begins at `x`, the next kElements on.
    template <int kElements>
    static GK_LANE void load(const typename L::F* x, typename Lanes::F (&elements)[kElements]) {
        for (int i = 0; i < kElements; ++i) elements[i] = {x[i], x[i + kElements]};
    }
    static GK_LANE typename Lanes::F same(typename L::F f) { return {f, f}; }
    static GK_LANE typename L::F part(const typename Lanes::F& f, int k) { return k == 0 ? f.a : f.b; }
    static GK_LANE typename L::M part(const typename Lanes::M& m, int k) { return k == 0 ? m.a : m.b; }
};

template <class L>
struct SideBySide<L, 1> {
    static constexpr int kCount = 1;
    using Lanes = L;

    template <int kElements>
    static GK_LANE void load(const typename L::F* x, typename L::F (&elements)[kElements]) {
        for (int i = 0; i < kElements; ++i) elements[i] = x[i];
    }
    static GK_LANE typename L::F same(typename L::F f) { return f; }
    static GK_LANE typename L::F part(typename L::F f, int) { return f; }
    static GK_LANE typename L::M part(typename L::M m, int) { return m; }
};

// Of each 128 quants of two bits, byte i holds quants i, i + 32, i + 64 and i + 96.
template <class L>
GK_LANE void pack_two_bits(const typename L::I* quants, typename L::I* bytes) {
    GK_GPU_UNROLL(1)
    for (int group = 0; group < 2; ++group) {
        GK_GPU_UNROLL(4)
        for (int i = 0; i < 32; ++i) {
            const typename L::I* q = quants + 128 * group + i;
            bytes[32 * group + i] = q[0] | (q[32] << 2) | (q[64] << 4) | (q[96] << 6);
        }
    }
}

}  // namespace
}  // namespace ggufactory

// The scales of sub-blocks by coordinate descent, for Q3_K without importance (make_q3_quants of ggml-quants.c).
//
// From the rounding that maps the largest magnitude to -levels each weight in turn moves to its best level,
// in up to five sweeps. Four sub-blocks in five do not change in the first sweep, and are settled: another
// sweep would repeat it exactly. Before each further sweep those that are not, of all lanes, close up.
#pragma once

#include "scale_search.h"
#include "sub_blocks.h"

namespace ggufactory {
namespace {

constexpr int kMostSweeps = 5;

// One sweep over the levels `l` of a group, whose weighted sums are `sums`. Says where it changed any.
// `kFew`: changes are so few that it is worth a branch to go on to the next weight without waiting for this one.
template <class L, int kCount, bool kFew>
inline typename L::M sweep_levels(const typename L::F* x, int levels, typename L::F* l, SymmetricSums<L>& sums) {
    using F = typename L::F;
    using M = typename L::M;
    const F zero = L::floats(0);
    F sum_xl = sums.xl, sum_l2 = sums.l2;
    M any_changed = zero > zero;
    GK_UNROLL(2)
    for (int i = 0; i < kCount; ++i) {
        const F w = x[i] * x[i], wx = w * x[i];
        F rest_xl = sum_xl - wx * l[i];
        F rest_l2 = sum_l2 - w * l[i] * l[i];
        const M fits = rest_xl > zero;
        const F level = round_level<L, Quotients::kAny>(x[i] * rest_l2 / rest_xl, -levels, levels - 1);
        rest_xl = rest_xl + wx * level;
        rest_l2 = rest_l2 + w * level * level;
        const M changed = fits & L::negate(level == l[i]) & (rest_l2 > zero) &
                          (rest_xl * rest_xl * sum_l2 > sum_xl * sum_xl * rest_l2);
        if (kFew && !L::any(changed)) continue;
        l[i] = L::select(changed, level, l[i]);
        sum_xl = L::select(changed, rest_xl, sum_xl);
        sum_l2 = L::select(changed, rest_l2, sum_l2);
        any_changed = any_changed | changed;
    }
    sums = {sum_xl, sum_l2};
    return any_changed;
}

// The levels that a descent begins with. Where all of `x` is as good as zero they stay -levels for good.
template <class L, int kCount>
inline SymmetricSums<L> first_levels(const typename L::F* x, int levels, typename L::F* l, typename L::M& is_zero) {
    using F = typename L::F;
    F largest = L::floats(0), magnitude = L::floats(0);
    for (int i = 0; i < kCount; ++i) {
        const F size = L::abs(x[i]);
        const typename L::M larger = size > magnitude;  // the first of equals decides the sign
        magnitude = L::select(larger, size, magnitude);
        largest = L::select(larger, x[i], largest);
    }
    is_zero = magnitude < L::floats(kGroupMaxEpsilon);
    const F inverse = L::floats(static_cast<float>(-levels)) / largest;
    SymmetricSums<L> sums = {L::floats(0), L::floats(0)};
    for (int i = 0; i < kCount; ++i) {
        l[i] = round_level<L, Quotients::kAny>(inverse * x[i], -levels, levels - 1);
        const F w = x[i] * x[i];
        sums.xl = sums.xl + w * x[i] * l[i];
        sums.l2 = sums.l2 + w * l[i] * l[i];
    }
    return sums;
}

template <class L>
GK_LANE float lane_of(const typename L::F& f, int lane) {
    float value;
    std::memcpy(&value, reinterpret_cast<const uint8_t*>(&f) + 4 * lane, sizeof value);
    return value;
}

template <class L>
GK_LANE void set_lane(typename L::F& f, int lane, float value) {
    std::memcpy(reinterpret_cast<uint8_t*>(&f) + 4 * lane, &value, sizeof value);
}

// The descent of `kGroups` groups of kCount weights in each lane.
template <class L, int kGroups, int kCount>
class SymmetricDescent {
    using F = typename L::F;
    using M = typename L::M;
    // Every step waits for a division and two sums of the one before, so four groups go at once.
    using Pair = PairLanes<L>;
    using Four = PairLanes<Pair>;
    static_assert(kGroups % 4 == 0);

public:
    // Fills `l` (-levels <= l < levels) and each group's scale.
    void run(const F* x, int levels, F* l, F* scales) {
        GK_UNROLL(1)
        for (int j = 0; j < kGroups; j += 4) sweep_first(x, levels, l, j);
        for (int sweep = 1; sweep < kMostSweeps && unsettled_count_ > 0; ++sweep) {
            if (unsettled_count_ > L::kWidth) {
                sweep_unsettled<Four>(x, levels, l);
            } else {
                sweep_unsettled<L>(x, levels, l);
            }
        }
        const F zero = L::floats(0);
        for (int j = 0; j < kGroups; ++j) {
            const F fitted = L::select(sums_[j].l2 > zero, sums_[j].xl / sums_[j].l2, zero);
            scales[j] = L::select(is_zero_[j], zero, fitted);
            if (!L::any(is_zero_[j])) continue;
            const F lowest = L::floats(static_cast<float>(-levels));
            for (int i = j * kCount; i < (j + 1) * kCount; ++i) l[i] = L::select(is_zero_[j], lowest, l[i]);
        }
    }

private:
    struct Place {
        int group, lane;
    };

    void note_unsettled(int group, M changed) {
        for (uint32_t rest = L::lane_bits(changed); rest; rest &= rest - 1) {
            unsettled_[unsettled_count_++] = {group, lowest_bit(rest)};
        }
    }

    // Groups j to j + 3.
    void sweep_first(const F* x, int levels, F* l, int j) {
        const F* from = x + j * kCount;
        typename Four::F xs[kCount], ls[kCount];
        for (int i = 0; i < kCount; ++i) {
            xs[i] = {{from[i], from[i + kCount]}, {from[i + 2 * kCount], from[i + 3 * kCount]}};
        }
        typename Four::M is_zero;
        SymmetricSums<Four> sums = first_levels<Four, kCount>(xs, levels, ls, is_zero);
        const typename Four::M changed = sweep_levels<Four, kCount, false>(xs, levels, ls, sums);
        F* to = l + j * kCount;
        for (int i = 0; i < kCount; ++i) {
            to[i] = ls[i].a.a;
            to[i + kCount] = ls[i].a.b;
            to[i + 2 * kCount] = ls[i].b.a;
            to[i + 3 * kCount] = ls[i].b.b;
        }
        keep(j, {sums.xl.a.a, sums.l2.a.a}, is_zero.a.a, changed.a.a);
        keep(j + 1, {sums.xl.a.b, sums.l2.a.b}, is_zero.a.b, changed.a.b);
        keep(j + 2, {sums.xl.b.a, sums.l2.b.a}, is_zero.b.a, changed.b.a);
        keep(j + 3, {sums.xl.b.b, sums.l2.b.b}, is_zero.b.b, changed.b.b);
    }

    void keep(int j, SymmetricSums<L> sums, M is_zero, M changed) {
        sums_[j] = sums;
        is_zero_[j] = is_zero;
        note_unsettled(j, changed);
    }

    // One more sweep of all unsettled groups, as many at a time as W has lanes.
    template <class W>
    void sweep_unsettled(const F* x, int levels, F* l) {
        const int count = unsettled_count_;
        unsettled_count_ = 0;
        GK_UNROLL(1)
        for (int first = 0; first < count; first += W::kWidth) {
            const int lanes = count - first < W::kWidth ? count - first : W::kWidth;
            sweep_places<W>(x, levels, l, unsettled_ + first, lanes);
        }
    }

    // Those that changed are unsettled still; they are listed again, never beyond `places`.
    template <class W>
    void sweep_places(const F* x, int levels, F* l, const Place* places, int count) {
        constexpr int kWidth = W::kWidth;
        alignas(64) float ls[kCount][kWidth], xl[kWidth], l2[kWidth], changes[kWidth];
        alignas(64) int32_t words[kWidth];
        for (int k = 0; k < kWidth; ++k) {
            const Place place = places[k < count ? k : count - 1];  // spare lanes repeat the last
            words[k] = place.group * kCount * L::kWidth + place.lane;
            xl[k] = lane_of<L>(sums_[place.group].xl, place.lane);
            l2[k] = lane_of<L>(sums_[place.group].l2, place.lane);
        }
        typename W::F weights[kCount], ours[kCount];
        gather_words(x, words, weights);
        gather_words(l, words, ours);
        SymmetricSums<W> sums = {W::load_floats(xl), W::load_floats(l2)};
        const typename W::M changed =
            sweep_levels<W, kCount, W::kWidth == L::kWidth>(weights, levels, ours, sums);
        if (!W::any(changed)) return;
        for (int i = 0; i < kCount; ++i) store(ours[i], ls[i]);
        store(sums.xl, xl);
        store(sums.l2, l2);
        store(W::select(changed, W::floats(1), W::floats(0)), changes);
        for (int k = 0; k < count; ++k) {
            if (changes[k] == 0) continue;
            const Place place = places[k];
            for (int i = 0; i < kCount; ++i) set_lane<L>(l[place.group * kCount + i], place.lane, ls[i][k]);
            set_lane<L>(sums_[place.group].xl, place.lane, xl[k]);
            set_lane<L>(sums_[place.group].l2, place.lane, l2[k]);
            unsettled_[unsettled_count_++] = place;
        }
    }

    // Of each of `words`, which are places in a first vector, the words of that vector and the next ones.
    static GK_LANE void gather_words(const F* from, const int32_t* words, F (&to)[kCount]) {
        const typename L::I at = L::bits(L::load_floats(words));
        for (int i = 0; i < kCount; ++i) to[i] = L::gather_words(from + i, at);
    }
    static GK_LANE void gather_words(const F* from, const int32_t* words, typename Four::F (&to)[kCount]) {
        F parts[4][kCount];
        for (int k = 0; k < 4; ++k) gather_words(from, words + k * L::kWidth, parts[k]);
        for (int i = 0; i < kCount; ++i) to[i] = {{parts[0][i], parts[1][i]}, {parts[2][i], parts[3][i]}};
    }

    static GK_LANE void store(F f, float* to) { L::store_ints(to, L::bits(f)); }
    static GK_LANE void store(const typename Four::F& f, float* to) {
        store(f.a.a, to);
        store(f.a.b, to + L::kWidth);
        store(f.b.a, to + 2 * L::kWidth);
        store(f.b.b, to + 3 * L::kWidth);
    }

    SymmetricSums<L> sums_[kGroups];
    M is_zero_[kGroups];
    Place unsettled_[kGroups * L::kWidth];
    int unsettled_count_ = 0;
};

// One group after another, in registers.
template <int kGroups, int kCount>
class SymmetricDescent<ThreadLanes, kGroups, kCount> {
public:
    void run(const float* x, int levels, float* l, float* scales) {
        GK_UNROLL(1)
        for (int j = 0; j < kGroups; ++j) {
            float xs[kCount], ls[kCount];
            for (int i = 0; i < kCount; ++i) xs[i] = x[j * kCount + i];
            bool is_zero;
            SymmetricSums<ThreadLanes> sums = first_levels<ThreadLanes, kCount>(xs, levels, ls, is_zero);
            GK_UNROLL(1)
            for (int sweep = 0; sweep < kMostSweeps; ++sweep) {
                if (!sweep_levels<ThreadLanes, kCount, false>(xs, levels, ls, sums)) break;
            }
            const float lowest = static_cast<float>(-levels);
            for (int i = 0; i < kCount; ++i) l[j * kCount + i] = is_zero ? lowest : ls[i];
            scales[j] = !is_zero && sums.l2 > 0 ? sums.xl / sums.l2 : 0;
        }
    }
};

}  // namespace
}  // namespace ggufactory

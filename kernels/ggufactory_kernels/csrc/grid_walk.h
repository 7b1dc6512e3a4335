// The points of the groups of some sub-blocks under one inverse scale after another. Several small sub-blocks
// go together: one search fills the time in which another waits.
//
// The digits of a group mostly stay the same from one step of the scale to the next, and so does the cheapest
// of their neighbours. When a search finds it, it also says up to which inverse scale that is proven
// (neighbour_scan.h); until then the group is not searched again.
#pragma once

#include "grid_rounding.h"
#include "scale_search.h"

namespace ggufactory {
namespace {

template <class L, class G, int kSubBlocks, int kSubGroups>
class GridWalk {
    using F = typename L::F;
    using I = typename L::I;
    using M = typename L::M;
    static constexpr int kGroups = kSubBlocks * kSubGroups;

public:
    I codes[kGroups];    // the points
    M on_grid[kGroups];  // the digits themselves were a point
    M lost[kSubBlocks];  // some group found no point: the reference aborts

    // `x`, `w`: the weights of the groups and their own; `largest_scales`: of all to come.
    GridWalk(const Codebook& book, const F* x, const F* w, const F (&largest_scales)[kSubBlocks])
        : book_(book), x_(x) {
        GK_GPU_UNROLL(8)
        for (int i = 0; i < kCount; ++i) {
            root_w_[i] = L::sqrt(w[i]);
            if constexpr (kHasColumns) twice_wx_[i] = (root_w_[i] + root_w_[i]) * x[i];
        }
        GK_GPU_UNROLL(1)
        for (int j = 0; j < kSubBlocks; ++j) {
            lost[j] = L::ints(0) < L::ints(0);
            largest_sizes_[j] = largest_magnitude<L, kSubGroups * G::kElements>(x + j * kSubGroups * G::kElements);
        }
        GK_GPU_UNROLL(1)
        for (int k = 0; k < kGroups; ++k) {
            margins_[k] = bound_of_errors(k, largest_scales[k / kSubGroups]);
            numbers_[k] = L::ints(0);
            L::store_ints(codes_ + k * L::kWidth, L::ints(0));
        }
        if constexpr (kHasRows) lay_out_rows();
        start_again();
    }

    // The next inverse scales may be smaller ones.
    void start_again() {
        for (int k = 0; k < kGroups; ++k) L::store_ints(until_ + k * L::kWidth, L::ints(0));
    }

    // `wanted`: the lanes and groups that need a point; in others there may be anything.
    void go_to(const F (&inverse)[kSubBlocks], const F (&scale)[kSubBlocks], const M (&wanted)[kGroups]) {
        Bits searching = {}, clear = {};
        round_all(inverse, wanted, searching, clear);
        const float* const scales = reinterpret_cast<const float*>(scale);
        const float* const inverses = reinterpret_cast<const float*>(inverse);
        if constexpr (L::kSearchesTogether) {
            search_all_together(searching[0], clear[0], scales, inverses);
        } else {
            search_all(searching, clear, scales, inverses);
        }
        GK_GPU_UNROLL(1)
        for (int k = 0; k < kGroups; ++k) {
            codes[k] = L::bits(L::load_floats(codes_ + k * L::kWidth));
            const M none = wanted[k] & (codes[k] < L::ints(0));
            lost[k / kSubGroups] = lost[k / kSubGroups] | none;
            codes[k] = L::select(none, L::ints(0), codes[k]);
        }
    }

private:
    static constexpr int kCount = kGroups * G::kElements, kPlaces = kGroups * L::kWidth;
    static constexpr int kWords = (kPlaces + 63) / 64;
    // How lanes that search alone find a group's numbers.
    static constexpr bool kHasRows = G::kElements == Octets::kElements && !L::kSearchesTogether;
    static constexpr bool kHasColumns = G::kElements == Quads::kElements && !L::kSearchesTogether;
    static constexpr int kRow = 2 * Octets::kElements;
    using Bits = uint64_t[kWords];  // bit group * kWidth + lane
    using V = typename GridQuery<G>::Candidates;
    using Costs = typename GridQuery<G>::Costs;

    // Each element's difference is at most |x| + scale * value; its square, with its weight, bounds the cost.
    // The roundings of two such costs, and of their slopes, each off by 2^-24, stay far below 2^-16 of it.
    // The two small numbers stand for products that are too small for full precision.
    GK_LANE F bound_of_errors(int group, F largest_scale) const {
        F sum = L::floats(0);
        const F span = largest_scale * L::floats(2 * G::kDigits - 1);
        for (int i = group * G::kElements; i < (group + 1) * G::kElements; ++i) {
            const F most = L::abs(x_[i]) + span;
            sum = sum + (root_w_[i] + L::floats(0x1p-70f)) * most * most;
        }
        return sum * L::floats(0x1p-16f) + L::floats(0x1p-120f);
    }

    // The groups of one lane after another, x before root_w.
    void lay_out_rows() {
        GK_GPU_UNROLL(1)
        for (int k = 0; k < kGroups; ++k) {
            for (int first = 0; first < kRow; first += L::kWidth) {
                I columns[L::kWidth];
                for (int i = 0; i < L::kWidth; ++i) {
                    const int at = k * Octets::kElements + (first + i) % Octets::kElements;
                    columns[i] = L::bits(first + i < Octets::kElements ? x_[at] : root_w_[at]);
                }
                L::transpose(columns);
                for (int lane = 0; lane < L::kWidth; ++lane) {
                    L::store_ints(rows_ + (k * L::kWidth + lane) * kRow + first, columns[lane]);
                }
            }
        }
    }

    // Rounds all groups; those that fell on the grid have their points. `searching`: those that need a search.
    void round_all(const F (&inverses)[kSubBlocks], const M (&wanted)[kGroups], Bits& searching, Bits& clear) {
        const bool near = is_near(inverses, wanted);
        GK_UNROLL(1)
        for (int k = 0; k < kGroups; ++k) {
            const F* x = x_ + k * G::kElements;
            const F inverse = inverses[k / kSubGroups];
            const RoundedGroup<L> rounded = near ? round_near<L, G>(x, inverse) : round_any<L, G>(x, inverse);
            const M stays = rounded.is_clear & (rounded.number == numbers_[k]) &
                            (inverse < L::load_floats(until_ + k * L::kWidth));
            const I entry = L::gather(book_.entries, rounded.number);
            numbers_[k] = rounded.number;
            on_grid[k] = entry < L::ints(0);
            const I last = L::bits(L::load_floats(codes_ + k * L::kWidth));
            L::store_ints(codes_ + k * L::kWidth, L::select(on_grid[k], entry & L::ints(kCodeMask), last));
            L::store_ints(entries_ + k * L::kWidth, entry);
            const int bit = k * L::kWidth;
            searching[bit / 64] |= uint64_t{L::lane_bits(wanted[k] & L::negate(on_grid[k] | stays))} << bit % 64;
            clear[bit / 64] |= uint64_t{L::lane_bits(rounded.is_clear)} << bit % 64;
        }
    }

    // Where sizes are usual, rounding does not wrap and no cost is too small or too large for its precision.
    GK_LANE bool is_near(const F (&inverses)[kSubBlocks], const M (&wanted)[kGroups]) const {
        M unusual = lost[0] & L::negate(lost[0]);
        for (int k = 0; k < kGroups; ++k) {
            const F inverse = inverses[k / kSubGroups];
            const M usual = (largest_sizes_[k / kSubGroups] * inverse < L::floats(0x1p21f)) &
                            (inverse > L::floats(0x1p-46f)) & (inverse < L::floats(0x1p46f));
            unusual = unusual | (wanted[k] & L::negate(usual));
        }
        return !L::any(unusual);
    }

    void search_all(const Bits& searching, const Bits& clear, const float* scales, const float* inverses) {
        for (int word = 0; word < kWords; ++word) {
            for (uint64_t rest = searching[word]; rest; rest &= rest - 1) {
                const int bit = lowest_bit(rest), at = 64 * word + bit;
                const NeighbourList& list = list_of(at);
                const bool is_clear = clear[word] >> bit & 1;
                if (is_clear && can_last(at)) {
                    search(at, scales, inverses);
                } else {
                    search_once(at, is_clear ? list.first : list.all_first, is_clear ? list.count : list.all_count,
                                scales, inverses);
                }
            }
        }
    }

    // The same, in as many rounds as a lane of the warp has groups to search; each lays one down for each.
    GK_LANE void search_all_together(uint64_t searching, uint64_t clear, const float* scales,
                                     const float* inverses) {
        static_assert(!L::kSearchesTogether || kPlaces <= 32);
        uint32_t rest = static_cast<uint32_t>(searching);
        while (const uint32_t asking = ballot(rest != 0)) {
            const int at = rest ? lowest_bit(rest) : 0, sub_block = sub_block_of(at);
            const LastingPoint point = search_together<G>(book_, asking, [&](Query<G>& query) {
                lay_down(at, scales[sub_block], clear >> at & 1, query);
            });
            if (rest) {
                codes_[at] = point.code;
                until_[at] = inverses[sub_block] * (1 + point.growth);
            }
            rest &= rest - 1;
        }
    }

    GK_LANE void lay_down(int at, float scale, bool is_clear, Query<G>& query) const {
        query.look_in(list_of(at), !is_clear);
        query.margin = margin_of(at);
        query.is_lasting = is_clear && can_last(at);
        for (int q = 0; q < Query<G>::kValues; ++q) query.values[q] = scale * static_cast<float>(2 * q + 1);
        for (int i = 0; i < G::kElements; ++i) {
            query.x[i] = x_[at * G::kElements + i];
            query.w[i] = root_w_[at * G::kElements + i];
        }
    }

    // The cheapest neighbour of one group in one lane, and how long it lasts.
    GK_LANE void search(int at, const float* scales, const float* inverses) {
        const int sub_block = sub_block_of(at);
        const NeighbourList& list = list_of(at);
        const LastingPoint point =
            cheapest_lasting<V>(book_.groups[list.first].codes, list.count,
                                costs_of(at, scales[sub_block]), margin_of(at));
        codes_[at] = point.code;
        until_[at] = inverses[sub_block] * (1 + point.growth);
    }

    // The same for this scale only.
    void search_once(int at, int32_t first, int count, const float* scales, const float* inverses) {
        const Costs costs = costs_of(at, scales[sub_block_of(at)]);
        codes_[at] = cheapest_code<V>(book_.groups[first].codes, count,
                                      [&](auto candidates) { return costs.cost(candidates); });
        until_[at] = inverses[sub_block_of(at)];
    }

    GK_LANE const NeighbourList& list_of(int at) const { return book_.lists[entries_[at]]; }
    GK_LANE bool can_last(int at) const { return list_of(at).count <= kMostLasting && margin_of(at) < FLT_MAX; }
    GK_LANE float margin_of(int at) const { return reinterpret_cast<const float*>(margins_)[at]; }
    static GK_LANE int sub_block_of(int at) { return at / (kSubGroups * L::kWidth) * L::kWidth + at % L::kWidth; }

    GK_LANE Costs costs_of(int at, float scale) const {
        if constexpr (kHasRows) {
            const float* row = rows_ + at * kRow;
            return OctetCosts(row, row + Octets::kElements, scale);
        } else {
            const int first = at / L::kWidth * G::kElements * L::kWidth + at % L::kWidth;
            const auto column = [&](const F* from) { return reinterpret_cast<const float*>(from) + first; };
            return QuadCosts{column(x_), column(root_w_), column(twice_wx_), L::kWidth, scale};
        }
    }

    const Codebook& book_;
    const F* x_;
    F root_w_[kCount], twice_wx_[kHasColumns ? kCount : 1], largest_sizes_[kSubBlocks], margins_[kGroups];
    I numbers_[kGroups];  // the digits
    alignas(64) float rows_[kHasRows ? kPlaces * kRow : 1];
    // By group and lane, because searches write single ones.
    alignas(64) int32_t codes_[kPlaces], entries_[kPlaces];
    alignas(64) float until_[kPlaces];
};

}  // namespace
}  // namespace ggufactory

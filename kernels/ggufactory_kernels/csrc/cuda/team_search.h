// The cheapest grid point of a query, by several threads of a warp.
//
// Lists are of very different lengths, and few threads have a query at a time: with a list for each thread most
// of a warp would wait for its longest. So the threads lay their queries down in shared memory, and teams of as
// many threads as a group has elements take one after another: a team's thread costs every kTeam-th candidate.
// Of equally cheap ones the first in the list wins, as in neighbour_scan.h, whose results these are.
#pragma once

#include "cuda/warp.h"
#include "neighbour_scan.h"

namespace ggufactory {
namespace {

// What a thread wants to know of a group. Threads write theirs side by side: each begins in another bank of the
// memory.
template <class G>
struct Query {
    static constexpr int kValues = G::kElements == Octets::kElements ? Octets::kDigits : 1;

    float x[G::kElements], w[G::kElements];
    float values[kValues];  // that an octet's digits stand for; a quad's scale
    float margin;           // as of cheapest_lasting()
    int32_t first, count;   // of the list: its group, its candidates
    int32_t is_lasting;     // how long the point lasts is asked too, of at most kMostLasting candidates

    GK_LANE void look_in(const NeighbourList& list, bool all) {
        first = all ? list.all_first : list.first;
        count = all ? list.all_count : list.count;
    }
};
static_assert(sizeof(Query<Octets>) / 4 % 2 == 1 && sizeof(Query<Quads>) / 4 % 2 == 1);

// The costs of one query's candidates, as a team sees them: `Memory` is the team's own, and prepare() is
// followed by a meeting.
template <class G>
class TeamCosts;

template <>
class TeamCosts<Octets> {
public:
    // The tables of teams begin in other banks.
    struct Memory {
        float costs[OctetTable::kCount], slopes[OctetTable::kCount], unused[OctetTable::kStride];
    };

    // Each member makes the entries of one element.
    static GK_LANE void prepare(const Query<Octets>& query, int member, Memory& memory) {
        const float x = query.x[member], w = query.w[member];
        GK_UNROLL(3)
        for (int q = 0; q < Octets::kDigits; ++q) {
            const float value = query.values[q], difference = value - x;
            memory.costs[OctetTable::kStride * member + q] = w * difference * difference;
            memory.slopes[OctetTable::kStride * member + q] = (x + x) * w * value;
        }
    }

    GK_LANE TeamCosts(const Query<Octets>&, const Memory& memory) : memory_(memory) {}
    GK_LANE float cost(int32_t code) const { return OctetTable{memory_.costs}.of(code); }
    GK_LANE float slope(int32_t code) const { return OctetTable{memory_.slopes}.of(code); }

private:
    const Memory& memory_;
};

template <>
class TeamCosts<Quads> {
public:
    struct Memory {};

    static GK_LANE void prepare(const Query<Quads>&, int, Memory&) {}

    GK_LANE TeamCosts(const Query<Quads>& query, const Memory&) : query_(query) {
        GK_UNROLL(4)
        for (int i = 0; i < Quads::kElements; ++i) twice_wx_[i] = (query.w[i] + query.w[i]) * query.x[i];
    }
    GK_LANE float cost(int32_t code) const { return costs().cost(code); }
    GK_LANE float slope(int32_t code) const { return costs().slope(code); }

private:
    GK_LANE QuadCosts costs() const { return {query_.x, query_.w, twice_wx_, 1, query_.values[0]}; }

    const Query<Quads>& query_;
    float twice_wx_[Quads::kElements];
};

// Where a warp's queries lie, and their answers.
template <class G>
struct QueryBoard {
    Query<G> queries[kWarp];
    LastingPoint answers[kWarp];  // growth: zero where it was not asked
    typename TeamCosts<G>::Memory memories[kWarp / G::kElements];
};

template <class G>
GK_LANE QueryBoard<G>& board_of_warp() {
#if defined(__CUDACC_RTC__)
    __shared__ QueryBoard<G> boards[GK_THREADS / kWarp];
    return boards[threadIdx.x / kWarp];
#else
    static QueryBoard<G> board;  // one warp runs at a time
    return board;
#endif
}

// One query, or none, by each team.
template <class G>
GK_LANE void answer_one(const Codebook& book, const Query<G>& query, bool is_there, LastingPoint& answer,
                        typename TeamCosts<G>::Memory& memory) {
    constexpr int kTeam = G::kElements, kMine = kMostLasting / kTeam;
    const int lane = lane_of_warp(), member = lane % kTeam;
    if (is_there) TeamCosts<G>::prepare(query, member, memory);
    meet();
    const TeamCosts<G> costs(query, memory);
    const uint16_t* const codes = is_there ? book.groups[query.first].codes : nullptr;
    const int count = is_there ? query.count : 0;
    const bool is_lasting = is_there && query.is_lasting;

    float cost[kMine], slope[kMine], least = FLT_MAX, slope_of_least = 0;
    int32_t place = INT32_MAX;
    GK_UNROLL(1)
    for (int j = member; j < count; j += kTeam) {
        const int32_t code = codes[j];
        const float here = costs.cost(code), slope_here = costs.slope(code);
        if (is_lasting) cost[j / kTeam] = here, slope[j / kTeam] = slope_here;
        if (here < least) least = here, place = j, slope_of_least = slope_here;
    }
    const float least_of_all = least_of_team<kTeam>(least);
    const int32_t winner = least_of_team<kTeam>(least == least_of_all ? place : INT32_MAX);
    const float winners_slope = shuffle(slope_of_least, lane - member + winner % kTeam);
    const bool is_found = winner != INT32_MAX;

    float growth = kMostGrowth;
    const int compared = is_found && is_lasting ? count : 0;
    GK_UNROLL(1)
    for (int j = member; j < compared; j += kTeam) {
        const float ahead = cost[j / kTeam] - (least_of_all + query.margin);
        const float apart = slope[j / kTeam] - winners_slope, closing = apart > FLT_MIN ? apart : FLT_MIN;
        const float until = ahead / closing;
        if (j != winner && until < growth) growth = until;
    }
    growth = least_of_team<kTeam>(growth);
    if (is_there && member == 0) answer = {is_found ? codes[winner] : -1, is_found && is_lasting ? growth : 0.f};
}

// The answer to this thread's query, if it is among the `asking`; all threads of the warp come here. `ask(query)`
// says what it is.
template <class G, class Ask>
GK_LANE LastingPoint search_together(const Codebook& book, uint32_t asking, const Ask& ask) {
    constexpr int kTeam = G::kElements, kTeams = kWarp / kTeam;
    QueryBoard<G>& board = board_of_warp<G>();
    const int lane = lane_of_warp(), team = lane / kTeam, queries = count_bits(asking);
    const bool asks = asking >> lane & 1;
    const int mine = count_bits(asking & ((1u << lane) - 1));  // those who ask stand side by side
    if (asks) ask(board.queries[mine]);
    meet();
    GK_UNROLL(1)
    for (int first = 0; first < queries; first += kTeams) {
        const int number = first + team;
        const bool is_there = number < queries;
        answer_one<G>(book, board.queries[is_there ? number : 0], is_there, board.answers[is_there ? number : 0],
                      board.memories[team]);
    }
    meet();
    return asks ? board.answers[mine] : LastingPoint{0, 0};
}

}  // namespace
}  // namespace ggufactory

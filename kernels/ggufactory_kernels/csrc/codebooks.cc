#include "codebook_tables.h"

#include <algorithm>

#include "blocks.h"
#include "iq_grids.h"

namespace ggufactory {
namespace {

constexpr int power(int base, int exponent) { return exponent ? base * power(base, exponent - 1) : 1; }

// A point is looked at as two halves, so that what depends on two points is read from small tables.
template <class G>
struct Halves {
    static constexpr int kElements = G::kElements / 2;
    static constexpr int kCount = power(G::kDigits, kElements);
    static constexpr int kStepBits = 2 * (G::kDigits - 1);  // of one element: steps up, steps down

    uint8_t distance[kCount][kCount];  // squared
    uint64_t steps[kCount][kCount];    // the set of single steps that lead from the first to the second

    Halves() {
        for (int from = 0; from < kCount; ++from) {
            for (int to = 0; to < kCount; ++to) compare(from, to);
        }
    }

    void compare(int from, int to) {
        int sum = 0;
        uint64_t set = 0;
        for (int i = 0, a = from, b = to; i < kElements; ++i, a /= G::kDigits, b /= G::kDigits) {
            const int way = b % G::kDigits - a % G::kDigits;
            sum += way * way;
            const uint64_t count = way < 0 ? -way : way;
            set |= ((uint64_t{1} << count) - 1) << (i * kStepBits + (way < 0 ? kStepBits / 2 : 0));
        }
        distance[from][to] = static_cast<uint8_t>(sum);
        steps[from][to] = set;
    }
};

// The digits of `code` from `first` on as a number to the base kDigits.
template <class G>
int half_of(int code, int first) {
    int number = 0;
    for (int i = G::kElements / 2 - 1; i >= 0; --i) {
        number = number * G::kDigits + ((code >> (G::kBits * (first + i))) & ((1 << G::kBits) - 1));
    }
    return number;
}

template <class G>
class Builder {
public:
    Builder(const uint16_t* grid, int size, int distances)
        : grid_(grid), size_(size), distances_(distances), low_(size), high_(size), distance_(size) {
        for (int j = 0; j < size; ++j) {
            low_[j] = half_of<G>(grid[j], 0);
            high_[j] = half_of<G>(grid[j], G::kElements / 2);
        }
    }

    CodebookTables build() {
        constexpr int kCount = Halves<G>::kCount;
        book_.entries.reserve(kCount * kCount);
        for (int number = 0; number < kCount * kCount; ++number) add_entry(number % kCount, number / kCount);
        return std::move(book_);
    }

private:
    void add_entry(int low, int high) {
        const uint8_t *low_row = halves_.distance[low], *high_row = halves_.distance[high];
        for (int j = 0; j < size_; ++j) {
            distance_[j] = static_cast<uint8_t>(low_row[low_[j]] + high_row[high_[j]]);
        }
        uint8_t limit = *std::min_element(distance_.begin(), distance_.end());
        if (limit == 0) {
            const auto place = std::find(distance_.begin(), distance_.end(), 0) - distance_.begin();
            book_.entries.push_back(INT32_MIN | static_cast<int32_t>(place << 16) | grid_[place]);
            return;
        }
        for (int n = 1; n < distances_; ++n) limit = next_distance(limit);
        collect(limit);
        book_.entries.push_back(static_cast<int32_t>(book_.lists.size()));
        book_.lists.push_back(make_list(low, high));
    }

    // The smallest distance above `limit`, or `limit` where it is the largest.
    uint8_t next_distance(uint8_t limit) const {
        uint8_t next = UINT8_MAX;
        for (const uint8_t d : distance_) next = d > limit && d < next ? d : next;
        return next == UINT8_MAX ? limit : next;
    }

    // near_: points up to `limit`, by distance and then by place.
    void collect(uint8_t limit) {
        near_.clear();
        for (int j = 0; j < size_; ++j) {
            if (distance_[j] <= limit) near_.push_back(j);
        }
        std::stable_sort(near_.begin(), near_.end(), [&](int a, int b) { return distance_[a] < distance_[b]; });
    }

    NeighbourList make_list(int low, int high) {
        // A point lies on the way to another where its steps are among the other's.
        std::vector<uint64_t>& kept = kept_steps_;
        kept.clear();
        codes_.clear();
        for (const int j : near_) {
            const uint64_t steps = halves_.steps[low][low_[j]] |
                                   halves_.steps[high][high_[j]] << (G::kElements / 2 * Halves<G>::kStepBits);
            const auto on_the_way = [&](uint64_t other) { return (other & ~steps) == 0; };
            if (std::any_of(kept.begin(), kept.end(), on_the_way)) continue;
            kept.push_back(steps);
            codes_.push_back(grid_[j]);
        }
        NeighbourList list;
        list.count = static_cast<uint16_t>(codes_.size());
        list.first = store_codes();
        codes_.clear();
        for (const int j : near_) codes_.push_back(grid_[j]);
        list.all_count = static_cast<uint16_t>(codes_.size());
        list.all_first = store_codes();
        return list;
    }

    int32_t store_codes() {
        const int32_t first = static_cast<int32_t>(book_.groups.size());
        for (size_t i = 0; i < codes_.size(); i += CodeGroup::kSize) {
            CodeGroup group;
            for (size_t k = 0; k < CodeGroup::kSize; ++k) {
                group.codes[k] = codes_[std::min(i + k, codes_.size() - 1)];
            }
            book_.groups.push_back(group);
        }
        return first;
    }

    const Halves<G> halves_;
    const uint16_t* grid_;
    int size_, distances_;
    std::vector<int> low_, high_;    // the halves of each point
    std::vector<uint8_t> distance_;  // of each point from the combination at hand
    std::vector<int> near_;
    std::vector<uint64_t> kept_steps_;
    std::vector<uint16_t> codes_;
    CodebookTables book_;
};

// `distances`: how many distinct distances a list of neighbours spans.
template <class G, int kSize>
CodebookTables build(const uint16_t (&grid)[kSize], int distances) {
    return Builder<G>(grid, kSize, distances).build();
}

const CodebookTables& iq2_xxs_tables() {
    static const CodebookTables tables = build<Octets>(kIq2XxsGrid, 2);
    return tables;
}

const CodebookTables& iq2_xs_tables() {
    static const CodebookTables tables = build<Octets>(kIq2XsGrid, 2);
    return tables;
}

const CodebookTables& iq2_s_tables() {
    static const CodebookTables tables = build<Octets>(kIq2SGrid, 1);
    return tables;
}

const CodebookTables& iq3_xxs_tables() {
    static const CodebookTables tables = build<Quads>(kIq3XxsGrid, 2);
    return tables;
}

const CodebookTables& iq3_s_tables() {
    static const CodebookTables tables = build<Quads>(kIq3SGrid, 3);
    return tables;
}

const CodebookTables& iq1_tables() {
    static const CodebookTables tables = build<Octets>(kIq1Grid, 3);
    return tables;
}

}  // namespace

const Codebook& iq2_xxs_codebook() {
    static const Codebook book = iq2_xxs_tables().view();
    return book;
}

const Codebook& iq2_xs_codebook() {
    static const Codebook book = iq2_xs_tables().view();
    return book;
}

const Codebook& iq2_s_codebook() {
    static const Codebook book = iq2_s_tables().view();
    return book;
}

const Codebook& iq3_xxs_codebook() {
    static const Codebook book = iq3_xxs_tables().view();
    return book;
}

const Codebook& iq3_s_codebook() {
    static const Codebook book = iq3_s_tables().view();
    return book;
}

const Codebook& iq1_codebook() {
    static const Codebook book = iq1_tables().view();
    return book;
}

const CodebookTables* codebook_tables(int type) {
    switch (type) {
        case IQ1_SLayout::kNumber:
        case IQ1_MLayout::kNumber: return &iq1_tables();
        case IQ2_XXSLayout::kNumber: return &iq2_xxs_tables();
        case IQ2_XSLayout::kNumber: return &iq2_xs_tables();
        case IQ2_SLayout::kNumber: return &iq2_s_tables();
        case IQ3_XXSLayout::kNumber: return &iq3_xxs_tables();
        case IQ3_SLayout::kNumber: return &iq3_s_tables();
        default: return nullptr;
    }
}

}  // namespace ggufactory

// The tables that a codebook points to, for who builds them or copies them elsewhere.
#pragma once

#include <vector>

#include "codebooks.h"

namespace ggufactory {

struct CodebookTables {
    std::vector<int32_t> entries;
    std::vector<NeighbourList> lists;
    std::vector<CodeGroup> groups;

    Codebook view() const { return {entries.data(), lists.data(), groups.data()}; }
};

// Of the tensor type with ggml's number `type`; null where it has none. Built at the first call.
const CodebookTables* codebook_tables(int type);

}  // namespace ggufactory

// One block in each lane: what a type's quantize() needs beside weights and importance, and what it says.
#pragma once

#include "backend.h"
#include "codebooks.h"
#include "grid_blocks.h"

namespace ggufactory {
namespace {

// Base of the types whose element weights, with importance, need the mean square of their row.
struct WeighedByRow {};

// The codebook that a type searches in, or null.
template <class Type>
inline const Codebook* codebook_of() {
    if constexpr (__is_base_of(SearchedInGrid, Type)) {
        return &Type::codebook();
    } else {
        return nullptr;
    }
}

// `mean_square`: of each lane's row, for the types that are WeighedByRow; `book`: for those SearchedInGrid.
template <class L, class Type>
GK_LANE auto quantize_lanes(const typename L::F* x, const typename L::F* importance, typename L::F mean_square,
                            const Codebook* book, typename L::I* bytes) {
    if constexpr (__is_base_of(WeighedByRow, Type)) {
        return Type::template quantize<L>(x, importance, mean_square, bytes);
    } else if constexpr (__is_base_of(SearchedInGrid, Type)) {
        return Type::template quantize<L>(*book, x, importance, bytes);
    } else {
        return Type::template quantize<L>(x, importance, bytes);
    }
}

// What became of one lane alone.
GK_LANE FaultKind fault_of(bool finite) { return finite ? FaultKind::kNone : FaultKind::kScaleOverflow; }

GK_LANE FaultKind fault_of(const GridOutcome<ThreadLanes>& outcome) {
    return outcome.lost ? FaultKind::kOffGrid : fault_of(outcome.finite);
}

}  // namespace
}  // namespace ggufactory

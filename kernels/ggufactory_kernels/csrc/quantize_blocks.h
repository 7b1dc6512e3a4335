// The CPU driver: lane = block. Takes `kWidth` blocks at a time through load, quantize and store.
#pragma once

#include "quantize_lanes.h"
#include "tile.h"

namespace ggufactory {
namespace {

template <class L>
GK_LANE int first_lane(typename L::M m) {
    int32_t lanes[L::kWidth];
    L::store_ints(lanes, L::select(m, L::ints(1), L::ints(0)));
    int lane = 0;
    while (!lanes[lane]) ++lane;
    return lane;
}

template <class L, int kCount>
GK_LANE bool load_source(SourceFormat format, const uint8_t* const* blocks, typename L::F* x) {
    switch (format) {
        case SourceFormat::kF32: return load_tile<L, SourceFormat::kF32, kCount>(blocks, x);
        case SourceFormat::kF16: return load_tile<L, SourceFormat::kF16, kCount>(blocks, x);
        default: return load_tile<L, SourceFormat::kBF16, kCount>(blocks, x);
    }
}

// What a type's quantize() says of its lanes: where the stored scales are finite, or more.
template <class L>
GK_LANE Fault first_fault(typename L::M finite, int64_t block) {
    const typename L::M overflow = L::negate(finite);
    if (!L::any(overflow)) return {};
    return {FaultKind::kScaleOverflow, block + first_lane<L>(overflow)};
}

template <class L>
GK_LANE Fault first_fault(const GridOutcome<L>& outcome, int64_t block) {
    const typename L::M wrong = outcome.lost | L::negate(outcome.finite);
    if (!L::any(wrong)) return {};
    const int lane = first_lane<L>(wrong);
    const bool lost = L::any(outcome.lost) && first_lane<L>(outcome.lost) == lane;
    return {lost ? FaultKind::kOffGrid : FaultKind::kScaleOverflow, block + lane};
}

template <class L, class Type>
Fault quantize_blocks(const Rows& rows, int64_t first, int64_t last) {
    constexpr int kWidth = L::kWidth;
    const int64_t source_bytes = Type::kBlock * (rows.format == SourceFormat::kF32 ? 4 : 2);
    typename L::F x[Type::kBlock], importance[Type::kBlock];
    typename L::I bytes[Type::kBytes];
    const Codebook* const book = codebook_of<Type>();
    for (int64_t block = first; block < last; block += kWidth) {
        const int lanes = last - block < kWidth ? static_cast<int>(last - block) : kWidth;
        const uint8_t *sources[kWidth], *importances[kWidth];
        float mean_squares[kWidth] = {};
        for (int lane = 0; lane < kWidth; ++lane) {
            const int64_t source = block + (lane < lanes ? lane : lanes - 1);  // spare lanes repeat the last
            sources[lane] = rows.source + source * source_bytes;
            importances[lane] = reinterpret_cast<const uint8_t*>(
                rows.importance ? rows.importance + source % rows.blocks_per_row * Type::kBlock : nullptr);
            if (rows.mean_squares) mean_squares[lane] = rows.mean_squares[source / rows.blocks_per_row];
        }
        if (!load_source<L, Type::kBlock>(rows.format, sources, x)) return {FaultKind::kNonFinite, block};
        if (rows.importance) load_tile<L, SourceFormat::kF32, Type::kBlock>(importances, importance);
        const auto outcome = quantize_lanes<L, Type>(x, rows.importance ? importance : nullptr,
                                                     L::load_floats(mean_squares), book, bytes);
        const Fault fault = first_fault<L>(outcome, block);
        if (fault.kind != FaultKind::kNone) return fault;
        store_tile<L, Type::kBytes>(bytes, rows.out + block * Type::kBytes, lanes);
    }
    return {};
}

}  // namespace
}  // namespace ggufactory

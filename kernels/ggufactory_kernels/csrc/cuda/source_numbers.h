// Plain numbers as they lie in a GPU's memory: read one by one, or several with one load where they are aligned.
#pragma once

#include "cuda/launch.h"
#include "half.h"

namespace ggufactory {
namespace {

template <SourceFormat kFormat_>
struct Format {
    static constexpr SourceFormat kFormat = kFormat_;
    static constexpr int kBytes = kFormat == SourceFormat::kF32 ? 4 : 2;
};

// `use(Format<...>())` of one that only the launch knows: the same for all threads.
template <class Use>
GK_LANE void with_format(SourceFormat format, const Use& use) {
    switch (format) {
        case SourceFormat::kF32: return use(Format<SourceFormat::kF32>());
        case SourceFormat::kF16: return use(Format<SourceFormat::kF16>());
        default: return use(Format<SourceFormat::kBF16>());
    }
}

// Memory that is loaded and stored with one instruction: kBytes of 4, 8 or 16, at a multiple of so many.
template <int kBytes>
struct alignas(kBytes) Chunk {
    uint32_t words[kBytes / 4];
};

using Unit = Chunk<16>;

// Whether a chunk may begin where any of the rows does.
template <int kBytes>
GK_LANE bool are_aligned(const void* first_row, int64_t row_stride) {
    return (reinterpret_cast<uint64_t>(first_row) | static_cast<uint64_t>(row_stride)) % kBytes == 0;
}

// Number `i` of those that begin with `words`.
template <class Format>
GK_LANE float number_in(const uint32_t* words, int i) {
    if constexpr (Format::kFormat == SourceFormat::kF32) return ThreadLanes::from_bits(static_cast<int32_t>(words[i]));
    const uint32_t word = words[i / 2], bits = i % 2 == 0 ? word & 0xffff : word >> 16;
    if constexpr (Format::kFormat == SourceFormat::kF16) return half_to_float<ThreadLanes>(static_cast<int32_t>(bits));
    return bfloat16_to_float<ThreadLanes>(static_cast<int32_t>(bits));
}

template <class Format>
GK_LANE float number_at(const uint8_t* row, int64_t i) {
    uint32_t word;
    if constexpr (Format::kBytes == 4) {
        word = reinterpret_cast<const uint32_t*>(row)[i];
    } else {
        word = reinterpret_cast<const uint16_t*>(row)[i];
    }
    return number_in<Format>(&word, 0);
}

}  // namespace
}  // namespace ggufactory

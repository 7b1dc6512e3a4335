// How a block of each type lies in memory: ggml's layouts (ggml-common.h), as offsets in bytes.
//
// The kernels write a block as `bytes[0 .. kBytes)` in this order. `types.py` is the table that the rest
// of the program reads; a test compares the two.
#pragma once

namespace ggufactory {

constexpr int kSuperBlock = 256;  // ggml's QK_K
constexpr int kHalfBytes = 2;

struct F32Layout {
    static constexpr int kNumber = 0, kBlock = 1, kBytes = 4;
};

struct F16Layout {
    static constexpr int kNumber = 1, kBlock = 1, kBytes = 2;
};

struct BF16Layout {
    static constexpr int kNumber = 30, kBlock = 1, kBytes = 2;
};

struct Q8_0Layout {
    static constexpr int kNumber = 8, kBlock = 32;
    static constexpr int kScale = 0;
    static constexpr int kQuants = kScale + kHalfBytes;
    static constexpr int kBytes = kQuants + kBlock;
};
static_assert(Q8_0Layout::kBytes == 34);

struct Q4_KLayout {
    static constexpr int kNumber = 12, kBlock = kSuperBlock;
    static constexpr int kScale = 0;
    static constexpr int kMinimum = kScale + kHalfBytes;
    static constexpr int kSubScales = kMinimum + kHalfBytes;  // eight scales and eight minima of 6 bits
    static constexpr int kQuants = kSubScales + 12;
    static constexpr int kBytes = kQuants + kBlock / 2;
};
static_assert(Q4_KLayout::kBytes == 144);

struct Q6_KLayout {
    static constexpr int kNumber = 14, kBlock = kSuperBlock;
    static constexpr int kLowQuants = 0;                             // four bits each
    static constexpr int kHighQuants = kLowQuants + kBlock / 2;      // two bits each
    static constexpr int kSubScales = kHighQuants + kBlock / 4;      // a signed byte for 16 weights
    static constexpr int kScale = kSubScales + kBlock / 16;
    static constexpr int kBytes = kScale + kHalfBytes;
};
static_assert(Q6_KLayout::kBytes == 210);

}  // namespace ggufactory

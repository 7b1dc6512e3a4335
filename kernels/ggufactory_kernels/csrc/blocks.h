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

struct Q4_0Layout {
    static constexpr int kNumber = 2, kBlock = 32;
    static constexpr int kScale = 0;
    static constexpr int kQuants = kScale + kHalfBytes;
    static constexpr int kBytes = kQuants + kBlock / 2;
};
static_assert(Q4_0Layout::kBytes == 18);

struct Q4_1Layout {
    static constexpr int kNumber = 3, kBlock = 32;
    static constexpr int kScale = 0;
    static constexpr int kMinimum = kScale + kHalfBytes;
    static constexpr int kQuants = kMinimum + kHalfBytes;
    static constexpr int kBytes = kQuants + kBlock / 2;
};
static_assert(Q4_1Layout::kBytes == 20);

struct Q5_0Layout {
    static constexpr int kNumber = 6, kBlock = 32;
    static constexpr int kScale = 0;
    static constexpr int kFifthBits = kScale + kHalfBytes;  // one for each weight, in order
    static constexpr int kQuants = kFifthBits + kBlock / 8;
    static constexpr int kBytes = kQuants + kBlock / 2;
};
static_assert(Q5_0Layout::kBytes == 22);

struct Q5_1Layout {
    static constexpr int kNumber = 7, kBlock = 32;
    static constexpr int kScale = 0;
    static constexpr int kMinimum = kScale + kHalfBytes;
    static constexpr int kFifthBits = kMinimum + kHalfBytes;
    static constexpr int kQuants = kFifthBits + kBlock / 8;
    static constexpr int kBytes = kQuants + kBlock / 2;
};
static_assert(Q5_1Layout::kBytes == 24);

struct Q8_0Layout {
    static constexpr int kNumber = 8, kBlock = 32;
    static constexpr int kScale = 0;
    static constexpr int kQuants = kScale + kHalfBytes;
    static constexpr int kBytes = kQuants + kBlock;
};
static_assert(Q8_0Layout::kBytes == 34);

struct Q1_0Layout {
    static constexpr int kNumber = 41, kBlock = 128;
    static constexpr int kScale = 0;
    static constexpr int kQuants = kScale + kHalfBytes;
    static constexpr int kBytes = kQuants + kBlock / 8;
};
static_assert(Q1_0Layout::kBytes == 18);

struct Q2_0Layout {
    static constexpr int kNumber = 42, kBlock = 64;
    static constexpr int kScale = 0;
    static constexpr int kQuants = kScale + kHalfBytes;
    static constexpr int kBytes = kQuants + kBlock / 4;
};
static_assert(Q2_0Layout::kBytes == 18);

struct TQ1_0Layout {
    static constexpr int kNumber = 34, kBlock = kSuperBlock;
    static constexpr int kQuants = 0;                         // five ternary digits each
    static constexpr int kLastQuants = kQuants + 48;          // four ternary digits each
    static constexpr int kScale = kLastQuants + 4;
    static constexpr int kBytes = kScale + kHalfBytes;
};
static_assert(TQ1_0Layout::kBytes == 54);

struct TQ2_0Layout {
    static constexpr int kNumber = 35, kBlock = kSuperBlock;
    static constexpr int kQuants = 0;
    static constexpr int kScale = kQuants + kBlock / 4;
    static constexpr int kBytes = kScale + kHalfBytes;
};
static_assert(TQ2_0Layout::kBytes == 66);

struct MXFP4Layout {
    static constexpr int kNumber = 39, kBlock = 32;
    static constexpr int kScale = 0;  // a power of two: E8M0
    static constexpr int kQuants = kScale + 1;
    static constexpr int kBytes = kQuants + kBlock / 2;
};
static_assert(MXFP4Layout::kBytes == 17);

struct NVFP4Layout {
    static constexpr int kNumber = 40, kBlock = 64;
    static constexpr int kSubBlock = 16;
    static constexpr int kSubScales = 0;  // UE4M3, one for each sub-block
    static constexpr int kQuants = kSubScales + kBlock / kSubBlock;
    static constexpr int kBytes = kQuants + kBlock / 2;
};
static_assert(NVFP4Layout::kBytes == 36);

struct IQ4_NLLayout {
    static constexpr int kNumber = 20, kBlock = 32;
    static constexpr int kScale = 0;
    static constexpr int kQuants = kScale + kHalfBytes;
    static constexpr int kBytes = kQuants + kBlock / 2;
};
static_assert(IQ4_NLLayout::kBytes == 18);

struct IQ4_XSLayout {
    static constexpr int kNumber = 23, kBlock = kSuperBlock;
    static constexpr int kScale = 0;
    static constexpr int kHighSubScales = kScale + kHalfBytes;  // two bits each
    static constexpr int kLowSubScales = kHighSubScales + 2;    // four bits each
    static constexpr int kQuants = kLowSubScales + 4;
    static constexpr int kBytes = kQuants + kBlock / 2;
};
static_assert(IQ4_XSLayout::kBytes == 136);

struct Q2_KLayout {
    static constexpr int kNumber = 10, kBlock = kSuperBlock;
    static constexpr int kSubScales = 0;  // four bits of scale and four of minimum for 16 weights
    static constexpr int kQuants = kSubScales + kBlock / 16;
    static constexpr int kScale = kQuants + kBlock / 4;
    static constexpr int kMinimum = kScale + kHalfBytes;
    static constexpr int kBytes = kMinimum + kHalfBytes;
};
static_assert(Q2_KLayout::kBytes == 84);

struct Q3_KLayout {
    static constexpr int kNumber = 11, kBlock = kSuperBlock;
    static constexpr int kHighQuants = 0;                        // one bit each
    static constexpr int kLowQuants = kHighQuants + kBlock / 8;  // two bits each
    static constexpr int kSubScales = kLowQuants + kBlock / 4;   // sixteen of 6 bits
    static constexpr int kScale = kSubScales + 12;
    static constexpr int kBytes = kScale + kHalfBytes;
};
static_assert(Q3_KLayout::kBytes == 110);

struct Q4_KLayout {
    static constexpr int kNumber = 12, kBlock = kSuperBlock;
    static constexpr int kScale = 0;
    static constexpr int kMinimum = kScale + kHalfBytes;
    static constexpr int kSubScales = kMinimum + kHalfBytes;  // eight scales and eight minima of 6 bits
    static constexpr int kQuants = kSubScales + 12;
    static constexpr int kBytes = kQuants + kBlock / 2;
};
static_assert(Q4_KLayout::kBytes == 144);

struct Q5_KLayout {
    static constexpr int kNumber = 13, kBlock = kSuperBlock;
    static constexpr int kScale = 0;
    static constexpr int kMinimum = kScale + kHalfBytes;
    static constexpr int kSubScales = kMinimum + kHalfBytes;  // as Q4_K
    static constexpr int kFifthBits = kSubScales + 12;
    static constexpr int kQuants = kFifthBits + kBlock / 8;
    static constexpr int kBytes = kQuants + kBlock / 2;
};
static_assert(Q5_KLayout::kBytes == 176);

struct Q6_KLayout {
    static constexpr int kNumber = 14, kBlock = kSuperBlock;
    static constexpr int kLowQuants = 0;                             // four bits each
    static constexpr int kHighQuants = kLowQuants + kBlock / 2;      // two bits each
    static constexpr int kSubScales = kHighQuants + kBlock / 4;      // a signed byte for 16 weights
    static constexpr int kScale = kSubScales + kBlock / 16;
    static constexpr int kBytes = kScale + kHalfBytes;
};
static_assert(Q6_KLayout::kBytes == 210);

struct IQ2_XXSLayout {
    static constexpr int kNumber = 16, kBlock = kSuperBlock;
    static constexpr int kScale = 0;
    static constexpr int kQuants = kScale + kHalfBytes;  // per 32 weights: four points, signs, sub-scale
    static constexpr int kBytes = kQuants + kBlock / 4;
};
static_assert(IQ2_XXSLayout::kBytes == 66);

struct IQ2_XSLayout {
    static constexpr int kNumber = 17, kBlock = kSuperBlock;
    static constexpr int kScale = 0;
    static constexpr int kQuants = kScale + kHalfBytes;    // per 8 weights: nine bits of point, seven of sign
    static constexpr int kSubScales = kQuants + kBlock / 4;  // four bits for 16 weights
    static constexpr int kBytes = kSubScales + kBlock / 32;
};
static_assert(IQ2_XSLayout::kBytes == 74);

struct IQ2_SLayout {
    static constexpr int kNumber = 22, kBlock = kSuperBlock;
    static constexpr int kScale = 0;
    static constexpr int kQuants = kScale + kHalfBytes;   // the points' low bytes, for 8 weights each
    static constexpr int kSigns = kQuants + kBlock / 8;
    static constexpr int kHighQuants = kSigns + kBlock / 8;    // two bits each
    static constexpr int kSubScales = kHighQuants + kBlock / 32;  // four bits for 16 weights
    static constexpr int kBytes = kSubScales + kBlock / 32;
};
static_assert(IQ2_SLayout::kBytes == 82);

struct IQ3_XXSLayout {
    static constexpr int kNumber = 18, kBlock = kSuperBlock;
    static constexpr int kScale = 0;
    static constexpr int kQuants = kScale + kHalfBytes;          // points, for 4 weights each
    static constexpr int kSignsAndScales = kQuants + kBlock / 4;  // per 32 weights: 28 bits of sign, sub-scale
    static constexpr int kBytes = kSignsAndScales + kBlock / 8;
};
static_assert(IQ3_XXSLayout::kBytes == 98);

struct IQ3_SLayout {
    static constexpr int kNumber = 21, kBlock = kSuperBlock;
    static constexpr int kScale = 0;
    static constexpr int kQuants = kScale + kHalfBytes;       // the points' low bytes, for 4 weights each
    static constexpr int kHighQuants = kQuants + kBlock / 4;  // one bit each
    static constexpr int kSigns = kHighQuants + kBlock / 32;
    static constexpr int kSubScales = kSigns + kBlock / 8;  // four bits for 32 weights
    static constexpr int kBytes = kSubScales + kBlock / 64;
};
static_assert(IQ3_SLayout::kBytes == 110);

struct IQ1_SLayout {
    static constexpr int kNumber = 19, kBlock = kSuperBlock;
    static constexpr int kScale = 0;
    static constexpr int kQuants = kScale + kHalfBytes;       // the points' low bytes, for 8 weights each
    static constexpr int kHighQuants = kQuants + kBlock / 8;  // per 32 weights: 4 x 3 bits, sub-scale, shift
    static constexpr int kBytes = kHighQuants + kBlock / 16;
};
static_assert(IQ1_SLayout::kBytes == 50);

struct IQ1_MLayout {
    static constexpr int kNumber = 29, kBlock = kSuperBlock;
    static constexpr int kQuants = 0;                         // the points' low bytes, for 8 weights each
    static constexpr int kHighQuants = kQuants + kBlock / 8;  // three bits each, and a shift
    static constexpr int kSubScales = kHighQuants + kBlock / 16;  // 4 x (4 x 3 bits, four bits of the scale)
    static constexpr int kBytes = kSubScales + kBlock / 32;
};
static_assert(IQ1_MLayout::kBytes == 56);

}  // namespace ggufactory

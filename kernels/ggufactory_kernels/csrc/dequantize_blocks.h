// The way back: blocks of a type to single precision. Nothing here is searched, so a block is plain code and
// the compiler's vectors are enough.
//
// Every product and sum is rounded as in ggml's dequantize_row_* (ggml-quants.c), in its order.
#pragma once

#include "blocks.h"
#include "half.h"

namespace ggufactory {
namespace {

inline float read_half(const uint8_t* from) {
    return half_to_float<ScalarLanes>(ScalarLanes::load_halves(from));
}

inline uint32_t read_word(const uint8_t* from) {
    uint32_t word;
    std::memcpy(&word, from, sizeof word);
    return word;
}

// `Type::dequantize(block, y)` writes the kBlock floats of one block. No block is wrong: every pattern of
// bits stands for some numbers, though a stranger's scale may be infinite or NaN.
template <class Type>
void dequantize_blocks(const uint8_t* blocks, int64_t count, float* y) {
    for (int64_t i = 0; i < count; ++i) Type::dequantize(blocks + i * Type::kBytes, y + i * Type::kBlock);
}

struct FromF32 : F32Layout {
    static void dequantize(const uint8_t* block, float* y) { *y = ScalarLanes::load_floats(block); }
};

struct FromF16 : F16Layout {
    static void dequantize(const uint8_t* block, float* y) { *y = read_half(block); }
};

struct FromBF16 : BF16Layout {
    static void dequantize(const uint8_t* block, float* y) {
        *y = bfloat16_to_float<ScalarLanes>(ScalarLanes::load_halves(block));
    }
};

}  // namespace
}  // namespace ggufactory

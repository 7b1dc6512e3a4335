// Dequantizers of the types whose four bits are a place in a table of sixteen values: IQ4_NL and IQ4_XS, and
// the four-bit floats MXFP4 and NVFP4.
#pragma once

#include "dequantize_blocks.h"
#include "four_bit_floats.h"
#include "nonlinear_quants.h"

namespace ggufactory {
namespace {

// `kHalf` bytes hold the values of as many weights in their low bits, of the next in their high bits.
template <int kHalf>
inline void write_table_values(const uint8_t* quants, const float* values, float scale, float* y) {
    for (int i = 0; i < kHalf; ++i) {
        y[i] = scale * values[quants[i] & 15];
        y[i + kHalf] = scale * values[quants[i] >> 4];
    }
}

struct FromIQ4_NL : IQ4_NLLayout {
    static void dequantize(const uint8_t* block, float* y) {
        write_table_values<16>(block + kQuants, kNonlinearValues, read_half(block + kScale), y);
    }
};

struct FromIQ4_XS : IQ4_XSLayout {
    static void dequantize(const uint8_t* block, float* y) {
        const float d = read_half(block + kScale);
        for (int j = 0; j < 8; ++j) {
            const int low = block[kLowSubScales + j / 2] >> (4 * (j % 2)) & 15;
            const int high = block[kHighSubScales + j / 4] >> (2 * (j % 4)) & 3;
            const float scale = d * static_cast<float>((low | high << 4) - 32);
            write_table_values<16>(block + kQuants + 16 * j, kNonlinearValues, scale, y + 32 * j);
        }
    }
};

// Doubled, as the scales are halved.
constexpr float kFourBitFloats[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

struct FromMXFP4 : MXFP4Layout {
    static void dequantize(const uint8_t* block, float* y) {
        write_table_values<16>(block + kQuants, kFourBitFloats, half_of_e8m0<ScalarLanes>(block[kScale]), y);
    }
};

struct FromNVFP4 : NVFP4Layout {
    static void dequantize(const uint8_t* block, float* y) {
        for (int j = 0; j < kBlock / kSubBlock; ++j) {
            const int byte = block[kSubScales + j];
            // ggml reads the pattern of UE4M3's NaN as zero, and does not look at the highest bit but here.
            const float scale = byte == 0x7f ? 0.f : half_of_ue4m3<ScalarLanes>(byte & 0x7f);
            write_table_values<kSubBlock / 2>(block + kQuants + 8 * j, kFourBitFloats, scale, y + kSubBlock * j);
        }
    }
};

}  // namespace
}  // namespace ggufactory

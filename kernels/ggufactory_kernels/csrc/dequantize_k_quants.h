// Dequantizers of the K-quants.
#pragma once

#include "affine_k_quants.h"
#include "dequantize_blocks.h"

namespace ggufactory {
namespace {

struct FromQ2_K : Q2_KLayout {
    static void dequantize(const uint8_t* block, float* y) {
        const float d = read_half(block + kScale), minimum = read_half(block + kMinimum);
        for (int j = 0; j < 16; ++j) {
            const int byte = block[kSubScales + j];
            const float scale = d * static_cast<float>(byte & 15), floor = minimum * static_cast<float>(byte >> 4);
            // Of each 128 weights, byte i holds weights i, i + 32, i + 64 and i + 96.
            const uint8_t* quants = block + kQuants + j / 8 * 32 + j % 2 * 16;
            const int shift = j / 2 % 4 * 2;
            for (int i = 0; i < 16; ++i) {
                y[16 * j + i] = scale * static_cast<float>(quants[i] >> shift & 3) - floor;
            }
        }
    }
};

struct FromQ3_K : Q3_KLayout {
    static void dequantize(const uint8_t* block, float* y) {
        const float d = read_half(block + kScale);
        const uint8_t* scales = block + kSubScales;
        for (int j = 0; j < 16; ++j) {
            const int low = j < 8 ? scales[j] & 15 : scales[j - 8] >> 4;
            const int high = scales[8 + j % 4] >> (2 * (j / 4)) & 3;
            const float scale = d * static_cast<float>((low | high << 4) - 32);
            const uint8_t *low_quants = block + kLowQuants + j / 8 * 32 + j % 2 * 16,
                          *high_quants = block + kHighQuants + j % 2 * 16;
            const int shift = j / 2 % 4 * 2, bit = j / 2;
            for (int i = 0; i < 16; ++i) {
                const int level = (low_quants[i] >> shift & 3) - (high_quants[i] >> bit & 1 ? 0 : 4);
                y[16 * j + i] = scale * static_cast<float>(level);
            }
        }
    }
};

// Q4_K and Q5_K: the fifth bits are the only difference.
template <class Layout, bool kFifth>
struct FromAffine : Layout {
    static void dequantize(const uint8_t* block, float* y) {
        const float d = read_half(block + Layout::kScale), minimum = read_half(block + Layout::kMinimum);
        int32_t packed[12], scales[8], minima[8];
        for (int i = 0; i < 12; ++i) packed[i] = block[Layout::kSubScales + i];
        unpack_six_bits<ScalarLanes>(packed, scales, minima);
        for (int j = 0; j < 8; ++j) {
            const float scale = d * static_cast<float>(scales[j]), floor = minimum * static_cast<float>(minima[j]);
            const uint8_t* quants = block + Layout::kQuants + j / 2 * 32;
            for (int i = 0; i < 32; ++i) {
                int level = quants[i] >> (4 * (j % 2)) & 15;
                if constexpr (kFifth) level += (block[Layout::kFifthBits + i] >> j & 1) << 4;
                y[32 * j + i] = scale * static_cast<float>(level) - floor;
            }
        }
    }
};

using FromQ4_K = FromAffine<Q4_KLayout, false>;
using FromQ5_K = FromAffine<Q5_KLayout, true>;

struct FromQ6_K : Q6_KLayout {
    static void dequantize(const uint8_t* block, float* y) {
        const float d = read_half(block + kScale);
        for (int j = 0; j < 16; ++j) {
            const float scale = d * static_cast<float>(static_cast<int8_t>(block[kSubScales + j]));
            // Of each 128 weights, low byte i holds weights i and i + 64; high byte i, i + 32, i + 64, i + 96.
            const int group = j / 8, quarter = j / 2 % 4, half = j % 2 * 16;
            const uint8_t* low = block + kLowQuants + 64 * group + 32 * (quarter % 2) + half;
            const uint8_t* high = block + kHighQuants + 32 * group + half;
            const int low_shift = quarter / 2 * 4, high_shift = quarter * 2;
            for (int i = 0; i < 16; ++i) {
                const int level = (low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
                y[16 * j + i] = scale * static_cast<float>(level - 32);
            }
        }
    }
};

}  // namespace
}  // namespace ggufactory

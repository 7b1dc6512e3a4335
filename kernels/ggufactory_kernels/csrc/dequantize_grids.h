// Dequantizers of the types whose groups of weights are places in a grid: IQ1, IQ2 and IQ3.
#pragma once

#include "dequantize_blocks.h"
#include "iq1_quants.h"
#include "iq_grids.h"

namespace ggufactory {
namespace {

// What the digits of a grid point stand for. Sums, which a compiler's vectors are enough for, and not tables.
inline int iq2_value(int digit) { return 8 + 17 * digit + (digit >> 1); }  // 8, 25, 43
inline int iq3_xxs_value(int digit) { return 4 + 8 * digit + 2 * ((digit + 1) >> 3); }  // 4, 12 ... 52, 62
inline int iq3_s_value(int digit) { return 1 + 2 * digit; }

// `f`, or -f where the lowest bit of `sign` is set.
inline float with_sign(float f, int sign) {
    uint32_t bits;
    std::memcpy(&bits, &f, sizeof bits);
    bits ^= static_cast<uint32_t>(sign) << 31;
    std::memcpy(&f, &bits, sizeof f);
    return f;
}

// Seven stored signs; the eighth makes their number even.
inline int eight_signs(uint32_t seven) {
    return static_cast<int>(seven | uint32_t{is_odd(seven)} << 7);
}

// Eight weights: the point's digits as values, times `scale`, negative where a sign bit is set.
inline void write_iq2_point(int point, int signs, float scale, float* y) {
    for (int i = 0; i < 8; ++i) {
        y[i] = with_sign(scale * static_cast<float>(iq2_value(point >> (2 * i) & 3)), signs >> i);
    }
}

// Four weights.
template <int (*value)(int digit)>
void write_iq3_point(int point, int signs, float scale, float* y) {
    for (int i = 0; i < 4; ++i) {
        y[i] = with_sign(scale * static_cast<float>(value(point >> (3 * i) & 7)), signs >> i);
    }
}

inline float iq2_scale(float d, int four_bits) { return d * (0.5f + static_cast<float>(four_bits)) * 0.25f; }

struct FromIQ2_XXS : IQ2_XXSLayout {
    static void dequantize(const uint8_t* block, float* y) {
        const float d = read_half(block + kScale);
        for (int j = 0; j < 8; ++j) {
            const uint8_t* group = block + kQuants + 8 * j;
            const uint32_t signs = read_word(group + 4);
            const float scale = iq2_scale(d, static_cast<int>(signs >> 28));
            for (int k = 0; k < 4; ++k) {
                write_iq2_point(kIq2XxsGrid[group[k]], eight_signs(signs >> (7 * k) & 127), scale,
                                y + 32 * j + 8 * k);
            }
        }
    }
};

struct FromIQ2_XS : IQ2_XSLayout {
    static void dequantize(const uint8_t* block, float* y) {
        const float d = read_half(block + kScale);
        for (int k = 0; k < 32; ++k) {
            const int word = ScalarLanes::load_halves(block + kQuants + 2 * k);
            const float scale = iq2_scale(d, block[kSubScales + k / 4] >> (4 * (k / 2 % 2)) & 15);
            write_iq2_point(kIq2XsGrid[word & 511], eight_signs(static_cast<uint32_t>(word >> 9)), scale, y + 8 * k);
        }
    }
};

struct FromIQ2_S : IQ2_SLayout {
    static void dequantize(const uint8_t* block, float* y) {
        const float d = read_half(block + kScale);
        for (int k = 0; k < 32; ++k) {
            const int high = block[kHighQuants + k / 4] >> (2 * (k % 4)) & 3;
            const float scale = iq2_scale(d, block[kSubScales + k / 4] >> (4 * (k / 2 % 2)) & 15);
            write_iq2_point(kIq2SGrid[block[kQuants + k] | high << 8], block[kSigns + k], scale, y + 8 * k);
        }
    }
};

struct FromIQ3_XXS : IQ3_XXSLayout {
    static void dequantize(const uint8_t* block, float* y) {
        const float d = read_half(block + kScale);
        for (int j = 0; j < 8; ++j) {
            const uint32_t word = read_word(block + kSignsAndScales + 4 * j);
            const float scale = d * (0.5f + static_cast<float>(word >> 28)) * 0.5f;
            for (int k = 0; k < 8; ++k) {
                const int signs = eight_signs(word >> (7 * (k / 2)) & 127) >> (4 * (k % 2));
                write_iq3_point<iq3_xxs_value>(kIq3XxsGrid[block[kQuants + 8 * j + k]], signs, scale,
                                               y + 32 * j + 4 * k);
            }
        }
    }
};

struct FromIQ3_S : IQ3_SLayout {
    static void dequantize(const uint8_t* block, float* y) {
        const float d = read_half(block + kScale);
        for (int k = 0; k < 64; ++k) {
            const int high = block[kHighQuants + k / 8] >> (k % 8) & 1;
            const int four_bits = block[kSubScales + k / 16] >> (4 * (k / 8 % 2)) & 15;
            const float scale = d * static_cast<float>(1 + 2 * four_bits);
            write_iq3_point<iq3_s_value>(kIq3SGrid[block[kQuants + k] | high << 8],
                                         block[kSigns + k / 2] >> (4 * (k % 2)), scale, y + 4 * k);
        }
    }
};

// Eight weights: digits -1, 0 and 1, shifted by `delta`.
inline void write_iq1_point(int point, float delta, float scale, float* y) {
    for (int i = 0; i < 8; ++i) y[i] = scale * (static_cast<float>((point >> (2 * i) & 3) - 1) + delta);
}

struct FromIQ1_S : IQ1_SLayout {
    static void dequantize(const uint8_t* block, float* y) {
        const float d = read_half(block + kScale);
        for (int k = 0; k < 32; ++k) {
            const int word = ScalarLanes::load_halves(block + kHighQuants + 2 * (k / 4));
            const float scale = d * static_cast<float>(2 * (word >> 12 & 7) + 1);
            const float delta = word & 0x8000 ? -kIq1Delta : kIq1Delta;
            const int point = kIq1Grid[block[kQuants + k] | (word >> (3 * (k % 4)) & 7) << 8];
            write_iq1_point(point, delta, scale, y + 8 * k);
        }
    }
};

struct FromIQ1_M : IQ1_MLayout {
    static void dequantize(const uint8_t* block, float* y) {
        int words[4], half_scale = 0;
        for (int i = 0; i < 4; ++i) {
            words[i] = ScalarLanes::load_halves(block + kSubScales + 2 * i);
            half_scale |= words[i] >> 12 << (4 * i);
        }
        const float d = half_to_float<ScalarLanes>(half_scale);
        for (int k = 0; k < 32; ++k) {
            const int three_bits = words[k / 8] >> (3 * (k / 2 % 4)) & 7;
            const int nibble = block[kHighQuants + k / 2] >> (4 * (k % 2)) & 15;
            const int point = kIq1Grid[block[kQuants + k] | (nibble & 7) << 8];
            write_iq1_point(point, nibble & 8 ? -kIq1Delta : kIq1Delta,
                            d * static_cast<float>(2 * three_bits + 1), y + 8 * k);
        }
    }
};

}  // namespace
}  // namespace ggufactory

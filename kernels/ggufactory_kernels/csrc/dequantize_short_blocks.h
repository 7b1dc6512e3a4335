// Dequantizers of the types with one scale (and minimum) to a block: Q4_0 to Q8_0, Q1_0 and Q2_0, ternary.
#pragma once

#include "dequantize_blocks.h"

namespace ggufactory {
namespace {

// x = d * (q - kMiddle) without a minimum, d * q + m with one; kFifth: a fifth bit apart from the nibbles.
template <class Layout, int kMiddle, bool kFifth>
struct FromNibbles : Layout {
    static void dequantize(const uint8_t* block, float* y) {
        const float d = read_half(block + Layout::kScale);
        uint32_t fifth_bits = 0;
        if constexpr (kFifth) fifth_bits = read_word(block + Layout::kFifthBits);
        const auto level = [&](int i, int low) {
            const int high = static_cast<int>(fifth_bits >> i & 1);
            return static_cast<float>((low | high << 4) - kMiddle);
        };
        float levels[32];
        for (int i = 0; i < 16; ++i) {
            const int byte = block[Layout::kQuants + i];
            levels[i] = level(i, byte & 15);
            levels[i + 16] = level(i + 16, byte >> 4);
        }
        if constexpr (kMiddle == 0) {
            const float m = read_half(block + Layout::kMinimum);
            for (int i = 0; i < 32; ++i) y[i] = levels[i] * d + m;
        } else {
            for (int i = 0; i < 32; ++i) y[i] = levels[i] * d;
        }
    }
};

using FromQ4_0 = FromNibbles<Q4_0Layout, 8, false>;
using FromQ4_1 = FromNibbles<Q4_1Layout, 0, false>;
using FromQ5_0 = FromNibbles<Q5_0Layout, 16, true>;
using FromQ5_1 = FromNibbles<Q5_1Layout, 0, true>;

struct FromQ8_0 : Q8_0Layout {
    static void dequantize(const uint8_t* block, float* y) {
        const float d = read_half(block + kScale);
        for (int i = 0; i < kBlock; ++i) {
            y[i] = static_cast<float>(static_cast<int8_t>(block[kQuants + i])) * d;
        }
    }
};

struct FromQ1_0 : Q1_0Layout {
    static void dequantize(const uint8_t* block, float* y) {
        const float d = read_half(block + kScale);
        for (int i = 0; i < kBlock; ++i) y[i] = block[kQuants + i / 8] >> (i % 8) & 1 ? d : -d;
    }
};

struct FromQ2_0 : Q2_0Layout {
    static void dequantize(const uint8_t* block, float* y) {
        const float d = read_half(block + kScale);
        for (int i = 0; i < kBlock; ++i) {
            y[i] = static_cast<float>((block[kQuants + i / 4] >> (2 * (i % 4)) & 3) - 1) * d;
        }
    }
};

struct FromTQ1_0 : TQ1_0Layout {
    static void dequantize(const uint8_t* block, float* y) {
        const float d = read_half(block + kScale);
        write_group<32, 5>(block + kQuants, d, y);
        write_group<16, 5>(block + kQuants + 32, d, y + 160);
        write_group<4, 4>(block + kLastQuants, d, y + 240);
    }

private:
    // A byte is a fraction: three times it, the whole part is the next digit.
    template <int kGroup, int kDigits>
    static void write_group(const uint8_t* bytes, float d, float* y) {
        constexpr int kPowers[5] = {1, 3, 9, 27, 81};
        for (int digit = 0; digit < kDigits; ++digit) {
            for (int i = 0; i < kGroup; ++i) {
                const int fraction = bytes[i] * kPowers[digit] & 0xff;
                y[digit * kGroup + i] = static_cast<float>((fraction * 3 >> 8) - 1) * d;
            }
        }
    }
};

struct FromTQ2_0 : TQ2_0Layout {
    static void dequantize(const uint8_t* block, float* y) {
        const float d = read_half(block + kScale);
        for (int i = 0; i < kBlock; ++i) {
            const int byte = block[kQuants + i / 128 * 32 + i % 32];
            y[i] = static_cast<float>((byte >> (2 * (i / 32 % 4)) & 3) - 1) * d;
        }
    }
};

}  // namespace
}  // namespace ggufactory

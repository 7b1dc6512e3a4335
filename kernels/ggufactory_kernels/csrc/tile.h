// Moving blocks into lanes and back: `kWidth` blocks are read as rows and transposed, so that element i of
// all of them is one vector, and their bytes go the other way.
#pragma once

#include "backend.h"
#include "half.h"

namespace ggufactory {
namespace {

template <SourceFormat kFormat>
constexpr int kSourceBytes = kFormat == SourceFormat::kF32 ? 4 : 2;

// kWidth consecutive weights of one row.
template <class L, SourceFormat kFormat>
GK_LANE typename L::F load_weights(const uint8_t* from) {
    if constexpr (kFormat == SourceFormat::kF32) {
        return L::load_floats(from);
    } else if constexpr (kFormat == SourceFormat::kF16) {
        return half_to_float<L>(L::load_halves(from));
    } else {
        return bfloat16_to_float<L>(L::load_halves(from));
    }
}

// Zero where f is finite: infinity minus itself is NaN.
template <class L>
GK_LANE typename L::I non_finite_bits(typename L::F f) {
    return L::bits(f - f);
}

// x[i] = weight i of every lane's block. True when all are finite.
template <class L, SourceFormat kFormat, int kCount>
inline bool load_tile(const uint8_t* const* blocks, typename L::F* x) {
    constexpr int kWidth = L::kWidth;
    static_assert(kCount % kWidth == 0);
    typename L::I bad = L::ints(0);
    GK_UNROLL(1)
    for (int i = 0; i < kCount; i += kWidth) {
        typename L::I rows[kWidth];
        GK_UNROLL(16)
        for (int lane = 0; lane < kWidth; ++lane) {
            const typename L::F row = load_weights<L, kFormat>(blocks[lane] + i * kSourceBytes<kFormat>);
            bad = bad | non_finite_bits<L>(row);
            rows[lane] = L::bits(row);
        }
        L::transpose(rows);
        GK_UNROLL(16)
        for (int k = 0; k < kWidth; ++k) x[i + k] = L::from_bits(rows[k]);
    }
    return !L::any(L::negate(bad == L::ints(0)));
}

// Writes `kBytes` bytes (one of each lane in bytes[i]) of the first `lanes` lanes to consecutive blocks.
template <class L, int kBytes>
inline void store_tile(const typename L::I* bytes, uint8_t* out, int lanes) {
    constexpr int kWidth = L::kWidth;
    constexpr int kWords = (kBytes + 3) / 4;
    const auto byte = [&](int i) { return i < kBytes ? bytes[i] : L::ints(0); };
    GK_UNROLL(1)
    for (int word = 0; word < kWords; word += kWidth) {
        typename L::I columns[kWidth];
        GK_UNROLL(16)
        for (int k = 0; k < kWidth; ++k) {
            const int i = 4 * (word + k);
            columns[k] = byte(i) | (byte(i + 1) << 8) | (byte(i + 2) << 16) | (byte(i + 3) << 24);
        }
        L::transpose(columns);
        const int rest = kBytes - 4 * word;
        for (int lane = 0; lane < lanes; ++lane) {
            uint8_t* to = out + static_cast<int64_t>(lane) * kBytes + 4 * word;
            if (rest >= 4 * kWidth) {
                L::store_ints(to, columns[lane]);
            } else {
                uint8_t whole[4 * kWidth];
                L::store_ints(whole, columns[lane]);
                std::memcpy(to, whole, static_cast<size_t>(rest));
            }
        }
    }
}

}  // namespace
}  // namespace ggufactory

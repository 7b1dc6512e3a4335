// Lanes of one hardware vector: 16 with AVX-512, 8 with AVX2, 4 with SSE2 and NEON.
//
// GCC's vector extension carries the arithmetic; intrinsics only where it has no word for the operation.
// The width must be the hardware's: wider vectors are split into scalar code.
#pragma once

#include "lanes.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#else
#error "no vector lanes for this architecture: build the scalar backend only"
#endif

#if defined(__AVX512F__)
#define GK_VECTOR_WIDTH 16
#elif defined(__AVX2__)
#define GK_VECTOR_WIDTH 8
#else
#define GK_VECTOR_WIDTH 4
#endif

namespace ggufactory {
namespace {

struct VectorLanes {
    static constexpr int kWidth = GK_VECTOR_WIDTH;
    static constexpr int kSideBySide = 2;
    static constexpr bool kReadsTables = false;
    static constexpr bool kSearchesTogether = false;
    typedef float F __attribute__((vector_size(4 * GK_VECTOR_WIDTH)));
    typedef int32_t I __attribute__((vector_size(4 * GK_VECTOR_WIDTH)));
    typedef uint32_t U __attribute__((vector_size(4 * GK_VECTOR_WIDTH)));
    typedef uint16_t H __attribute__((vector_size(2 * GK_VECTOR_WIDTH)));
    using M = I;  // all bits of a lane, or none

    static GK_LANE F floats(float value) { return F{} + value; }
    static GK_LANE I ints(int32_t value) { return I{} + value; }
    static GK_LANE F select(M m, F a, F b) { return m ? a : b; }
    static GK_LANE I select(M m, I a, I b) { return m ? a : b; }
    static GK_LANE M negate(M m) { return ~m; }
    static GK_LANE I bits(F f) { return reinterpret_cast<I>(f); }
    static GK_LANE F from_bits(I i) { return reinterpret_cast<F>(i); }
    static GK_LANE F to_float(I i) { return __builtin_convertvector(i, F); }
    static GK_LANE I nearest_int(F f) {
        return (bits(f + floats(kRoundingOffset)) & ints(0x007fffff)) - ints(0x00400000);
    }
    static GK_LANE I shift_right(I i, int n) { return reinterpret_cast<I>(reinterpret_cast<U>(i) >> n); }
    static GK_LANE F abs(F f) { return from_bits(bits(f) & ints(0x7fffffff)); }
    static GK_LANE I at_most(I i, int32_t hi) {
        const I high = ints(hi);
        return i > high ? high : i;
    }
    static GK_LANE I clamp(I i, int32_t lo, int32_t hi) {
        const I low = ints(lo);
        return at_most(i < low ? low : i, hi);
    }
    static GK_LANE F round_clamped(F f, int32_t lo, int32_t hi) {
        const F low = floats(kRoundingOffset + static_cast<float>(lo));
        const F high = floats(kRoundingOffset + static_cast<float>(hi));
        const F t = f + floats(kRoundingOffset);
        return minimum(maximum(t, low), high) - floats(kRoundingOffset);
    }
    static GK_LANE F round_at_least(F f, int32_t lo) {
        const F low = floats(kRoundingOffset + static_cast<float>(lo));
        return maximum(f + floats(kRoundingOffset), low) - floats(kRoundingOffset);
    }
    static GK_LANE F round_at_most(F f, int32_t hi) {
        const F high = floats(kRoundingOffset + static_cast<float>(hi));
        return minimum(f + floats(kRoundingOffset), high) - floats(kRoundingOffset);
    }
    static GK_LANE I truncate_near(F f) { return truncate(f); }
    static GK_LANE F round_near(F f) { return (f + floats(kRoundingOffset)) - floats(kRoundingOffset); }
    static GK_LANE F kept(F f) { return f; }

#if GK_VECTOR_WIDTH == 16
    static GK_LANE I gather(const int32_t* table, I i) {
        return reinterpret_cast<I>(_mm512_i32gather_epi32(reinterpret_cast<__m512i>(i), table, 4));
    }
#elif GK_VECTOR_WIDTH == 8
    static GK_LANE I gather(const int32_t* table, I i) {
        return reinterpret_cast<I>(_mm256_i32gather_epi32(table, reinterpret_cast<__m256i>(i), 4));
    }
#else
    static GK_LANE I gather(const int32_t* table, I i) {
        return I{table[i[0]], table[i[1]], table[i[2]], table[i[3]]};
    }
#endif
    static GK_LANE F gather_words(const F* x, I i) {
#if GK_VECTOR_WIDTH == 16
        return reinterpret_cast<F>(_mm512_i32gather_ps(reinterpret_cast<__m512i>(i), x, 4));
#elif GK_VECTOR_WIDTH == 8
        return reinterpret_cast<F>(
            _mm256_i32gather_ps(reinterpret_cast<const float*>(x), reinterpret_cast<__m256i>(i), 4));
#else
        float words[kWidth];
        for (int k = 0; k < kWidth; ++k) {
            std::memcpy(words + k, reinterpret_cast<const uint8_t*>(x) + 4 * i[k], sizeof *words);
        }
        return load_floats(words);
#endif
    }
    static GK_LANE I pick(const I* x, I i) {
        I lane = {};
        for (int k = 0; k < kWidth; ++k) lane[k] = k;
        return gather(reinterpret_cast<const int32_t*>(x), i * kWidth + lane);
    }
    static GK_LANE F pick(const F* x, I i) { return from_bits(pick(reinterpret_cast<const I*>(x), i)); }

    static GK_LANE F load_floats(const void* from) {
        F f;
        std::memcpy(&f, from, sizeof f);
        return f;
    }
    static GK_LANE I load_halves(const void* from) {
        H h;
        std::memcpy(&h, from, sizeof h);
        return __builtin_convertvector(h, I);
    }
    static GK_LANE void store_ints(void* to, I i) { std::memcpy(to, &i, sizeof i); }
    // The low 16 bits of a, then of b.
    static GK_LANE void store_halves(void* to, I a, I b) {
#if GK_VECTOR_WIDTH == 4 && defined(__x86_64__)
        // SSE2 packs with signed saturation only, so the low half is made a signed number first.
        const __m128i low = reinterpret_cast<__m128i>((a << 16) >> 16);
        const __m128i packed = _mm_packs_epi32(low, reinterpret_cast<__m128i>((b << 16) >> 16));
        std::memcpy(to, &packed, sizeof packed);
#elif GK_VECTOR_WIDTH == 16
        // Half the shuffles of two conversions: packing leaves the 64-bit parts of a and b in turns.
        const __m512i low = _mm512_set1_epi32(0xffff), order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
        const __m512i packed = _mm512_packus_epi32(_mm512_and_si512(reinterpret_cast<__m512i>(a), low),
                                                   _mm512_and_si512(reinterpret_cast<__m512i>(b), low));
        _mm512_storeu_si512(to, _mm512_permutexvar_epi64(order, packed));
#else
        const H halves[2] = {__builtin_convertvector(a, H), __builtin_convertvector(b, H)};
        std::memcpy(to, halves, sizeof halves);
#endif
    }

#if GK_VECTOR_WIDTH == 16
    static GK_LANE uint32_t lane_bits(M m) { return _mm512_movepi32_mask(reinterpret_cast<__m512i>(m)); }
    static GK_LANE bool any(M m) { return _mm512_movepi32_mask(reinterpret_cast<__m512i>(m)) != 0; }
    static GK_LANE I truncate(F f) { return reinterpret_cast<I>(_mm512_cvttps_epi32(f)); }
    static GK_LANE F sqrt(F f) { return _mm512_sqrt_ps(f); }
    static GK_LANE F minimum(F a, F b) { return _mm512_min_ps(a, b); }
    static GK_LANE F maximum(F a, F b) { return _mm512_max_ps(a, b); }
#elif GK_VECTOR_WIDTH == 8
    static GK_LANE uint32_t lane_bits(M m) {
        return static_cast<uint32_t>(_mm256_movemask_ps(reinterpret_cast<__m256>(m)));
    }
    static GK_LANE bool any(M m) { return _mm256_movemask_ps(reinterpret_cast<__m256>(m)) != 0; }
    static GK_LANE I truncate(F f) { return reinterpret_cast<I>(_mm256_cvttps_epi32(f)); }
    static GK_LANE F sqrt(F f) { return _mm256_sqrt_ps(f); }
    static GK_LANE F minimum(F a, F b) { return _mm256_min_ps(a, b); }
    static GK_LANE F maximum(F a, F b) { return _mm256_max_ps(a, b); }
#elif defined(__x86_64__)
    static GK_LANE uint32_t lane_bits(M m) {
        return static_cast<uint32_t>(_mm_movemask_ps(reinterpret_cast<__m128>(m)));
    }
    static GK_LANE bool any(M m) { return _mm_movemask_ps(reinterpret_cast<__m128>(m)) != 0; }
    static GK_LANE I truncate(F f) { return reinterpret_cast<I>(_mm_cvttps_epi32(f)); }
    static GK_LANE F sqrt(F f) { return _mm_sqrt_ps(f); }
    static GK_LANE F minimum(F a, F b) { return _mm_min_ps(a, b); }
    static GK_LANE F maximum(F a, F b) { return _mm_max_ps(a, b); }
#else
    static GK_LANE uint32_t lane_bits(M m) {
        const uint32x4_t bit = {1, 2, 4, 8};
        return vaddvq_u32(vandq_u32(reinterpret_cast<uint32x4_t>(m), bit));
    }
    static GK_LANE bool any(M m) { return vmaxvq_u32(reinterpret_cast<uint32x4_t>(m)) != 0; }
    static GK_LANE I truncate(F f) {
        const I in_range = abs(f) < floats(0x1p31f);  // fcvtzs saturates, and makes 0 of NaN
        return select(in_range, reinterpret_cast<I>(vcvtq_s32_f32(reinterpret_cast<float32x4_t>(f))),
                      ints(INT32_MIN));
    }
    static GK_LANE F sqrt(F f) { return reinterpret_cast<F>(vsqrtq_f32(reinterpret_cast<float32x4_t>(f))); }
    static GK_LANE F minimum(F a, F b) { return a < b ? a : b; }
    static GK_LANE F maximum(F a, F b) { return a > b ? a : b; }
#endif

    // kWidth rows of kWidth words become columns. Interleaves within 128 bits first, then of 128-bit
    // parts, because those are single instructions on every x86-64.
    static GK_LANE void transpose(I (&row)[kWidth]) {
        transpose_fours(row);
#if GK_VECTOR_WIDTH == 8
        for (int i = 0; i < 4; ++i) {
            const I a = row[i], b = row[i + 4];
            row[i] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
            row[i + 4] = __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
        }
#elif GK_VECTOR_WIDTH == 16
        for (int i = 0; i < 4; ++i) {
            const I ab_even = even_parts(row[i], row[i + 4]), ab_odd = odd_parts(row[i], row[i + 4]);
            const I cd_even = even_parts(row[i + 8], row[i + 12]), cd_odd = odd_parts(row[i + 8], row[i + 12]);
            row[i] = even_parts(ab_even, cd_even);
            row[i + 4] = even_parts(ab_odd, cd_odd);
            row[i + 8] = odd_parts(ab_even, cd_even);
            row[i + 12] = odd_parts(ab_odd, cd_odd);
        }
#endif
    }

private:
    // Each 4 x 4 square of words, within each 128-bit part of four consecutive rows.
    static GK_LANE void transpose_fours(I (&row)[kWidth]) {
        for (int i = 0; i < kWidth; i += 4) {
            const I ab_low = interleave_low(row[i], row[i + 1]), ab_high = interleave_high(row[i], row[i + 1]);
            const I cd_low = interleave_low(row[i + 2], row[i + 3]);
            const I cd_high = interleave_high(row[i + 2], row[i + 3]);
            row[i] = join_low(ab_low, cd_low);
            row[i + 1] = join_high(ab_low, cd_low);
            row[i + 2] = join_low(ab_high, cd_high);
            row[i + 3] = join_high(ab_high, cd_high);
        }
    }

#if GK_VECTOR_WIDTH == 16
#define GK_SHUFFLE(a, b, i, j, k, l)                                                                      \
    __builtin_shufflevector(a, b, i, j, k, l, i + 4, j + 4, k + 4, l + 4, i + 8, j + 8, k + 8, l + 8, i + 12, \
                            j + 12, k + 12, l + 12)
#elif GK_VECTOR_WIDTH == 8
#define GK_SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l, i + 4, j + 4, k + 4, l + 4)
#else
#define GK_SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#endif
    static GK_LANE I interleave_low(I a, I b) { return GK_SHUFFLE(a, b, 0, kWidth, 1, kWidth + 1); }
    static GK_LANE I interleave_high(I a, I b) { return GK_SHUFFLE(a, b, 2, kWidth + 2, 3, kWidth + 3); }
    static GK_LANE I join_low(I a, I b) { return GK_SHUFFLE(a, b, 0, 1, kWidth, kWidth + 1); }
    static GK_LANE I join_high(I a, I b) { return GK_SHUFFLE(a, b, 2, 3, kWidth + 2, kWidth + 3); }
#undef GK_SHUFFLE
#if GK_VECTOR_WIDTH == 16
    static GK_LANE I even_parts(I a, I b) {
        return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    }
    static GK_LANE I odd_parts(I a, I b) {
        return __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    }
#endif
};

}  // namespace
}  // namespace ggufactory

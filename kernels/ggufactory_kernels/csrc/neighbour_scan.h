// The cheapest of a list of grid points: the inner loop of all IQ types.
//
// The cost of a point is the sum of its elements' costs, w * difference * difference, taken in the order of
// the elements; of equally cheap points the first in the list wins. Where the instruction set can pick from
// registers, the lanes are neighbours.
#pragma once

#include <cfloat>

#include "codebooks.h"
#include "lanes.h"
#if !defined(GK_SCALAR) && defined(__AVX2__)
#include <immintrin.h>
#define GK_LANES_ARE_NEIGHBOURS
#endif

namespace ggufactory {
namespace {

// The costs of eight elements with three digits each: by element and digit, every fourth one unused.
struct OctetCosts {
    static constexpr int kStride = 4, kCount = Octets::kElements * kStride;
    const float* table;

    GK_LANE float of(int32_t code) const {
        float cost = 0;
        GK_UNROLL(8)
        for (int i = 0; i < Octets::kElements; ++i) cost += table[kStride * i + ((code >> (2 * i)) & 3)];
        return cost;
    }
#if defined(GK_LANES_ARE_NEIGHBOURS)
    // Two bits choose among four; what lies above them is not looked at.
    GK_LANE __m256 of(__m256i codes) const {
        __m256 cost = pick(0, codes);
        GK_UNROLL(8)
        for (int i = 1; i < Octets::kElements; ++i) {
            codes = _mm256_srli_epi32(codes, 2);
            cost = _mm256_add_ps(cost, pick(i, codes));
        }
        return cost;
    }
    GK_LANE __m256 pick(int i, __m256i codes) const {
        const auto* costs = reinterpret_cast<const __m128*>(table + kStride * i);
        return _mm256_permutevar_ps(_mm256_broadcast_ps(costs), codes);
    }
#endif
#if defined(GK_LANES_ARE_NEIGHBOURS) && defined(__AVX512F__)
    GK_LANE __m512 of(__m512i codes) const {
        __m512 cost = pick(0, codes);
        GK_UNROLL(8)
        for (int i = 1; i < Octets::kElements; ++i) {
            codes = _mm512_srli_epi32(codes, 2);
            cost = _mm512_add_ps(cost, pick(i, codes));
        }
        return cost;
    }
    GK_LANE __m512 pick(int i, __m512i codes) const {
        return _mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_load_ps(table + kStride * i)), codes);
    }
#endif
};

// The costs of four elements with eight digits each. A list is so short here that a table does not pay.
struct QuadCosts {
    const float *x, *w;  // of the first element, the others `stride` after one another
    int stride;
    float scale;

    GK_LANE float of(int32_t code) const {
        float cost = 0;
        GK_UNROLL(4)
        for (int i = 0; i < Quads::kElements; ++i) {
            const float q = static_cast<float>(2 * ((code >> (3 * i)) & 7) + 1);
            const float difference = scale * q - x[stride * i];
            cost += w[stride * i] * difference * difference;
        }
        return cost;
    }
#if defined(GK_LANES_ARE_NEIGHBOURS)
    GK_LANE __m256 of(__m256i codes) const {
        const __m256 values = _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_setr_ps(1, 3, 5, 7, 9, 11, 13, 15));
        __m256 cost = element(0, values, codes);
        GK_UNROLL(4)
        for (int i = 1; i < Quads::kElements; ++i) {
            codes = _mm256_srli_epi32(codes, 3);
            cost = _mm256_add_ps(cost, element(i, values, codes));
        }
        return cost;
    }
    // Three bits choose among eight.
    GK_LANE __m256 element(int i, __m256 values, __m256i codes) const {
        const __m256 difference =
            _mm256_sub_ps(_mm256_permutevar8x32_ps(values, codes), _mm256_set1_ps(x[stride * i]));
        return _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(w[stride * i]), difference), difference);
    }
#endif
};

// The code of the cheapest of `count` points, or -1 where no cost is below FLT_MAX (the reference stops).
template <class Costs>
inline int32_t cheapest_one_by_one(const uint16_t* codes, int count, const Costs& costs) {
    float best = FLT_MAX;
    int32_t best_code = -1;
    for (int j = 0; j < count; ++j) {
        const float cost = costs.of(int32_t{codes[j]});
        if (cost < best) {
            best = cost;
            best_code = codes[j];
        }
    }
    return best_code;
}

#if defined(GK_LANES_ARE_NEIGHBOURS)

GK_LANE __m256i load_eight(const uint16_t* codes) {
    return _mm256_cvtepu16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(codes)));
}

// All lanes the least of them.
GK_LANE __m256 least_of(__m256 a) {
    a = _mm256_min_ps(a, _mm256_permute2f128_ps(a, a, 1));
    a = _mm256_min_ps(a, _mm256_permute_ps(a, 0x4e));
    return _mm256_min_ps(a, _mm256_permute_ps(a, 0xb1));
}

template <class Costs>
inline int32_t cheapest_by_eight(const uint16_t* codes, int count, const Costs& costs) {
    // min() gives its second operand where the first is NaN.
    __m256 best = _mm256_min_ps(costs.of(load_eight(codes)), _mm256_set1_ps(FLT_MAX));
    __m256i block = _mm256_setzero_si256();
    for (int j = 8; j < count; j += 8) {
        const __m256 cost = costs.of(load_eight(codes + j));
        const __m256 better = _mm256_cmp_ps(cost, best, _CMP_LT_OQ);
        best = _mm256_blendv_ps(best, cost, better);
        block = _mm256_blendv_epi8(block, _mm256_set1_epi32(j), _mm256_castps_si256(better));
    }
    const __m256 least = least_of(best);
    if (!(_mm256_cvtss_f32(least) < FLT_MAX)) return -1;
    const __m256 equal = _mm256_cmp_ps(best, least, _CMP_EQ_OQ);
    const auto lanes = static_cast<unsigned>(_mm256_movemask_ps(equal));
    if (count <= 8) return codes[__builtin_ctz(lanes)];
    // Of the cheapest the first place.
    alignas(32) int32_t blocks[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(blocks), block);
    int first = INT32_MAX;
    for (unsigned rest = lanes; rest; rest &= rest - 1) {
        const int lane = __builtin_ctz(rest);
        if (blocks[lane] + lane < first) first = blocks[lane] + lane;
    }
    return codes[first];
}

#endif

template <class Costs>
GK_LANE int32_t cheapest_code(const uint16_t* codes, int count, const Costs& costs) {
#if defined(GK_LANES_ARE_NEIGHBOURS)
    return cheapest_by_eight(codes, count, costs);
#else
    return cheapest_one_by_one(codes, count, costs);
#endif
}

#if defined(GK_LANES_ARE_NEIGHBOURS) && defined(__AVX512F__)

// The longer lists of the octets, sixteen at a time.
GK_LANE int32_t cheapest_code(const uint16_t* codes, int count, const OctetCosts& costs) {
    const auto load = [&](int j) {
        return _mm512_cvtepu16_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(codes + j)));
    };
    __m512 best = _mm512_min_ps(costs.of(load(0)), _mm512_set1_ps(FLT_MAX));
    __m512i block = _mm512_setzero_si512();
    for (int j = 16; j < count; j += 16) {
        const __m512 cost = costs.of(load(j));
        const __mmask16 better = _mm512_cmp_ps_mask(cost, best, _CMP_LT_OQ);
        best = _mm512_mask_mov_ps(best, better, cost);
        block = _mm512_mask_mov_epi32(block, better, _mm512_set1_epi32(j));
    }
    const __m256 halves = _mm256_min_ps(_mm512_castps512_ps256(best), _mm512_extractf32x8_ps(best, 1));
    const __m256 least = least_of(halves);
    if (!(_mm256_cvtss_f32(least) < FLT_MAX)) return -1;
    const __m512 everywhere = _mm512_broadcastss_ps(_mm256_castps256_ps128(least));
    const __mmask16 equal = _mm512_cmp_ps_mask(best, everywhere, _CMP_EQ_OQ);
    if (count <= 16) return codes[__builtin_ctz(equal)];
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return codes[_mm512_mask_reduce_min_epu32(equal, _mm512_add_epi32(block, lane))];
}

#endif

}  // namespace
}  // namespace ggufactory

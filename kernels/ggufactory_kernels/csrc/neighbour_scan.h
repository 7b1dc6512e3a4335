// The cheapest of a list of grid points: the inner loop of all IQ types.
//
// The cost of a point is the sum of its elements' costs, taken in the order of the elements; of equally
// cheap points the first in the list wins. A query has one table of costs, kStride floats for each
// element, by digit; where the instruction set can pick from registers, the lanes are neighbours.
#pragma once

#include <cfloat>

#include "codebooks.h"
#include "lanes.h"
#if !defined(GK_SCALAR) && defined(__AVX2__)
#include <immintrin.h>
#endif

namespace ggufactory {
namespace {

template <class G>
constexpr int kCostStride = 1 << G::kBits;

// The code of the cheapest of `count` points, or -1 where no cost is below FLT_MAX (the reference stops).
#if defined(GK_SCALAR) || !defined(__AVX2__)

template <class G>
inline int32_t cheapest_code(const CodeGroup* groups, int count, const float* costs) {
    const uint16_t* codes = groups->codes;
    float best = FLT_MAX;
    int32_t best_code = -1;
    for (int j = 0; j < count; ++j) {
        const int32_t code = codes[j];
        float cost = 0;
        GK_UNROLL(8)
        for (int i = 0; i < G::kElements; ++i) {
            cost += costs[kCostStride<G> * i + ((code >> (G::kBits * i)) & (kCostStride<G> - 1))];
        }
        if (cost < best) {
            best = cost;
            best_code = code;
        }
    }
    return best_code;
}

#elif defined(__AVX512F__)

// The costs of one element for sixteen codes whose lowest digit is this element's; what lies above the
// digit is not looked at, or (IQ3's fourth bit) chooses between two equal halves.
template <class G>
GK_LANE __m512 element_costs(const float* costs, __m512i codes) {
    if constexpr (G::kBits == 2) {
        return _mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_loadu_ps(costs)), codes);
    } else {
        return _mm512_permutexvar_ps(codes, _mm512_broadcast_f32x8(_mm256_loadu_ps(costs)));
    }
}

template <class G>
inline int32_t cheapest_code(const CodeGroup* groups, int count, const float* costs) {
    __m512 best = _mm512_set1_ps(FLT_MAX);
    __m512i best_place = _mm512_setzero_si512();
    __m512i place = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (const CodeGroup *group = groups, *end = groups + (count + 15) / 16; group != end; ++group) {
        __m512i codes = _mm512_cvtepu16_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(group)));
        __m512 cost = element_costs<G>(costs, codes);
        GK_UNROLL(8)
        for (int i = 1; i < G::kElements; ++i) {
            codes = _mm512_srli_epi32(codes, G::kBits);
            cost = _mm512_add_ps(cost, element_costs<G>(costs + kCostStride<G> * i, codes));
        }
        const __mmask16 better = _mm512_cmp_ps_mask(cost, best, _CMP_LT_OQ);
        best = _mm512_mask_mov_ps(best, better, cost);
        best_place = _mm512_mask_mov_epi32(best_place, better, place);
        place = _mm512_add_epi32(place, _mm512_set1_epi32(16));
    }
    const float least = _mm512_reduce_min_ps(best);
    if (!(least < FLT_MAX)) return -1;
    const __mmask16 equal = _mm512_cmp_ps_mask(best, _mm512_set1_ps(least), _CMP_EQ_OQ);
    const unsigned first = _mm512_mask_reduce_min_epu32(equal, best_place);
    return groups->codes[first];
}

#else

template <class G>
GK_LANE __m256 element_costs(const float* costs, __m256i codes) {
    if constexpr (G::kBits == 2) {
        return _mm256_permutevar_ps(_mm256_broadcast_ps(reinterpret_cast<const __m128*>(costs)), codes);
    } else {
        return _mm256_permutevar8x32_ps(_mm256_loadu_ps(costs), codes);
    }
}

template <class G>
inline int32_t cheapest_code(const CodeGroup* groups, int count, const float* costs) {
    __m256 best = _mm256_set1_ps(FLT_MAX);
    __m256i best_place = _mm256_setzero_si256();
    __m256i place = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const uint16_t* all_codes = groups->codes;
    for (int j = 0; j < count; j += 8) {
        __m256i codes = _mm256_cvtepu16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(all_codes + j)));
        __m256 cost = element_costs<G>(costs, codes);
        GK_UNROLL(8)
        for (int i = 1; i < G::kElements; ++i) {
            codes = _mm256_srli_epi32(codes, G::kBits);
            cost = _mm256_add_ps(cost, element_costs<G>(costs + kCostStride<G> * i, codes));
        }
        const __m256 better = _mm256_cmp_ps(cost, best, _CMP_LT_OQ);
        best = _mm256_blendv_ps(best, cost, better);
        best_place = _mm256_blendv_epi8(best_place, place, _mm256_castps_si256(better));
        place = _mm256_add_epi32(place, _mm256_set1_epi32(8));
    }
    __m256 least = _mm256_min_ps(best, _mm256_permute2f128_ps(best, best, 1));
    least = _mm256_min_ps(least, _mm256_permute_ps(least, 0x4e));
    least = _mm256_min_ps(least, _mm256_permute_ps(least, 0xb1));
    if (!(_mm256_cvtss_f32(least) < FLT_MAX)) return -1;
    // Of the cheapest the first place: the others are moved out of its way.
    const __m256 dearer = _mm256_cmp_ps(best, least, _CMP_NEQ_OQ);
    __m256i first = _mm256_or_si256(best_place, _mm256_castps_si256(dearer));
    first = _mm256_min_epu32(first, _mm256_permute2x128_si256(first, first, 1));
    first = _mm256_min_epu32(first, _mm256_shuffle_epi32(first, 0x4e));
    first = _mm256_min_epu32(first, _mm256_shuffle_epi32(first, 0xb1));
    return all_codes[_mm_cvtsi128_si32(_mm256_castsi256_si128(first))];
}

#endif

}  // namespace
}  // namespace ggufactory

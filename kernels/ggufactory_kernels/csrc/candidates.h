// Grid points side by side: how many of a query's candidates are looked at in one go.
//
// Here the lanes are not blocks, as everywhere else, but the neighbours of one query: each lane of blocks has
// a list of its own, of its own length. Where the instruction set cannot pick from registers, there is one
// candidate at a time.
#pragma once

#include "codebooks.h"
#include "lanes.h"
#if !defined(GK_SCALAR) && defined(__AVX2__)
#include <immintrin.h>
#define GK_LANES_ARE_NEIGHBOURS
#endif

namespace ggufactory {
namespace {

// F, I, M: costs, codes and conditions of kCount candidates. minimum() gives its second operand where one is
// NaN; least() is the least of all lanes, bits() has bit k set where lane k is.
struct OneCandidate {
    using F = float;
    using I = int32_t;
    using M = bool;
    static constexpr int kCount = 1;

    static GK_LANE F floats(float value) { return value; }
    static GK_LANE I ints(int32_t value) { return value; }
    static GK_LANE I load_codes(const uint16_t* codes) { return *codes; }
    static GK_LANE F load(const float* from) { return *from; }
    static GK_LANE void store(float* to, F f) { *to = f; }
    static GK_LANE void store(int32_t* to, I i) { *to = i; }
    static GK_LANE F add(F a, F b) { return a + b; }
    static GK_LANE F subtract(F a, F b) { return a - b; }
    static GK_LANE F divide(F a, F b) { return a / b; }
    static GK_LANE F minimum(F a, F b) { return a < b ? a : b; }
    static GK_LANE F maximum(F a, F b) { return a > b ? a : b; }
    static GK_LANE M less(F a, F b) { return a < b; }
    static GK_LANE M equal(F a, F b) { return a == b; }
    static GK_LANE M equal(I a, I b) { return a == b; }
    static GK_LANE F select(M m, F a, F b) { return m ? a : b; }
    static GK_LANE I select(M m, I a, I b) { return m ? a : b; }
    static GK_LANE unsigned bits(M m) { return m; }
    static GK_LANE float least(F f) { return f; }
};

#if defined(GK_LANES_ARE_NEIGHBOURS)

struct EightCandidates {
    using F = __m256;
    using I = __m256i;
    using M = __m256;
    static constexpr int kCount = 8;

    static GK_LANE F floats(float value) { return _mm256_set1_ps(value); }
    static GK_LANE I ints(int32_t value) { return _mm256_set1_epi32(value); }
    static GK_LANE I load_codes(const uint16_t* codes) {
        return _mm256_cvtepu16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(codes)));
    }
    static GK_LANE F load(const float* from) { return _mm256_load_ps(from); }
    static GK_LANE void store(float* to, F f) { _mm256_store_ps(to, f); }
    static GK_LANE void store(int32_t* to, I i) { _mm256_store_si256(reinterpret_cast<I*>(to), i); }
    static GK_LANE F add(F a, F b) { return _mm256_add_ps(a, b); }
    static GK_LANE F subtract(F a, F b) { return _mm256_sub_ps(a, b); }
    static GK_LANE F divide(F a, F b) { return _mm256_div_ps(a, b); }
    static GK_LANE F minimum(F a, F b) { return _mm256_min_ps(a, b); }
    static GK_LANE F maximum(F a, F b) { return _mm256_max_ps(a, b); }
    static GK_LANE M less(F a, F b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
    static GK_LANE M equal(F a, F b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
    static GK_LANE M equal(I a, I b) { return _mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b)); }
    static GK_LANE F select(M m, F a, F b) { return _mm256_blendv_ps(b, a, m); }
    static GK_LANE I select(M m, I a, I b) { return _mm256_blendv_epi8(b, a, _mm256_castps_si256(m)); }
    static GK_LANE unsigned bits(M m) { return static_cast<unsigned>(_mm256_movemask_ps(m)); }
    static GK_LANE float least(F f) {
        const __m128 four = _mm_min_ps(_mm256_castps256_ps128(f), _mm256_extractf128_ps(f, 1));
        const __m128 two = _mm_min_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_min_ss(two, _mm_movehdup_ps(two)));
    }
};

#if defined(__AVX512F__)

struct SixteenCandidates {
    using F = __m512;
    using I = __m512i;
    using M = __mmask16;
    static constexpr int kCount = 16;

    static GK_LANE F floats(float value) { return _mm512_set1_ps(value); }
    static GK_LANE I ints(int32_t value) { return _mm512_set1_epi32(value); }
    static GK_LANE I load_codes(const uint16_t* codes) {
        return _mm512_cvtepu16_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(codes)));
    }
    static GK_LANE F load(const float* from) { return _mm512_load_ps(from); }
    static GK_LANE void store(float* to, F f) { _mm512_store_ps(to, f); }
    static GK_LANE void store(int32_t* to, I i) { _mm512_store_si512(to, i); }
    static GK_LANE F add(F a, F b) { return _mm512_add_ps(a, b); }
    static GK_LANE F subtract(F a, F b) { return _mm512_sub_ps(a, b); }
    static GK_LANE F divide(F a, F b) { return _mm512_div_ps(a, b); }
    static GK_LANE F minimum(F a, F b) { return _mm512_min_ps(a, b); }
    static GK_LANE F maximum(F a, F b) { return _mm512_max_ps(a, b); }
    static GK_LANE M less(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
    static GK_LANE M equal(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
    static GK_LANE M equal(I a, I b) { return _mm512_cmpeq_epi32_mask(a, b); }
    static GK_LANE F select(M m, F a, F b) { return _mm512_mask_mov_ps(b, m, a); }
    static GK_LANE I select(M m, I a, I b) { return _mm512_mask_mov_epi32(b, m, a); }
    static GK_LANE unsigned bits(M m) { return m; }
    static GK_LANE float least(F f) {
        return EightCandidates::least(_mm256_min_ps(_mm512_castps512_ps256(f), _mm512_extractf32x8_ps(f, 1)));
    }
};

using OctetCandidates = SixteenCandidates;
#else
using OctetCandidates = EightCandidates;
#endif
using QuadCandidates = EightCandidates;  // their lists are short
#else
using OctetCandidates = OneCandidate;
using QuadCandidates = OneCandidate;
#endif

}  // namespace
}  // namespace ggufactory

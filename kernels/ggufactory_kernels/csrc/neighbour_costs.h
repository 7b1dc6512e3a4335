// What a grid point costs: the sum of its elements' costs, w * difference * difference, taken in the order of
// the elements.
//
// And how that changes with the scale. With the inverse scale greater by the part h, (1 + h)^2 times the cost
// is cost - h * slope, and a term that all points share; the slope is the sum of 2 * w * x * value, in
// whatever order.
#pragma once

#include "candidates.h"

namespace ggufactory {
namespace {

// The costs, or slopes, of eight elements with three digits each: by element and digit, every fourth one unused.
struct OctetTable {
    static constexpr int kStride = 4, kCount = Octets::kElements * kStride;
    const float* table;

    GK_LANE float of(int32_t code) const {
        float sum = 0;
        GK_UNROLL(8)
        for (int i = 0; i < Octets::kElements; ++i) sum += table[kStride * i + ((code >> (2 * i)) & 3)];
        return sum;
    }
#if defined(GK_LANES_ARE_NEIGHBOURS)
    // Two bits choose among four; what lies above them is not looked at.
    GK_LANE __m256 of(__m256i codes) const {
        __m256 sum = pick(0, codes);
        GK_UNROLL(8)
        for (int i = 1; i < Octets::kElements; ++i) {
            codes = _mm256_srli_epi32(codes, 2);
            sum = _mm256_add_ps(sum, pick(i, codes));
        }
        return sum;
    }
    GK_LANE __m256 pick(int i, __m256i codes) const {
        const auto* four = reinterpret_cast<const __m128*>(table + kStride * i);
        return _mm256_permutevar_ps(_mm256_broadcast_ps(four), codes);
    }
#endif
#if defined(GK_LANES_ARE_NEIGHBOURS) && defined(__AVX512F__)
    GK_LANE __m512 of(__m512i codes) const {
        __m512 sum = pick(0, codes);
        GK_UNROLL(8)
        for (int i = 1; i < Octets::kElements; ++i) {
            codes = _mm512_srli_epi32(codes, 2);
            sum = _mm512_add_ps(sum, pick(i, codes));
        }
        return sum;
    }
    GK_LANE __m512 pick(int i, __m512i codes) const {
        return _mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_load_ps(table + kStride * i)), codes);
    }
#endif
};

// One query of eight elements, where digit q stands for scale * (2 * q + 1).
#if defined(GK_LANES_ARE_NEIGHBOURS)
// Element i's costs or slopes under digit q.
struct OctetDigits {
    __m256 costs[Octets::kDigits], slopes[Octets::kDigits];

    GK_LANE OctetDigits(const float* x, const float* w, float scale) {
        const __m256 weights = _mm256_load_ps(x), root_w = _mm256_load_ps(w);
        const __m256 twice_wx = _mm256_mul_ps(_mm256_add_ps(weights, weights), root_w);
        GK_UNROLL(3)
        for (int q = 0; q < Octets::kDigits; ++q) {
            const __m256 value = _mm256_set1_ps(scale * static_cast<float>(2 * q + 1));
            const __m256 difference = _mm256_sub_ps(value, weights);
            costs[q] = _mm256_mul_ps(_mm256_mul_ps(root_w, difference), difference);
            slopes[q] = _mm256_mul_ps(twice_wx, value);
        }
    }
};
#endif

#if defined(GK_LANES_ARE_NEIGHBOURS) && defined(__AVX512F__)

// The tables fill two registers each: word 8 * q + i is element i's under digit q.
struct OctetCosts {
    struct Table {
        __m512 low, high;

        GK_LANE explicit Table(const __m256 (&digits)[Octets::kDigits])
            : low(_mm512_insertf32x8(_mm512_castps256_ps512(digits[0]), digits[1], 1)),
              high(_mm512_castps256_ps512(digits[2])) {}
        GK_LANE __m512 pick(__m512i words) const { return _mm512_permutex2var_ps(low, words, high); }
        GK_LANE __m512 of(__m512i codes) const {
            __m512 sum = pick(words_of(codes, 0));
            GK_UNROLL(8)
            for (int i = 1; i < Octets::kElements; ++i) sum = _mm512_add_ps(sum, pick(words_of(codes, i)));
            return sum;
        }
        static GK_LANE __m512i words_of(__m512i codes, int i) {
            const __m512i digit =
                i < 2 ? _mm512_slli_epi32(codes, 3 - 2 * i) : _mm512_srli_epi32(codes, 2 * i - 3);
            return _mm512_or_si512(_mm512_and_si512(digit, _mm512_set1_epi32(0x18)), _mm512_set1_epi32(i));
        }
    };
    Table costs, slopes;

    GK_LANE OctetCosts(const OctetDigits& digits) : costs(digits.costs), slopes(digits.slopes) {}
    GK_LANE OctetCosts(const float* x, const float* w, float scale) : OctetCosts(OctetDigits(x, w, scale)) {}
    GK_LANE __m512 cost(__m512i codes) const { return costs.of(codes); }
    GK_LANE __m512 slope(__m512i codes) const { return slopes.of(codes); }
};

#else

struct OctetCosts {
    alignas(32) float costs[OctetTable::kCount], slopes[OctetTable::kCount];

    GK_LANE OctetCosts(const float* x, const float* w, float scale) {
#if defined(GK_LANES_ARE_NEIGHBOURS)
        const OctetDigits digits(x, w, scale);
        store_by_element(digits.costs, costs);
        store_by_element(digits.slopes, slopes);
#else
        for (int i = 0; i < Octets::kElements; ++i) {
            for (int q = 0; q < Octets::kDigits; ++q) {
                const float value = scale * static_cast<float>(2 * q + 1), difference = value - x[i];
                costs[OctetTable::kStride * i + q] = w[i] * difference * difference;
                slopes[OctetTable::kStride * i + q] = (x[i] + x[i]) * w[i] * value;
            }
        }
#endif
    }

    template <class I>
    GK_LANE auto cost(I codes) const {
        return OctetTable{costs}.of(codes);
    }
    template <class I>
    GK_LANE auto slope(I codes) const {
        return OctetTable{slopes}.of(codes);
    }

private:
#if defined(GK_LANES_ARE_NEIGHBOURS)
    // A vector for each digit becomes four words for each element.
    static GK_LANE void store_by_element(const __m256 (&digits)[Octets::kDigits], float* table) {
        const __m256 ab_low = _mm256_unpacklo_ps(digits[0], digits[1]);
        const __m256 ab_high = _mm256_unpackhi_ps(digits[0], digits[1]);
        const __m256 c_low = _mm256_unpacklo_ps(digits[2], digits[2]);
        const __m256 c_high = _mm256_unpackhi_ps(digits[2], digits[2]);
        store_halves(_mm256_shuffle_ps(ab_low, c_low, 0x44), 0, table);
        store_halves(_mm256_shuffle_ps(ab_low, c_low, 0xee), 1, table);
        store_halves(_mm256_shuffle_ps(ab_high, c_high, 0x44), 2, table);
        store_halves(_mm256_shuffle_ps(ab_high, c_high, 0xee), 3, table);
    }
    // Elements i and i + 4.
    static GK_LANE void store_halves(__m256 both, int i, float* table) {
        _mm_store_ps(table + OctetTable::kStride * i, _mm256_castps256_ps128(both));
        _mm_store_ps(table + OctetTable::kStride * (i + 4), _mm256_extractf128_ps(both, 1));
    }
#endif
};

#endif

// One query of four elements with eight digits each, which stand for scale * (2 * digit + 1). The lists are so
// short that a table does not pay.
struct QuadCosts {
    const float *x, *w, *twice_wx;  // of the first element, the others `stride` after one another
    int stride;
    float scale;

    GK_LANE float value(int32_t code, int i) const {
        return scale * static_cast<float>(2 * ((code >> (3 * i)) & 7) + 1);
    }
    GK_LANE float cost(int32_t code) const {
        float sum = 0;
        GK_UNROLL(4)
        for (int i = 0; i < Quads::kElements; ++i) {
            const float difference = value(code, i) - x[stride * i];
            sum += w[stride * i] * difference * difference;
        }
        return sum;
    }
    GK_LANE float slope(int32_t code) const {
        float sum = 0;
        GK_UNROLL(4)
        for (int i = 0; i < Quads::kElements; ++i) sum += twice_wx[stride * i] * value(code, i);
        return sum;
    }
#if defined(GK_LANES_ARE_NEIGHBOURS)
    // Three bits choose among eight.
    GK_LANE __m256 value(__m256i codes, int i) const {
        const __m256 values = _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_setr_ps(1, 3, 5, 7, 9, 11, 13, 15));
        return _mm256_permutevar8x32_ps(values, _mm256_srli_epi32(codes, 3 * i));
    }
    GK_LANE __m256 element_cost(__m256i codes, int i) const {
        const __m256 difference = _mm256_sub_ps(value(codes, i), _mm256_set1_ps(x[stride * i]));
        return _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(w[stride * i]), difference), difference);
    }
    GK_LANE __m256 cost(__m256i codes) const {
        __m256 sum = element_cost(codes, 0);
        GK_UNROLL(4)
        for (int i = 1; i < Quads::kElements; ++i) sum = _mm256_add_ps(sum, element_cost(codes, i));
        return sum;
    }
    GK_LANE __m256 slope(__m256i codes) const {
        __m256 sum = _mm256_setzero_ps();
        GK_UNROLL(4)
        for (int i = 0; i < Quads::kElements; ++i) {
            sum = _mm256_add_ps(sum, _mm256_mul_ps(_mm256_set1_ps(twice_wx[stride * i]), value(codes, i)));
        }
        return sum;
    }
#endif
};

// How a query of a grid's groups is scanned.
template <class G>
struct GridQuery;

template <>
struct GridQuery<Octets> {
    using Candidates = OctetCandidates;
    using Costs = OctetCosts;
};

template <>
struct GridQuery<Quads> {
    using Candidates = QuadCandidates;
    using Costs = QuadCosts;
};

}  // namespace
}  // namespace ggufactory

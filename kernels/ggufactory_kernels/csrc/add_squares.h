// How far a row lies from what is stored of it: weighted sums of squares, in double precision.
//
// Each column has its lane, whatever the instruction set, and products are not fused: every build gives the same
// sums, bit for bit.
#pragma once

#include "backend.h"

namespace ggufactory {
namespace {

// The hardware's vectors of doubles; wider ones would be split into scalar code.
#if defined(__AVX512F__)
constexpr int kDoubles = 8;
#elif defined(__AVX__)
constexpr int kDoubles = 4;
#else
constexpr int kDoubles = 2;
#endif
constexpr int kLanes = SquareSums::kLanes, kVectors = kLanes / kDoubles;
typedef float LaneFloats __attribute__((vector_size(kDoubles * sizeof(float))));
typedef double LaneDoubles __attribute__((vector_size(kDoubles * sizeof(double))));

GK_LANE void load_lanes(const float* from, LaneDoubles& lanes) {
    LaneFloats floats;
    std::memcpy(&floats, from, sizeof floats);
    lanes = __builtin_convertvector(floats, LaneDoubles);
}

// kLanes columns.
template <bool kWeighted>
GK_LANE void add_columns(const float* x, const float* stored, const float* importance, LaneDoubles* error,
                         LaneDoubles* magnitude) {
    GK_UNROLL(8)
    for (int i = 0; i < kVectors; ++i) {
        LaneDoubles value, kept, weight;
        load_lanes(x + i * kDoubles, value);
        load_lanes(stored + i * kDoubles, kept);
        LaneDoubles squared_error = (value - kept) * (value - kept), square = value * value;
        if constexpr (kWeighted) {
            load_lanes(importance + i * kDoubles, weight);
            squared_error *= weight;
            square *= weight;
        }
        error[i] += squared_error;
        magnitude[i] += square;
    }
}

template <bool kWeighted>
void add_lanes(const float* x, const float* stored, const float* importance, int64_t count, SquareSums& sums) {
    LaneDoubles error[kVectors], magnitude[kVectors];
    std::memcpy(error, sums.error, sizeof error);
    std::memcpy(magnitude, sums.magnitude, sizeof magnitude);
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
        add_columns<kWeighted>(x + i, stored + i, kWeighted ? importance + i : nullptr, error, magnitude);
    }
    if (i < count) {  // zeros, which add nothing, beyond the last column
        float last_x[kLanes] = {}, last_stored[kLanes] = {}, last_importance[kLanes] = {};
        const size_t bytes = static_cast<size_t>(count - i) * sizeof *x;
        std::memcpy(last_x, x + i, bytes);
        std::memcpy(last_stored, stored + i, bytes);
        if constexpr (kWeighted) std::memcpy(last_importance, importance + i, bytes);
        add_columns<kWeighted>(last_x, last_stored, last_importance, error, magnitude);
    }
    std::memcpy(sums.error, error, sizeof error);
    std::memcpy(sums.magnitude, magnitude, sizeof magnitude);
}

inline void add_squares(const float* x, const float* stored, const float* importance, int64_t count,
                        SquareSums& sums) {
    if (importance) {
        add_lanes<true>(x, stored, importance, count, sums);
    } else {
        add_lanes<false>(x, stored, nullptr, count, sums);
    }
}

}  // namespace
}  // namespace ggufactory

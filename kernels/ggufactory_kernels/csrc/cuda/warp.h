// What the threads of a warp tell each other. Each of these is a meeting: all threads of the warp come to it
// together, whether what they bring is looked at or not.
#pragma once

#include "language.h"

namespace ggufactory {

constexpr int kWarp = 32;  // threads

#if !defined(__CUDACC_RTC__)
// Where there is no GPU, who runs the threads of a warp supplies these, and runs them so that they meet.
namespace emulated_warp {

int lane();
void meet();
uint32_t ballot(bool vote);
uint32_t shuffle(uint32_t word, int source);
// `run(phase, thread)` for the threads `first` ... `first` + kWarp - 1.
void run(void (*run)(const void* phase, int thread), const void* phase, int first, bool backwards);

}  // namespace emulated_warp
#endif

namespace {

// Which of its warp a thread is.
GK_LANE int lane_of_warp() {
#if defined(__CUDACC_RTC__)
    return static_cast<int>(threadIdx.x) % kWarp;
#else
    return emulated_warp::lane();
#endif
}

// What any thread wrote to shared memory before can be read by all afterwards.
GK_LANE void meet() {
#if defined(__CUDACC_RTC__)
    __syncwarp();
#else
    emulated_warp::meet();
#endif
}

// Bit k is the vote of thread k.
GK_LANE uint32_t ballot(bool vote) {
#if defined(__CUDACC_RTC__)
    return __ballot_sync(0xffffffffu, vote);
#else
    return emulated_warp::ballot(vote);
#endif
}

// The number of thread `source`.
GK_LANE int32_t shuffle(int32_t i, int source) {
#if defined(__CUDACC_RTC__)
    return __shfl_sync(0xffffffffu, i, source);
#else
    return static_cast<int32_t>(emulated_warp::shuffle(static_cast<uint32_t>(i), source));
#endif
}

GK_LANE float shuffle(float f, int source) {
    int32_t i;
    std::memcpy(&i, &f, sizeof i);
    i = shuffle(i, source);
    std::memcpy(&f, &i, sizeof f);
    return f;
}

// The least number of each kTeam threads side by side; none is NaN.
template <int kTeam, class T>
GK_LANE T least_of_team(T least) {
    static_assert((kTeam & (kTeam - 1)) == 0 && kTeam <= kWarp);
    GK_UNROLL(8)
    for (int step = 1; step < kTeam; step *= 2) {
        const T other = shuffle(least, lane_of_warp() ^ step);
        least = other < least ? other : least;
    }
    return least;
}

}  // namespace
}  // namespace ggufactory

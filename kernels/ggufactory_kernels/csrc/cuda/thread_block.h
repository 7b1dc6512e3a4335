// A block of CUDA threads, and what stands for one where there is no GPU.
//
// A kernel is a sequence of phases, each a function of the thread's number; all threads meet between two of
// them. What a thread keeps from one phase to the next is PerThread. On the host the threads of a phase run
// one after the other, so that the kernels' own source is tested on any machine: its indexing, tails and strides,
// and, run backwards too, that no thread relies on what another does in the same phase. Where a warp's threads
// do rely on each other they meet on the way (warp.h), and take turns from one meeting to the next.
#pragma once

#include "cuda/warp.h"

namespace ggufactory {
namespace {

constexpr int kThreads = GK_THREADS;  // of a block, for every kernel; who launches them sets it

struct ThreadBlock {
    int64_t number;

#if defined(__CUDACC_RTC__)
    template <class Phase>
    GK_LANE void phase(const Phase& run) const {
        run(static_cast<int>(threadIdx.x));
        __syncthreads();
    }
    // One in which the threads of a warp meet.
    template <class Phase>
    GK_LANE void warp_phase(const Phase& run) const {
        phase(run);
    }
#else
    bool backwards;

    template <class Phase>
    void phase(const Phase& run) const {
        for (int i = 0; i < kThreads; ++i) run(backwards ? kThreads - 1 - i : i);
    }
    template <class Phase>
    void warp_phase(const Phase& run) const {
        const auto call = [](const void* phase, int thread) { (*static_cast<const Phase*>(phase))(thread); };
        for (int i = 0; i < kThreads; i += kWarp) {
            emulated_warp::run(call, &run, backwards ? kThreads - kWarp - i : i, backwards);
        }
    }
#endif
};

template <class T>
class PerThread {
public:
#if defined(__CUDACC_RTC__)
    GK_LANE T& operator[](int) { return value_; }

private:
    T value_;
#else
    T& operator[](int thread) { return values_[thread]; }

private:
    T values_[kThreads];
#endif
};

}  // namespace
}  // namespace ggufactory

// The arithmetic that parity is defined in: round to nearest even, denormals kept, no traps.
//
// A library linked with -ffast-math, or torch.set_flush_denormal, leaves the processor flushing denormals to
// zero for whoever runs next on the thread. Tiny weights would then quantize to other bytes.
#pragma once

#include <cstdint>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace ggufactory {

class FloatEnvironment {
public:
#if defined(__x86_64__)
    FloatEnvironment() : saved_(_mm_getcsr()) { _mm_setcsr(0x1f80); }
    ~FloatEnvironment() { _mm_setcsr(saved_); }
#elif defined(__aarch64__)
    FloatEnvironment() {
        __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
        __asm__ volatile("msr fpcr, %0" : : "r"(uint64_t{0}));
    }
    ~FloatEnvironment() { __asm__ volatile("msr fpcr, %0" : : "r"(saved_)); }
#endif
    FloatEnvironment(const FloatEnvironment&) = delete;
    FloatEnvironment& operator=(const FloatEnvironment&) = delete;

private:
#if defined(__x86_64__)
    unsigned saved_;
#elif defined(__aarch64__)
    uint64_t saved_;
#endif
};

}  // namespace ggufactory

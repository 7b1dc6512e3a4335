// What the kernels need of the language and its library, under the one name that both compilers understand:
// the host's, and NVRTC (NVIDIA's compiler of CUDA code at run time), which has no headers of its own.
#pragma once

#if defined(__CUDACC_RTC__)

using int8_t = signed char;
using uint8_t = unsigned char;
using int16_t = short;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned;
using int64_t = long long;
using uint64_t = unsigned long long;

#define INT32_MIN (-2147483647 - 1)
#define INT32_MAX 2147483647
#define FLT_MIN 0x1p-126f
#define FLT_MAX 0x1.fffffep127f

namespace std {
using ::memcpy;
}

#define GK_LANE __forceinline__
// A loop over elements is unrolled whole, whatever the number says, so that arrays of elements are registers.
#define GK_UNROLL(n) GK_UNROLL_##n
#define GK_UNROLL_1 _Pragma("unroll 1")
#define GK_UNROLL_2 _Pragma("unroll")
#define GK_UNROLL_3 _Pragma("unroll")
#define GK_UNROLL_4 _Pragma("unroll")
#define GK_UNROLL_8 _Pragma("unroll")
#define GK_UNROLL_15 _Pragma("unroll")
#define GK_UNROLL_16 _Pragma("unroll")
#define GK_UNROLL_32 _Pragma("unroll")

// A loop over memory, of which so many steps are under way together; on a CPU the compiler sees by itself.
#define GK_GPU_UNROLL(n) GK_PRAGMA(unroll n)
#define GK_PRAGMA(text) _Pragma(#text)

#else

#include <cfloat>
#include <cstdint>
#include <cstring>

#define GK_LANE inline __attribute__((always_inline))
#define GK_UNROLL(n) GK_PRAGMA(GCC unroll n)
#define GK_GPU_UNROLL(n)
#define GK_PRAGMA(text) _Pragma(#text)

#endif

namespace ggufactory {
namespace {

// least_of(), greatest_of(): one instruction on a GPU. `b`, which is a number, where `a` is NaN; of zeros with
// different signs either. floor_of_twice(): for magnitudes below 2^20.
#if defined(__CUDACC_RTC__)

GK_LANE float square_root(float f) { return __fsqrt_rn(f); }
GK_LANE float magnitude_of(float f) { return fabsf(f); }
GK_LANE float least_of(float a, float b) { return fminf(a, b); }
GK_LANE float greatest_of(float a, float b) { return fmaxf(a, b); }
GK_LANE int32_t floor_of_twice(float f) { return __float_as_int(__fadd_rd(f, 0x1.8p22f)) - 0x4ac00000; }
GK_LANE float infinity() { return __int_as_float(0x7f800000); }
GK_LANE int lowest_bit(uint32_t bits) { return __ffs(static_cast<int>(bits)) - 1; }
GK_LANE int lowest_bit(uint64_t bits) { return __ffsll(static_cast<int64_t>(bits)) - 1; }
GK_LANE int count_bits(uint32_t bits) { return __popc(bits); }
GK_LANE bool is_odd(uint32_t bits) { return __popc(bits) & 1; }

#else

GK_LANE float square_root(float f) { return __builtin_sqrtf(f); }
GK_LANE float magnitude_of(float f) { return __builtin_fabsf(f); }
GK_LANE float least_of(float a, float b) { return a < b ? a : b; }
GK_LANE float greatest_of(float a, float b) { return a > b ? a : b; }
GK_LANE int32_t floor_of_twice(float f) { return static_cast<int32_t>(__builtin_floorf(f + f)); }
GK_LANE float infinity() { return __builtin_inff(); }
GK_LANE int lowest_bit(uint32_t bits) { return __builtin_ctz(bits); }
GK_LANE int lowest_bit(uint64_t bits) { return __builtin_ctzll(bits); }
GK_LANE int count_bits(uint32_t bits) { return __builtin_popcount(bits); }
GK_LANE bool is_odd(uint32_t bits) { return __builtin_parity(bits); }

#endif

}  // namespace
}  // namespace ggufactory

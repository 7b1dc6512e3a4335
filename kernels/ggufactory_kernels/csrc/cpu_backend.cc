// The table of kernels of one instruction set. The build compiles this file once for each, with GK_BACKEND
// the name of the table, GK_ISA what it is called, and GK_SCALAR where lanes are plain numbers.
#include "add_squares.h"
#include "affine_k_quants.h"
#include "convert_floats.h"
#include "dequantize_grids.h"
#include "dequantize_k_quants.h"
#include "dequantize_short_blocks.h"
#include "dequantize_tables.h"
#include "four_bit_floats.h"
#include "iq1_quants.h"
#include "iq2_quants.h"
#include "iq3_quants.h"
#include "legacy_quants.h"
#include "nonlinear_quants.h"
#include "q2_k_quants.h"
#include "q3_k_quants.h"
#include "quantize_blocks.h"
#include "row_mean_squares.h"
#include "symmetric_k_quants.h"
#include "ternary_quants.h"
#if !defined(GK_SCALAR)
#include "vector_lanes.h"
#endif

namespace ggufactory {
namespace {

#if defined(GK_SCALAR)
using Lanes = ScalarLanes;
#else
using Lanes = VectorLanes;
#endif

template <class To, class From>
constexpr Kernel conversion() {
    return {To::kNumber, To::kBlock, To::kBytes, convert_floats<Lanes, To>, dequantize_blocks<From>, nullptr};
}

template <class Type, class From>
constexpr Kernel kernel() {
    return {Type::kNumber, Type::kBlock, Type::kBytes, quantize_blocks<Lanes, Type>, dequantize_blocks<From>,
            nullptr};
}

template <class Type, class From>
constexpr Kernel row_weighed() {
    return {Type::kNumber, Type::kBlock, Type::kBytes, quantize_blocks<Lanes, Type>, dequantize_blocks<From>,
            row_mean_squares<Lanes, Type::kBlock>};
}

constexpr Kernel kKernels[] = {
    conversion<ToF32, FromF32>(),
    conversion<ToF16, FromF16>(),
    conversion<ToBF16, FromBF16>(),
    row_weighed<Q4_0, FromQ4_0>(),
    row_weighed<Q4_1, FromQ4_1>(),
    row_weighed<Q5_0, FromQ5_0>(),
    row_weighed<Q5_1, FromQ5_1>(),
    kernel<Q8_0, FromQ8_0>(),
    kernel<Q1_0, FromQ1_0>(),
    kernel<Q2_0, FromQ2_0>(),
    kernel<Q2_K, FromQ2_K>(),
    kernel<Q3_K, FromQ3_K>(),
    kernel<Q4_K, FromQ4_K>(),
    kernel<Q5_K, FromQ5_K>(),
    kernel<Q6_K, FromQ6_K>(),
    kernel<IQ1_S, FromIQ1_S>(),
    kernel<IQ1_M, FromIQ1_M>(),
    kernel<IQ2_XXS, FromIQ2_XXS>(),
    kernel<IQ2_XS, FromIQ2_XS>(),
    kernel<IQ2_S, FromIQ2_S>(),
    kernel<IQ3_XXS, FromIQ3_XXS>(),
    kernel<IQ3_S, FromIQ3_S>(),
    kernel<IQ4_NL, FromIQ4_NL>(),
    kernel<IQ4_XS, FromIQ4_XS>(),
    kernel<TQ1_0, FromTQ1_0>(),
    kernel<TQ2_0, FromTQ2_0>(),
    kernel<MXFP4, FromMXFP4>(),
    kernel<NVFP4, FromNVFP4>(),
};

}  // namespace

extern const Backend GK_BACKEND;
const Backend GK_BACKEND = {GK_ISA, kKernels, sizeof kKernels / sizeof *kKernels, add_squares};

}  // namespace ggufactory

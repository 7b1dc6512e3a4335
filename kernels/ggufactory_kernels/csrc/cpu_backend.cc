// The table of kernels of one instruction set. The build compiles this file once for each, with GK_BACKEND
// the name of the table, GK_ISA what it is called, and GK_SCALAR where lanes are plain numbers.
#include "affine_k_quants.h"
#include "convert_floats.h"
#include "iq1_quants.h"
#include "iq2_quants.h"
#include "iq3_quants.h"
#include "legacy_quants.h"
#include "quantize_blocks.h"
#include "symmetric_k_quants.h"
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

template <class To>
constexpr Kernel conversion() {
    return {To::kNumber, To::kBlock, To::kBytes, convert_floats<Lanes, To>};
}

template <class Type>
constexpr Kernel quantizer() {
    return {Type::kNumber, Type::kBlock, Type::kBytes, quantize_blocks<Lanes, Type>};
}

constexpr Kernel kKernels[] = {
    conversion<ToF32>(), conversion<ToF16>(), conversion<ToBF16>(),
    quantizer<Q8_0>(),   quantizer<Q4_K>(),   quantizer<Q6_K>(),
    quantizer<IQ2_XXS>(), quantizer<IQ2_XS>(), quantizer<IQ2_S>(), quantizer<IQ3_XXS>(), quantizer<IQ3_S>(),
    quantizer<IQ1_S>(), quantizer<IQ1_M>(),
};

}  // namespace

extern const Backend GK_BACKEND;
const Backend GK_BACKEND = {GK_ISA, kKernels, sizeof kKernels / sizeof *kKernels};

}  // namespace ggufactory

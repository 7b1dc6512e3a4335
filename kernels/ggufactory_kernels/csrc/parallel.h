// One kernel over many rows, split over threads.
#pragma once

#include "backend.h"

namespace ggufactory {

// Quantizes blocks [0, blocks) with `threads` threads. The bytes do not depend on the split, and the fault
// returned is the first one in the order of blocks.
Fault quantize_parallel(const Kernel& kernel, Rows rows, int64_t blocks, int threads);

// The floats of blocks [0, blocks).
void dequantize_parallel(const Kernel& kernel, const uint8_t* packed, int64_t blocks, float* out, int threads);

}  // namespace ggufactory

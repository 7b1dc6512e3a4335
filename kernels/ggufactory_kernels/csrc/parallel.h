// One kernel over many rows, split over threads.
#pragma once

#include "backend.h"

namespace ggufactory {

// Quantizes blocks [0, blocks) with `threads` threads. The bytes do not depend on the split, and the fault
// returned is the first one in the order of blocks.
Fault quantize_parallel(const Kernel& kernel, Rows rows, int64_t blocks, int threads);

// The floats of blocks [0, blocks).
void dequantize_parallel(const Kernel& kernel, const uint8_t* packed, int64_t blocks, float* out, int threads);

// Rows [0, rows) of `columns` weights, as they were and as they are stored, in blocks of two types that divide
// `columns`.
struct StoredRows {
    const Kernel& held_type;
    const uint8_t* held;
    const Kernel& stored_type;
    const uint8_t* stored;
    int64_t columns;
    int64_t rows;
    const float* importance;  // one per column, or null
};

// The sums of `Backend::add_squares` over each row's lanes, error and magnitude in turns, to `out`. They depend on
// the row alone.
void square_errors_parallel(const Backend& backend, const StoredRows& rows, double* out, int threads);

}  // namespace ggufactory

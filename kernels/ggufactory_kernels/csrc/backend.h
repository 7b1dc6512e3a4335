// The border between the bindings and the code that is compiled once per instruction set.
#pragma once

#include "language.h"

namespace ggufactory {

enum class SourceFormat { kF32, kF16, kBF16 };

// Rows of weights and where their blocks go. Blocks are counted through all rows: rows lie one after the
// other, in the source as in the output.
struct Rows {
    const uint8_t* source;  // of any alignment
    SourceFormat format;
    int64_t blocks_per_row;
    const float* importance;  // one per column, or null
    uint8_t* out;
    const float* mean_squares = nullptr;  // one per row, where the kernel has asked for them
};

enum class FaultKind {
    kNone,
    kNonFinite,      // among the weights from `block` on there is one that is no number
    kScaleOverflow,  // a stored scale (or a converted number) of `block` is too large for its format
    kOffGrid,        // the weights or importance of `block` are too large for the search of grid points
};

// The first thing that is wrong, in the order of blocks.
struct Fault {
    FaultKind kind = FaultKind::kNone;
    int64_t block = 0;
};

struct Kernel {
    int type;  // ggml's number
    int block;
    int block_bytes;
    // Quantizes blocks [first, last). Blocks after a fault are left unwritten.
    Fault (*quantize)(const Rows& rows, int64_t first, int64_t last);
    // The floats of `count` blocks.
    void (*dequantize)(const uint8_t* blocks, int64_t count, float* out);
    // Of rows [first, last), to `out`: for kernels whose blocks, with importance, depend on their row.
    // Null for others.
    void (*mean_squares)(const Rows& rows, int64_t first, int64_t last, float* out);
};

// Weighted sums of squares of one row, as far as it has been added up: of the differences between what it was and
// what is stored, and of what it was. A column's lane is its number modulo kLanes in every build.
struct SquareSums {
    static constexpr int kLanes = 8;
    double error[kLanes];
    double magnitude[kLanes];
};

// Pairwise, so that the order is the same however wide the registers are.
GK_LANE double sum_lanes(const double* lanes) {
    return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

// One instruction set's kernels.
struct Backend {
    const char* isa;
    const Kernel* kernels;
    int count;
    // Adds `count` columns, the first of which is in lane 0. `importance`: one per column, or null.
    void (*add_squares)(const float* x, const float* stored, const float* importance, int64_t count,
                        SquareSums& sums);
};

}  // namespace ggufactory

// What every kernel is given: the same structure, passed by value, filled in by launch.py.
#pragma once

#include "backend.h"
#include "codebooks.h"
#include "cuda/thread_block.h"

namespace ggufactory {

struct Launch {
    const uint8_t* source;  // the first row: plain numbers, aligned to their size, or packed blocks
    int64_t row_stride;     // bytes from one row to the next
    int64_t blocks_per_row;
    int64_t blocks;  // of all rows
    int64_t format;  // of plain numbers: SourceFormat
    const float* importance;    // one for each column
    const float* mean_squares;  // one for each row
    const float* stored;        // what rows are compared with: their weights, one row after the other
    Codebook book;
    uint8_t* out;     // blocks, floats or sums one after the other, aligned to 16 bytes
    uint64_t* fault;  // the first one: its block times four and its FaultKind; all bits set where there is none.
                      // Null for conversions of which any number will do
};

namespace {

GK_LANE const uint8_t* row_of_block(const Launch& launch, int64_t block) {
    return launch.source + block / launch.blocks_per_row * launch.row_stride;
}

GK_LANE void report(const Launch& launch, FaultKind kind, int64_t block) {
    const uint64_t fault = static_cast<uint64_t>(block) << 2 | static_cast<uint64_t>(kind);
#if defined(__CUDACC_RTC__)
    atomicMin(reinterpret_cast<unsigned long long*>(launch.fault), static_cast<unsigned long long>(fault));
#else
    if (fault < *launch.fault) *launch.fault = fault;
#endif
}

}  // namespace
}  // namespace ggufactory

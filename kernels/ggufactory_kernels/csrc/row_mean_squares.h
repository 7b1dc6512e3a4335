// The mean square of each row, summed in the order of its columns: lane = row.
#pragma once

#include "quantize_blocks.h"

namespace ggufactory {
namespace {

// Rows [first, last) of blocks of kBlock weights. Rows with weights that are not finite have no useful
// mean; who quantizes them finds the weight.
template <class L, int kBlock>
void row_mean_squares(const Rows& rows, int64_t first, int64_t last, float* out) {
    constexpr int kWidth = L::kWidth;
    const int64_t block_bytes = kBlock * (rows.format == SourceFormat::kF32 ? 4 : 2);
    for (int64_t row = first; row < last; row += kWidth) {
        const uint8_t* sources[kWidth];
        for (int lane = 0; lane < kWidth; ++lane) {
            const int64_t source = row + lane < last ? row + lane : last - 1;  // spare lanes repeat the last
            sources[lane] = rows.source + source * rows.blocks_per_row * block_bytes;
        }
        typename L::F sum = L::floats(0), x[kBlock];
        for (int64_t block = 0; block < rows.blocks_per_row; ++block) {
            load_source<L, kBlock>(rows.format, sources, x);
            GK_UNROLL(16)
            for (int i = 0; i < kBlock; ++i) sum = sum + x[i] * x[i];
            for (const uint8_t*& source : sources) source += block_bytes;
        }
        const float columns = static_cast<float>(rows.blocks_per_row * kBlock);
        float means[kWidth];
        L::store_ints(means, L::bits(sum / L::floats(columns)));
        for (int lane = 0; lane < kWidth && row + lane < last; ++lane) out[row + lane] = means[lane];
    }
}

}  // namespace
}  // namespace ggufactory

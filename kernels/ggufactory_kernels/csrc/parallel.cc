#include "parallel.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "float_environment.h"

namespace ggufactory {
namespace {

// Weights that a thread takes at a time: some hundred microseconds of work, and a whole number of the widest
// backend's tiles for every type.
constexpr int64_t kChunkWeights = 1 << 16;
constexpr int64_t kRowsAtOnce = 16;  // the widest backend's lanes

// Runs `work(first, last)` on pieces of [0, count) in their order, until it returns false.
template <class Work>
void run_pieces(int64_t count, int64_t piece, int threads, const Work& work) {
    std::atomic<int64_t> next{0};
    const auto take = [&] {
        const FloatEnvironment environment;
        for (int64_t first = next.fetch_add(piece); first < count; first = next.fetch_add(piece)) {
            if (!work(first, std::min(first + piece, count))) next = count;
        }
    };
    const int64_t pieces = (count + piece - 1) / piece;
    std::vector<std::thread> helpers;
    for (int64_t i = 1; i < std::min<int64_t>(threads, pieces); ++i) helpers.emplace_back(take);
    take();
    for (std::thread& helper : helpers) helper.join();
}

// A whole number of blocks of every type, and small enough for the nearest cache.
constexpr int64_t kColumnsAtOnce = 256;

const uint8_t* blocks_at(const Kernel& kernel, const uint8_t* rows, int64_t weight) {
    return rows + weight / kernel.block * kernel.block_bytes;
}

void add_row(const Backend& backend, const StoredRows& rows, int64_t row, double* out) {
    float x[kColumnsAtOnce], stored[kColumnsAtOnce];
    SquareSums sums = {};
    for (int64_t column = 0; column < rows.columns; column += kColumnsAtOnce) {
        const int64_t count = std::min(kColumnsAtOnce, rows.columns - column);
        const int64_t weight = row * rows.columns + column;
        rows.held_type.dequantize(blocks_at(rows.held_type, rows.held, weight), count / rows.held_type.block, x);
        rows.stored_type.dequantize(blocks_at(rows.stored_type, rows.stored, weight), count / rows.stored_type.block,
                                    stored);
        backend.add_squares(x, stored, rows.importance ? rows.importance + column : nullptr, count, sums);
    }
    out[0] = sum_lanes(sums.error);
    out[1] = sum_lanes(sums.magnitude);
}

}  // namespace

Fault quantize_parallel(const Kernel& kernel, Rows rows, int64_t blocks, int threads) {
    std::vector<float> mean_squares;
    if (kernel.mean_squares && rows.importance) {
        mean_squares.resize(static_cast<size_t>(blocks / rows.blocks_per_row));
        const int64_t piece = std::max<int64_t>(kRowsAtOnce, kChunkWeights / (rows.blocks_per_row * kernel.block));
        run_pieces(static_cast<int64_t>(mean_squares.size()), piece, threads, [&](int64_t first, int64_t last) {
            kernel.mean_squares(rows, first, last, mean_squares.data());
            return true;
        });
        rows.mean_squares = mean_squares.data();
    }
    std::mutex mutex;
    Fault first_fault;
    // Pieces are taken in order, so whatever lies before a fault is already in some thread's hands.
    run_pieces(blocks, kChunkWeights / kernel.block, threads, [&](int64_t first, int64_t last) {
        const Fault fault = kernel.quantize(rows, first, last);
        if (fault.kind == FaultKind::kNone) return true;
        const std::lock_guard<std::mutex> lock(mutex);
        if (first_fault.kind == FaultKind::kNone || fault.block < first_fault.block) first_fault = fault;
        return false;
    });
    return first_fault;
}

void dequantize_parallel(const Kernel& kernel, const uint8_t* packed, int64_t blocks, float* out, int threads) {
    run_pieces(blocks, kChunkWeights / kernel.block, threads, [&](int64_t first, int64_t last) {
        kernel.dequantize(packed + first * kernel.block_bytes, last - first, out + first * kernel.block);
        return true;
    });
}

void square_errors_parallel(const Backend& backend, const StoredRows& rows, double* out, int threads) {
    static_assert(SquareSums::kLanes == 8);
    const int64_t piece = std::max<int64_t>(1, kChunkWeights / rows.columns);
    run_pieces(rows.rows, piece, threads, [&](int64_t first, int64_t last) {
        for (int64_t row = first; row < last; ++row) add_row(backend, rows, row, out + 2 * row);
        return true;
    });
}

}  // namespace ggufactory

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

}  // namespace

Fault quantize_parallel(const Kernel& kernel, const Rows& rows, int64_t blocks, int threads) {
    const int64_t chunk = kChunkWeights / kernel.block;
    std::atomic<int64_t> next{0};
    std::mutex mutex;
    Fault first_fault;
    // Chunks are taken in order, so whatever lies before a fault is already in some thread's hands.
    const auto work = [&] {
        const FloatEnvironment environment;
        for (int64_t start = next.fetch_add(chunk); start < blocks; start = next.fetch_add(chunk)) {
            const Fault fault = kernel.quantize(rows, start, std::min(start + chunk, blocks));
            if (fault.kind == FaultKind::kNone) continue;
            next = blocks;
            const std::lock_guard<std::mutex> lock(mutex);
            if (first_fault.kind == FaultKind::kNone || fault.block < first_fault.block) first_fault = fault;
        }
    };
    const int64_t chunks = (blocks + chunk - 1) / chunk;
    std::vector<std::thread> helpers;
    for (int64_t i = 1; i < std::min<int64_t>(threads, chunks); ++i) helpers.emplace_back(work);
    work();
    for (std::thread& helper : helpers) helper.join();
    return first_fault;
}

}  // namespace ggufactory

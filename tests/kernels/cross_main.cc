// Quantizes one case from standard input with every backend of this build and writes the bytes to standard
// output: the kernels of another architecture, run by an emulator. See test_aarch64_kernels.py.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "backends.h"
#include "parallel.h"

struct Case {
    int32_t type, format, has_importance, columns;
    int64_t rows;
};

static std::vector<uint8_t> read_bytes(size_t count) {
    std::vector<uint8_t> bytes(count);
    if (std::fread(bytes.data(), 1, count, stdin) != count) std::exit(2);
    return bytes;
}

int main() {
    using namespace ggufactory;
    Case header;
    while (std::fread(&header, sizeof header, 1, stdin) == 1) {
        const int64_t weights = header.rows * header.columns;
        const std::vector<uint8_t> source = read_bytes(weights * (header.format == 0 ? 4 : 2));
        const std::vector<uint8_t> importance = read_bytes(header.has_importance ? header.columns * 4 : 0);
        for (const AvailableBackend& available : all_backends()) {
            for (int i = 0; i < available.backend->count; ++i) {
                const Kernel& kernel = available.backend->kernels[i];
                if (kernel.type != header.type) continue;
                std::vector<uint8_t> out(weights / kernel.block * kernel.block_bytes);
                const Rows rows = {source.data(), static_cast<SourceFormat>(header.format),
                                   header.columns / kernel.block,
                                   header.has_importance ? reinterpret_cast<const float*>(importance.data()) : nullptr,
                                   out.data()};
                const Fault fault = quantize_parallel(kernel, rows, weights / kernel.block, 2);
                const int32_t kind = static_cast<int32_t>(fault.kind);
                std::fwrite(&kind, sizeof kind, 1, stdout);
                std::fwrite(out.data(), 1, out.size(), stdout);
            }
        }
    }
    return 0;
}

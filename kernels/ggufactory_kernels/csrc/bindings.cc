// The module `_cpu`: buffers in, blocks out. Shapes and values are checked in Python (cpu.py), where the
// messages are worded; here only what would break memory.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "backends.h"
#include "codebook_tables.h"
#include "parallel.h"

namespace nb = nanobind;

namespace ggufactory {
namespace {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using WritableBytes = nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using WritableFloats = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using WritableDoubles = nb::ndarray<double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

const Backend& find_backend(const std::string& isa) {
    for (const AvailableBackend& available : all_backends()) {
        if (isa != available.backend->isa) continue;
        if (!available.supported) throw nb::value_error("this machine does not have the instruction set");
        return *available.backend;
    }
    throw nb::value_error("no such instruction set in this build");
}

const Kernel& find_kernel(const Backend& backend, int type) {
    for (int i = 0; i < backend.count; ++i) {
        if (backend.kernels[i].type == type) return backend.kernels[i];
    }
    throw nb::value_error("no kernel for the type");
}

SourceFormat source_format(int type) {
    switch (type) {
        case 0: return SourceFormat::kF32;
        case 1: return SourceFormat::kF16;
        case 30: return SourceFormat::kBF16;
        default: throw nb::value_error("a source is F32, F16 or BF16");
    }
}

// (kind, block) of the first fault: 0 none, 1 non-finite weight, 2 a stored scale overflowed, 3 off the grid.
std::tuple<int, int64_t> quantize(const std::string& isa, int type, int source_type, const Bytes& source,
                                  int64_t columns, const std::optional<Floats>& importance,
                                  const WritableBytes& out, int threads) {
    const Kernel& kernel = find_kernel(find_backend(isa), type);
    const SourceFormat format = source_format(source_type);
    const int64_t weights = static_cast<int64_t>(source.size()) / (format == SourceFormat::kF32 ? 4 : 2);
    if (columns <= 0 || columns % kernel.block || weights % columns) throw nb::value_error("no whole rows");
    const int64_t blocks = weights / kernel.block;
    if (static_cast<int64_t>(out.size()) != blocks * kernel.block_bytes) {
        throw nb::value_error("the output has the wrong size");
    }
    if (importance && static_cast<int64_t>(importance->size()) != columns) {
        throw nb::value_error("the importance has the wrong size");
    }
    const Rows rows = {source.data(), format, columns / kernel.block, importance ? importance->data() : nullptr,
                       out.data()};
    Fault fault;
    {
        const nb::gil_scoped_release release;
        fault = quantize_parallel(kernel, rows, blocks, threads);
    }
    return {static_cast<int>(fault.kind), fault.block};
}

void dequantize(const std::string& isa, int type, const Bytes& packed, const WritableFloats& out, int threads) {
    const Kernel& kernel = find_kernel(find_backend(isa), type);
    const int64_t blocks = static_cast<int64_t>(packed.size()) / kernel.block_bytes;
    if (packed.size() % kernel.block_bytes) throw nb::value_error("no whole blocks");
    if (static_cast<int64_t>(out.size()) != blocks * kernel.block) {
        throw nb::value_error("the output has the wrong size");
    }
    const nb::gil_scoped_release release;
    dequantize_parallel(kernel, packed.data(), blocks, out.data(), threads);
}

// To `out` of each row: the weighted sums of squares of its errors, and of its weights (parallel.h).
void square_errors(const std::string& isa, int held_type, const Bytes& held, int stored_type, const Bytes& stored,
                   int64_t columns, const std::optional<Floats>& importance, const WritableDoubles& out,
                   int threads) {
    const Backend& backend = find_backend(isa);
    const Kernel &from = find_kernel(backend, held_type), &to = find_kernel(backend, stored_type);
    if (columns <= 0 || columns % from.block || columns % to.block) throw nb::value_error("no whole rows");
    const int64_t rows = static_cast<int64_t>(out.size()) / 2;
    const auto fits = [&](const Kernel& kernel, const Bytes& bytes) {
        return static_cast<int64_t>(bytes.size()) == rows * (columns / kernel.block) * kernel.block_bytes;
    };
    if (out.size() % 2 || !fits(from, held) || !fits(to, stored)) throw nb::value_error("the sizes do not match");
    if (importance && static_cast<int64_t>(importance->size()) != columns) {
        throw nb::value_error("the importance has the wrong size");
    }
    const StoredRows both = {from, held.data(), to, stored.data(), columns, rows,
                             importance ? importance->data() : nullptr};
    const nb::gil_scoped_release release;
    square_errors_parallel(backend, both, out.data(), threads);
}

// (name, whether this machine has it), best first.
std::vector<std::tuple<std::string, bool>> instruction_sets() {
    std::vector<std::tuple<std::string, bool>> sets;
    for (const AvailableBackend& available : all_backends()) {
        sets.emplace_back(available.backend->isa, available.supported);
    }
    return sets;
}

// (number, weights, bytes) of the blocks that this build quantizes to.
std::vector<std::tuple<int, int, int>> kernel_types() {
    const Backend& backend = *all_backends().front().backend;
    std::vector<std::tuple<int, int, int>> types;
    for (int i = 0; i < backend.count; ++i) {
        types.emplace_back(backend.kernels[i].type, backend.kernels[i].block, backend.kernels[i].block_bytes);
    }
    return types;
}

template <class T>
nb::bytes bytes_of(const std::vector<T>& table) {
    return nb::bytes(table.data(), table.size() * sizeof(T));
}

// Entries, lists and groups of the codebook of a type, as another device takes them (codebooks.h).
std::tuple<nb::bytes, nb::bytes, nb::bytes> codebook(int type) {
    const CodebookTables* tables = codebook_tables(type);
    if (!tables) throw nb::value_error("the type has no codebook");
    return {bytes_of(tables->entries), bytes_of(tables->lists), bytes_of(tables->groups)};
}

}  // namespace
}  // namespace ggufactory

NB_MODULE(_cpu, module) {
    module.def("quantize", &ggufactory::quantize, nb::arg("isa"), nb::arg("type"), nb::arg("source_type"),
               nb::arg("source").noconvert(), nb::arg("columns"), nb::arg("importance").noconvert().none(),
               nb::arg("out").noconvert(), nb::arg("threads"));
    module.def("dequantize", &ggufactory::dequantize, nb::arg("isa"), nb::arg("type"),
               nb::arg("packed").noconvert(), nb::arg("out").noconvert(), nb::arg("threads"));
    module.def("square_errors", &ggufactory::square_errors, nb::arg("isa"), nb::arg("held_type"),
               nb::arg("held").noconvert(), nb::arg("stored_type"), nb::arg("stored").noconvert(),
               nb::arg("columns"), nb::arg("importance").noconvert().none(), nb::arg("out").noconvert(),
               nb::arg("threads"));
    module.def("instruction_sets", &ggufactory::instruction_sets);
    module.def("kernel_types", &ggufactory::kernel_types);
    module.def("codebook", &ggufactory::codebook, nb::arg("type"));
}

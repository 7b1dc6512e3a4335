"""The CUDA kernels by name, and the source text of each: a few lines around the headers in `csrc/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ggufactory_kernels.types import TENSOR_TYPES, TensorType

THREADS = 64
"""Of a thread block, for every kernel (kThreads in csrc)."""
NUMBERS_OF_THREAD = 16
"""That a thread converts from one plain type to another (kNumbersOfThread)."""
ROWS_OF_ERRORS = THREADS // 8
"""That a thread block adds up the errors of (RowErrorsKernel::kRows)."""
PIECE = 32
"""Weights that a row's mean square is read in (kPiece)."""

_QUANTIZERS = {
    **dict.fromkeys(("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"), "legacy_quants.h"),
    **dict.fromkeys(("Q1_0", "Q2_0", "TQ1_0", "TQ2_0"), "ternary_quants.h"),
    **dict.fromkeys(("Q4_K", "Q5_K"), "affine_k_quants.h"),
    "Q2_K": "q2_k_quants.h",
    "Q3_K": "q3_k_quants.h",
    "Q6_K": "symmetric_k_quants.h",
    **dict.fromkeys(("IQ1_S", "IQ1_M"), "iq1_quants.h"),
    **dict.fromkeys(("IQ2_XXS", "IQ2_XS", "IQ2_S"), "iq2_quants.h"),
    **dict.fromkeys(("IQ3_XXS", "IQ3_S"), "iq3_quants.h"),
    **dict.fromkeys(("IQ4_NL", "IQ4_XS"), "nonlinear_quants.h"),
    **dict.fromkeys(("MXFP4", "NVFP4"), "four_bit_floats.h"),
}
_PLAIN_TYPES = ("F32", "F16", "BF16")
_DEQUANTIZERS = {
    **dict.fromkeys(("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"), "dequantize_short_blocks.h"),
    **dict.fromkeys(("Q1_0", "Q2_0", "TQ1_0", "TQ2_0"), "dequantize_short_blocks.h"),
    **dict.fromkeys(("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"), "dequantize_k_quants.h"),
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"), "dequantize_grids.h"),
    **dict.fromkeys(("IQ4_NL", "IQ4_XS", "MXFP4", "NVFP4"), "dequantize_tables.h"),
}
KERNEL_TYPES = (*_PLAIN_TYPES, *_DEQUANTIZERS)
"""The tensor types that kernels quantize to and dequantize."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel: what it is called, and how it is spelled in C++."""

    name: str
    spelling: str
    headers: tuple[str, ...]

    @property
    def source(self) -> str:
        """What NVRTC compiles: the only text beside `csrc/`."""
        includes = "".join(f'#include "{header}"\n' for header in self.headers)
        return (
            f"{includes}using namespace ggufactory;\n"
            f'extern "C" __global__ void __launch_bounds__(kThreads)\n'
            f"{self.name}(const __grid_constant__ Launch launch) {{\n"
            f"    using Kernel = {self.spelling};\n"
            "    __shared__ Kernel::Shared shared;\n"
            "    Kernel::run(launch, ThreadBlock{static_cast<int64_t>(blockIdx.x)}, shared);\n"
            "}\n"
        )


def quantizer(type_: TensorType, *, weighted: bool) -> Kernel:
    """The kernel that quantizes to a type, with importance or without."""
    if not type_.is_quantized:
        return KERNELS[f"convert_{type_.name.lower()}"]
    weighted = weighted and type_.uses_importance
    return KERNELS[f"quantize_{type_.name.lower()}{'_weighted' if weighted else ''}"]


def dequantizer(type_: TensorType) -> Kernel:
    """The kernel that makes a type single precision again; for one of plain numbers, the one that converts to F32."""
    if not type_.is_quantized:
        return KERNELS["convert_f32"]
    return KERNELS[f"dequantize_{type_.name.lower()}"]


def _all_kernels() -> list[Kernel]:
    kernels = [
        Kernel("mean_squares", "MeanSquaresKernel", ("cuda/mean_squares_kernel.h",)),
        Kernel("row_errors", "RowErrorsKernel", ("cuda/row_errors_kernel.h",)),
    ]
    for name in _PLAIN_TYPES:
        kernels.append(Kernel(f"convert_{name.lower()}", f"ConvertKernel<To{name}>", ("cuda/convert_kernel.h",)))
    for name, header in _QUANTIZERS.items():
        headers, type_ = (header, "cuda/quantize_kernel.h"), TENSOR_TYPES[name]
        if not type_.needs_importance:
            kernels.append(Kernel(f"quantize_{name.lower()}", f"QuantizeKernel<{name}, false>", headers))
        if type_.uses_importance:
            kernels.append(Kernel(f"quantize_{name.lower()}_weighted", f"QuantizeKernel<{name}, true>", headers))
    for name, header in _DEQUANTIZERS.items():
        headers = (header, "cuda/dequantize_kernel.h")
        kernels.append(Kernel(f"dequantize_{name.lower()}", f"DequantizeKernel<From{name}>", headers))
    return kernels


KERNELS: Mapping[str, Kernel] = MappingProxyType({kernel.name: kernel for kernel in _all_kernels()})
"""All of them, by name."""

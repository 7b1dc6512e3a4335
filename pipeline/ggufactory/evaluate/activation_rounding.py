"""Inputs of matrix products rounded as llama.cpp's processors round them, by the type of the weights.

ggml has no product of quantized weights and single-precision activations: on a CPU each row of activations is first
brought into the type that goes with the weights (`vec_dot_type` in ggml-cpu.c), mostly eight bits and a scale. Source
of the arithmetic: `quantize_row_q8_0_ref`, `quantize_row_q8_1_ref` and `quantize_row_q8_K_ref` of ggml-quants.c, with
ties to even, as the kernels for x86-64 have it. Left out is one rounding: the sums that Q8_1 keeps in 16 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ggufactory.calibrate.products import OPERANDS

BY_WEIGHTS: Mapping[str, str] = {
    "F32": "F32",
    "F16": "F16",
    "BF16": "BF16",
    **dict.fromkeys(("Q1_0", "Q2_0", "Q4_0", "Q5_0", "Q8_0", "IQ4_NL", "MXFP4", "NVFP4"), "Q8_0"),
    **dict.fromkeys(("Q4_1", "Q5_1"), "Q8_1"),
    **dict.fromkeys(("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "TQ1_0", "TQ2_0"), "Q8_K"),
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), "Q8_K"),
}
"""The type of the activations that each type of weights is multiplied with."""
_LARGEST = 127.0
_BLOCK, _SUPER_BLOCK = 32, 256


def rounded(inputs: torch.Tensor, kind: str) -> torch.Tensor:
    """`inputs` [..., columns] in single precision as they are after a trip through `kind`, row by row."""
    if kind == "F32":
        return inputs
    if kind in _PLAIN:
        return inputs.to(_PLAIN[kind]).to(inputs.dtype)
    size, through = (_SUPER_BLOCK, _super_blocks) if kind == "Q8_K" else (_BLOCK, _blocks)
    return through(inputs.reshape(-1, size)).reshape(inputs.shape)


_PLAIN = {"F16": torch.float16, "BF16": torch.bfloat16}


def _blocks(blocks: torch.Tensor) -> torch.Tensor:
    """Q8_0, and Q8_1 in its numbers: the scale is kept in 16 bits, but divided by as it was."""
    scale = blocks.abs().amax(dim=-1, keepdim=True) / _LARGEST
    inverse = torch.where(scale > 0, 1 / scale, 0)
    return (blocks * inverse).round() * scale.half().float()


def _super_blocks(blocks: torch.Tensor) -> torch.Tensor:
    """Q8_K: the number that is farthest from zero becomes -127."""
    farthest = blocks.gather(-1, blocks.abs().argmax(dim=-1, keepdim=True))
    # Of a number by a tensor PyTorch makes a product with the inverse, which is rounded twice.
    inverse = torch.where(farthest != 0, torch.tensor(-_LARGEST) / farthest, 0)
    scale = torch.where(farthest != 0, 1 / inverse, 0)
    return (blocks * inverse).round().clamp(max=_LARGEST) * scale


class RoundedInputs(TorchFunctionMode):
    """While active, what is multiplied by a parameter is rounded first. `kinds`: by the parameter's name; `parameters`:
    those that have weights when it is asked."""

    def __init__(self, kinds: Mapping[str, str], parameters: Callable[[], Mapping[str, nn.Parameter]]) -> None:
        super().__init__()
        self._kinds = kinds
        self._parameters = parameters

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in OPERANDS:
            inputs, weights = OPERANDS[func]
            args = (*args[:inputs], rounded(args[inputs], self._kind_of(args[weights])), *args[inputs + 1 :])
        return func(*args, **(kwargs or {}))

    def _kind_of(self, weights: torch.Tensor) -> str:
        """By the memory that they lie in: an expert's are a part of its layer's."""
        at = weights.untyped_storage().data_ptr()
        for name, parameter in self._parameters().items():
            if parameter.untyped_storage().data_ptr() == at:
                return self._kinds.get(name, "F32")
        return "F32"

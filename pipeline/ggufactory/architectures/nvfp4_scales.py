"""What a GGUF file has beside its NVFP4 tensors: what multiplies each whole, and which are for weights alone.

Source: `_generate_nvfp4_tensors`, `_tag_prec_a4` and `prepare_metadata` of llama.cpp's conversion/base.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ggufactory.architectures.configuration import Config
from ggufactory.architectures.key_values import KeyValues
from ggufactory.architectures.model import OutputTensor
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.packing.nvfp4 import scale_values
from ggufactory.checkpoint.packing.quantization import find_quantization
from ggufactory.checkpoint.packing.scalars import read_scalars
from ggufactory.checkpoint.weight_tensor import WeightTensor

_SUFFIXES = {".scale": ".weight_scale_2", ".input_scale": ".input_scale"}
"""Of the output, to that of the checkpoint."""
_EXPERT = re.compile(r"\.experts\.\d+\.")


def without_scales(
    weights: Mapping[str, WeightTensor],
) -> tuple[Mapping[str, WeightTensor], Mapping[str, WeightTensor]]:
    """The tensors that rules are about, and the single numbers that belong to NVFP4 ones."""
    packed = {name for name, tensor in weights.items() if tensor.source and tensor.source.dtype == "NVFP4"}
    owned = {name.removesuffix(".weight") + suffix for name in packed for suffix in _SUFFIXES.values()}
    scales = {name: tensor for name, tensor in weights.items() if name in owned}
    return {name: tensor for name, tensor in weights.items() if name not in owned}, scales


def scale_tensors(
    checkpoint: Checkpoint, tensors: Sequence[OutputTensor], scales: Mapping[str, WeightTensor]
) -> tuple[OutputTensor, ...]:
    """One number each, or one for each matrix of a stack; none where all are one. They are read now."""
    numbers = read_scalars(checkpoint, scales.values())
    found = []
    for tensor in _nvfp4(tensors):
        for suffix, source_suffix in _SUFFIXES.items():
            held = [numbers.get(_module(source.tensor) + source_suffix) for source in tensor.sources]
            values = scale_values(held, stacked=len(tensor.shape) == 3)
            if values is not None:
                name = tensor.name.removesuffix(".weight") + suffix
                found.append(OutputTensor(name, (len(values) // 4,), "F32", values=values))
    return tuple(found)


def add_precisions(out: KeyValues, checkpoint: Checkpoint, config: Config, tensors: Sequence[OutputTensor]) -> None:
    """The tensors whose activations are not to be rounded to four bits."""
    packed = _nvfp4(tensors)
    quantization = find_quantization(checkpoint, config) if packed else None
    if quantization is None:
        return
    sources = {t.name: _EXPERT.sub(".experts.", _module(t.sources[0].tensor)) + ".weight" for t in packed}
    weight_only = quantization.weight_only(sources.values())
    names = sorted(name for name, source in sources.items() if source in weight_only)
    out.texts("general.tensor_extra.name", names)
    out.booleans("general.tensor_extra.prec_a4", [False] * len(names))


def _nvfp4(tensors: Sequence[OutputTensor]) -> list[OutputTensor]:
    return [tensor for tensor in tensors if tensor.converted_type == "NVFP4"]


def _module(weights: str) -> str:
    """Of the packed weights of that name, as either library calls them."""
    return weights.removesuffix("_packed").removesuffix(".weight")

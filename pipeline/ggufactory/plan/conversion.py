"""Whether the tensors' own types allow the types that the recipe gives them.

A tensor that already has the type it is to have is copied. Source: llama.cpp, the main loop of
`llama_model_quantize_impl` and `llama_tensor_dequantize_impl` in `src/llama-quant.cpp`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ggufactory.architectures.model import OutputTensor
from ggufactory.plan.recipe import Decision
from ggufactory_kernels.types import TENSOR_TYPES

_WEIGHTS = frozenset({"F32", "F16", "BF16"})


def changed(tensors: Sequence[OutputTensor], decided: Sequence[Mapping[str, Decision]]) -> list[OutputTensor]:
    """Those that some rung has in another type than the source."""
    return [t for t in tensors if any(decisions[t.name].type != t.converted_type for decisions in decided)]


def kernel_faults(
    rung: str, tensors: Sequence[OutputTensor], decisions: Mapping[str, Decision], quantizable: frozenset[str]
) -> list[str]:
    """The types of a rung that have to be made, and that `quantizable` does not hold."""
    made = [decisions[t.name].type for t in changed(tensors, [decisions])]
    return [
        f"rung {rung} needs {kind} for {count} tensors, which this build cannot make "
        f"(it makes {', '.join(sorted(quantizable))})"
        for kind, count in sorted(Counter(made).items())
        if kind not in quantizable
    ]


def faults(tensors: Sequence[OutputTensor], *, allow_requantize: bool) -> list[str]:
    """Which of the changed `tensors` cannot be changed, or may not."""
    found = []
    stored = [t for t in tensors if TENSOR_TYPES[t.converted_type].is_quantized]
    if stored and not allow_requantize:
        found.append(
            f"{len(stored)} tensors of the source are quantized, and quantizing them again loses quality; "
            f"--allow-requantize does it all the same: {_by_type(stored)}"
        )
    if strange := [t for t in tensors if t not in stored and t.converted_type not in _WEIGHTS]:
        found.append(f"{len(strange)} tensors that should be quantized hold no weights: {_by_type(strange)}")
    if deep := [t for t in tensors if len(t.shape) > 3 and t.shape[0] > 1]:
        found.append(f"{len(deep)} tensors that should be quantized have four dimensions: {_by_type(deep)}")
    return found


def _by_type(tensors: Sequence[OutputTensor]) -> str:
    """All of their names: whoever reads this has to decide about each."""
    names: dict[str, list[str]] = {}
    for tensor in tensors:
        names.setdefault(tensor.converted_type, []).append(tensor.name)
    return "; ".join(f"{kind}: {', '.join(found)}" for kind, found in sorted(names.items()))

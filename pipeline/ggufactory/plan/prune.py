"""Leaving whole layers out, as llama-quantize's --prune-layers does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ggufactory.architectures.model import Model, OutputTensor

_BLOCK = re.compile(r"(blk\.)(\d+)(\.)")


def prune(model: Model, layers: Sequence[int]) -> tuple[tuple[OutputTensor, ...], Mapping[str, str]]:
    """The tensors that stay, later blocks moved up, and each one's name before.

    Importance is looked up under the name before.
    """
    if not layers:
        return model.tensors, {t.name: t.name for t in model.tensors}
    blocks = sorted({int(match[2]) for t in model.tensors if (match := _BLOCK.search(t.name))} - set(layers))
    moved = {old: new for new, old in enumerate(blocks)}
    kept: list[OutputTensor] = []
    before: dict[str, str] = {}
    for tensor in model.tensors:
        match = _BLOCK.search(tensor.name)
        if match and int(match[2]) not in moved:
            continue
        name = _BLOCK.sub(rf"\g<1>{moved[int(match[2])]}\g<3>", tensor.name, count=1) if match else tensor.name
        kept.append(replace(tensor, name=name))
        before[name] = tensor.name
    return tuple(kept), before


def block_count(tensors: Sequence[OutputTensor]) -> int:
    """Blocks that are left."""
    return len({match[2] for t in tensors if (match := _BLOCK.search(t.name))})

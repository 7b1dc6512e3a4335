"""What `ggufactory inspect` shows of a checkpoint."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from ggufactory.checkpoint.checkpoint import Checkpoint, SourceTensor
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError


@dataclass(frozen=True, slots=True)
class Totals:
    """Of a set of tensors. A parameter is one element of a tensor, as its dtype counts them."""

    tensors: int
    parameters: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class CheckpointSummary:
    name: str
    uri: str
    architectures: tuple[str, ...]
    """From config.json, such as "LlamaForCausalLM"."""
    files: int
    """Files that hold tensors."""
    file_bytes: int
    total: Totals
    dtypes: tuple[tuple[str, Totals], ...]
    """By safetensors' word, the one with the most bytes first."""
    largest: tuple[SourceTensor, ...]


def summarize(checkpoint: Checkpoint, *, largest: int = 5) -> CheckpointSummary:
    """Counts and sizes from the headers; InputError when config.json is not valid."""
    by_dtype: dict[str, list[SourceTensor]] = defaultdict(list)
    for tensor in checkpoint.tensors.values():
        by_dtype[tensor.dtype].append(tensor)
    dtypes = [(dtype, _totals(tensors)) for dtype, tensors in by_dtype.items()]
    weight_files = {tensor.file for tensor in checkpoint.tensors.values()}
    return CheckpointSummary(
        name=checkpoint.name,
        uri=checkpoint.store.uri,
        architectures=_architectures(checkpoint),
        files=len(weight_files),
        file_bytes=sum(checkpoint.files[file].size for file in weight_files),
        total=_totals(checkpoint.tensors.values()),
        dtypes=tuple(sorted(dtypes, key=lambda item: (-item[1].nbytes, item[0]))),
        largest=tuple(sorted(checkpoint.tensors.values(), key=lambda t: (-t.nbytes, t.name))[:largest]),
    )


def _totals(tensors: Iterable[SourceTensor]) -> Totals:
    sizes = [(prod(tensor.shape), tensor.nbytes) for tensor in tensors]
    return Totals(len(sizes), sum(count for count, _ in sizes), sum(nbytes for _, nbytes in sizes))


def _architectures(checkpoint: Checkpoint) -> tuple[str, ...]:
    config = checkpoint.read_json("config.json") or {}
    names = config.get("architectures") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"config.json: architectures must be a list of names, but is {clip(names)}")
    return tuple(names)

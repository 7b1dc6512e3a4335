"""From the checkpoint's tensors to the output's, by a family's table of names, shapes and reorderings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ggufactory.architectures.converted_type import converted_type
from ggufactory.architectures.faults import Faults, listed
from ggufactory.architectures.model import OutputTensor, RowMap
from ggufactory.architectures.row_maps import RopePermutation
from ggufactory.checkpoint.checkpoint import SourceTensor
from ggufactory.checkpoint.rows import StoredRows

SOURCE_DTYPES = ("BF16", "F16", "F32")
DROPPED_SUFFIXES = (".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq")
"""Buffers that old checkpoints hold and no model needs (`prepare_tensors` of conversion/base.py)."""
_BLOCK = "{}"


@dataclass(frozen=True, slots=True)
class TensorRule:
    """One row of a family's table. {} in the names stands for the number of the block."""

    source: str
    name: str
    shape: tuple[str, ...]
    """Names of sizes, rows first."""
    optional: bool = False
    may_have_bias: bool = False
    """For a name that ends in ".weight": a ".bias" beside it, as long as the weight has rows, is kept."""
    rope_heads: str | None = None
    """The size that counts the heads whose rows are to be brought into ggml's order."""

    def bias(self) -> TensorRule:
        return replace(
            self,
            source=_bias_name(self.source),
            name=_bias_name(self.name),
            shape=self.shape[:1],
            optional=True,
            may_have_bias=False,
        )


def _bias_name(weight: str) -> str:
    return weight.removesuffix(".weight") + ".bias"


def output_tensors(
    tensors: Mapping[str, SourceTensor],
    rules: Sequence[TensorRule],
    sizes: Mapping[str, int],
    block_count: int,
) -> tuple[OutputTensor, ...]:
    """The converter's tensors, in its order: that of `tensors`.

    PlanError that lists every fault: tensors that no rule takes, tensors that are missing, shapes that
    are not what config.json says, dtypes that are not supported.
    """
    by_source = {rule.source: rule for rule in (*rules, *(r.bias() for r in rules if r.may_have_bias))}
    faults = Faults()
    outputs, unknown = [], []
    for source in tensors.values():
        if source.name.endswith(DROPPED_SUFFIXES):
            continue
        pattern, block = _pattern_of(source.name)
        rule = by_source.get(pattern)
        if rule is None or (block is not None and block >= block_count):
            unknown.append(source.name)
            continue
        if (fault := _fault(source, rule, sizes)) is not None:
            faults.add(fault)
            continue
        outputs.append(_output(source, rule, sizes, block))
    if unknown:
        faults.add(
            f"{len(unknown)} tensors that this architecture of {block_count} layers does not have: {listed(unknown)}"
        )
    missing = [name for name in _required(by_source.values(), block_count) if name not in tensors]
    if missing:
        faults.add(f"{len(missing)} tensors are missing: {listed(missing)}")
    faults.raise_any()
    return tuple(outputs)


def _pattern_of(name: str) -> tuple[str, int | None]:
    """The name with {} for its first number, and that number."""
    parts = name.split(".")
    for index, part in enumerate(parts):
        if part.isascii() and part.isdecimal():
            # "01" is no name that a checkpoint uses, and would stand for the same block as "1".
            if len(part) > 9 or str(int(part)) != part:
                break
            return ".".join((*parts[:index], _BLOCK, *parts[index + 1 :])), int(part)
    return name, None


def _required(rules: Iterable[TensorRule], block_count: int) -> list[str]:
    names: list[str] = []
    for rule in rules:
        if rule.optional:
            continue
        if _BLOCK in rule.source:
            names.extend(rule.source.replace(_BLOCK, str(block)) for block in range(block_count))
        else:
            names.append(rule.source)
    return names


def _fault(source: SourceTensor, rule: TensorRule, sizes: Mapping[str, int]) -> str | None:
    wanted = tuple(sizes[size] for size in rule.shape)
    if source.shape != wanted:
        return f"tensor {source.name} has the shape {list(source.shape)}, but config.json says {list(wanted)}"
    if source.dtype not in SOURCE_DTYPES:
        return f"tensor {source.name} is stored as {source.dtype}; supported are {', '.join(SOURCE_DTYPES)}"
    return None


def _output(source: SourceTensor, rule: TensorRule, sizes: Mapping[str, int], block: int | None) -> OutputTensor:
    rows, columns = source.shape if len(source.shape) == 2 else (1, source.shape[0])
    row_map: RowMap | None = None
    if rule.rope_heads is not None:
        head_rows = source.shape[0] // sizes[rule.rope_heads]
        if len(source.shape) == 2:
            row_map = RopePermutation(head_rows)
        else:
            rows, columns = columns, 1
            row_map = RopePermutation(head_rows, pieces=rows)
    return OutputTensor(
        name=rule.name if block is None else rule.name.replace(_BLOCK, str(block)),
        shape=source.shape,
        converted_type=converted_type(rule.name, len(source.shape)),
        sources=(StoredRows(source.name, source.file, source.offset, source.dtype, rows, columns),),
        row_map=row_map,
    )

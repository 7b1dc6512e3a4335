"""From the checkpoint's tensors to the output's, by a family's table of names, shapes and transforms."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from ggufactory.architectures.converted_type import converted_type
from ggufactory.architectures.faults import Faults, listed
from ggufactory.architectures.model import OutputTensor
from ggufactory.architectures.transforms import AsIs, Sizes, Transform
from ggufactory.architectures.value_maps import in_precision
from ggufactory.checkpoint.weight_tensor import WeightTensor

BLOCK = "{}"
EXPERT = "{expert}"
EVERY_LAYER = "every"

MOST_MISSING = 300
"""Tensors of one rule and block that are told; an ordinary mixture has fewer experts, or none is missing."""
MOST_MISSING_IN_ALL = 100_000
"""With more the rest is not looked for: config.json says numbers that no model has."""

Layers = Mapping[str, Collection[int]]
"""Sets of blocks by the name that rules use; `EVERY_LAYER` is all of them."""


@dataclass(frozen=True, slots=True)
class TensorRule:
    """One row of a family's table: a tensor of the checkpoint, or one per expert, and what becomes of it.

    {} in the names stands for the number of the block, {expert} in `source` for an expert's: all of them
    are stacked. Rules with the same `name` are alternatives: a checkpoint follows one of them.
    """

    source: str
    name: str
    shape: tuple[str, ...]
    """Names of sizes, rows first, of each tensor in the checkpoint."""
    transform: Transform = AsIs()  # noqa: RUF009 - frozen, and nothing in it
    optional: bool = False
    may_have_bias: bool = False
    """For a name that ends in ".weight": a ".bias" beside it, as long as the weight has rows, is kept; beside
    a vector, as long as that."""
    layers: str = EVERY_LAYER
    """Of which blocks."""
    experts: str = "experts"
    """The size that counts the experts."""
    value_map: str | None = None
    """What is done to each number of the weight: a name in `VALUE_MAPS`."""

    def with_bias(self) -> Iterator[TensorRule]:
        yield self
        if self.may_have_bias:
            yield replace(
                self,
                source=_bias_name(self.source),
                name=_bias_name(self.name),
                shape=(*self.shape[:-2], self.shape[-2]) if len(self.shape) > 1 else self.shape,
                transform=self.transform.for_bias(),
                optional=True,
                may_have_bias=False,
                value_map=None,
            )


def output_tensors(
    tensors: Mapping[str, WeightTensor],
    rules: Sequence[TensorRule],
    sizes: Sizes,
    layers: Layers,
    *,
    exact: bool = False,
) -> tuple[OutputTensor, ...]:
    """The converter's tensors, in its order: that of the last source of each.

    `exact`: what BF16 would round is kept in single precision. PlanError that lists every fault: tensors
    that no rule takes, tensors that are missing, shapes that are not what config.json says, types that
    are not supported.
    """
    matching = _Matching(tensors, sizes, exact)
    every_rule = [rule for given in rules for rule in given.with_bias()]
    by_name = sorted(enumerate(every_rule), key=lambda item: (item[1].name, item[1].layers, item[0]))
    for (_, which), group in groupby(by_name, key=lambda item: (item[1].name, item[1].layers)):
        alternatives = [rule for _, rule in group]
        for block in sorted(layers[which]) if BLOCK in alternatives[0].name else (None,):
            matching.match(alternatives, block)
    return matching.outputs(len(layers[EVERY_LAYER]))


class _Matching:
    """The rules that were matched so far, and what is wrong with them."""

    def __init__(self, tensors: Mapping[str, WeightTensor], sizes: Sizes, exact: bool) -> None:
        self._tensors = tensors
        self._place = {name: place for place, name in enumerate(tensors)}
        self._sizes = sizes
        self._exact = exact
        self._used: set[str] = set()
        self._made: list[tuple[int, OutputTensor]] = []
        self._missing: list[str] = []
        self._more_missing = False
        self._faults = Faults()

    def match(self, alternatives: Sequence[TensorRule], block: int | None) -> None:
        """The one of the rules that the checkpoint follows for this block."""
        if len(self._missing) > MOST_MISSING_IN_ALL:
            self._more_missing = True
            return
        for rule in alternatives:
            found, missing = self._look_up(rule, block)
            if found:
                self._missing += missing
                if not missing:
                    self._make(rule, block, found)
                self._used.update(found)
                return
        if not any(rule.optional for rule in alternatives):
            self._missing += self._look_up(alternatives[0], block)[1]

    def outputs(self, block_count: int) -> tuple[OutputTensor, ...]:
        unknown = [name for name in self._tensors if name not in self._used]
        if unknown and len(self._missing) <= MOST_MISSING_IN_ALL:
            has = f"this architecture of {block_count} layers does not have"
            self._faults.add(f"{len(unknown)} tensors that {has}: {listed(unknown)}")
        if self._missing:
            missing = sorted(self._missing)
            number = f"more than {len(missing)}" if self._more_missing else str(len(missing))
            self._faults.add(f"{number} tensors are missing: {listed(missing)}")
        self._faults.raise_any()
        return tuple(tensor for _, tensor in sorted(self._made, key=lambda made: made[0]))

    def _look_up(self, rule: TensorRule, block: int | None) -> tuple[list[str], list[str]]:
        """The names of the rule's tensors that are there, and of those that are not: of the experts that a
        hostile config.json says there are, no more than make the case."""
        name = rule.source if block is None else rule.source.replace(BLOCK, str(block))
        experts = range(self._sizes[rule.experts]) if EXPERT in name else range(1)
        found: list[str] = []
        missing: list[str] = []
        for expert in experts:
            source = name.replace(EXPERT, str(expert))
            (found if source in self._tensors else missing).append(source)
            if len(missing) > MOST_MISSING:
                missing.pop()
                self._more_missing = True
                break
        return found, missing

    def _make(self, rule: TensorRule, block: int | None, names: Sequence[str]) -> None:
        sources = [self._tensors[name] for name in names]
        wanted = tuple(self._sizes[size] for size in rule.shape)
        faults = [fault for source in sources if (fault := _fault(source, wanted)) is not None]
        for fault in faults:
            self._faults.add(fault)
        if faults:
            return
        placed = rule.transform.place(sources, self._sizes)
        kind = converted_type(rule.name, len(placed.shape))
        given = {source.dtype for source in placed.sources}
        if kind == "BF16" and len(given) == 1 and not given <= {"BF16", "F16", "F32"}:
            (kind,) = given  # re-packed without a loss
        elif kind == "BF16" and self._exact and given != {"BF16"}:
            kind = "F32"
        output = OutputTensor(
            name=rule.name if block is None else rule.name.replace(BLOCK, str(block)),
            shape=placed.shape,
            converted_type=kind,
            sources=placed.sources,
            row_map=placed.row_map,
            value_map=rule.value_map and in_precision(rule.value_map, given),
        )
        self._made.append((max(self._place[name] for name in names), output))


def _bias_name(weight: str) -> str:
    return weight.removesuffix(".weight") + ".bias"


def _fault(source: WeightTensor, wanted: tuple[int, ...]) -> str | None:
    if source.shape != wanted:
        return f"tensor {source.name} has the shape {list(source.shape)}, but config.json says {list(wanted)}"
    if source.source is None:
        return f"tensor {source.name} is stored as {source.dtype}; supported are BF16, F16, F32"
    return None

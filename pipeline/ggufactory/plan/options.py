"""llama-quantize's options for one file, with its meaning.

Source: llama.cpp, `tools/quantize/quantize.cpp` and `llama_tensor_get_type` in `src/llama-quant.cpp`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace

from ggufactory.container.metadata import KeyValue
from ggufactory.errors import InputError, did_you_mean
from ggufactory_kernels.types import TENSOR_TYPES


@dataclass(frozen=True, slots=True)
class Options:
    """What differs from the file type's own recipe. InputError on construction for what cannot be meant."""

    tensor_types: tuple[tuple[str, str], ...] = ()
    """(regular expression, tensor type): the first that is found in a tensor's name decides, in place of
    the mix. Only where the file type is a mix."""
    output_type: str | None = None
    token_embedding_type: str | None = None
    pure: bool = False
    """No mix: every tensor takes the base type."""
    leave_output: bool = False
    """`output.weight` keeps the type that it came with."""
    include_importance: tuple[str, ...] = ()
    """Use importance only for tensors whose name holds one of these."""
    exclude_importance: tuple[str, ...] = ()
    """Do not use importance for tensors whose name holds one of these."""
    metadata: tuple[KeyValue, ...] = ()
    """Keys to set, at the end of the header."""

    def __post_init__(self) -> None:
        for pattern, kind in self.tensor_types:
            _check_type("tensor_types", kind)
            try:
                re.compile(pattern)
            except re.error as error:
                raise InputError(f"tensor_types: {pattern!r} is no regular expression: {error}") from error
        for name in ("output_type", "token_embedding_type"):
            kind = getattr(self, name)
            if kind is not None:
                _check_type(name, kind)
        if self.include_importance and self.exclude_importance:
            raise InputError("include_importance and exclude_importance cannot be used together")

    def over(self, general: Options) -> Options:
        """These options where they are given, `general` elsewhere; own tensor types are tried first."""
        empty = Options()
        own = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != getattr(empty, f.name)}
        if "include_importance" in own or "exclude_importance" in own:
            own = {"include_importance": (), "exclude_importance": (), **own}
        own["tensor_types"] = self.tensor_types + general.tensor_types
        own["metadata"] = general.metadata + self.metadata
        return replace(general, **own)

    def pinned_type(self, name: str) -> str | None:
        """The type that a regular expression gives this tensor, if one does."""
        return next((kind for pattern, kind in self.tensor_types if re.search(pattern, name)), None)

    def weighs(self, entry: str) -> bool:
        """Whether this importance entry is used."""
        if self.include_importance:
            return any(part in entry for part in self.include_importance)
        return not any(part in entry for part in self.exclude_importance)


def _check_type(where: str, kind: str) -> None:
    if kind not in TENSOR_TYPES:
        raise InputError(f"{where}: unknown tensor type {kind!r}", fix=did_you_mean(kind, TENSOR_TYPES))


NO_OPTIONS = Options()

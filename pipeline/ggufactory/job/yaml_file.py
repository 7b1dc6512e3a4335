"""Reading the YAML of people: every fault by its line, and no field that silently goes over another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ggufactory.errors import InputError

_LIMIT = 4 << 20
"""Bytes; a catalogue of ten thousand models is smaller."""


def load_mapping(path: str, where: str) -> Mapping[Any, object]:
    """A file that holds a mapping, not yet looked into. InputError that begins with `where`."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(_LIMIT + 1)
    except OSError as error:
        raise InputError(f"{where} cannot be read: {error.strerror}") from error
    if len(data) > _LIMIT:
        raise InputError(f"{where}: wanted at most {_LIMIT:,} bytes, found more")
    try:
        loaded = yaml.load(data, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{where}{place}: {error.problem or error.context}") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{where} is not valid YAML: {reason}") from error
    if not isinstance(loaded, Mapping):
        found = "nothing" if loaded is None else type(loaded).__name__
        raise InputError(f"{where}: wanted fields such as `source:` and `ladder:`, found {found}")
    return loaded


class _Loader(yaml.SafeLoader):
    """Of two fields of one name YAML's own takes the last, and says nothing."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.nodes.Node]) -> yaml.nodes.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.nodes.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the field {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        return node

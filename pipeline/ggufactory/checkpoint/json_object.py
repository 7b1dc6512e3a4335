"""JSON from strangers: bounded before they are parsed, and one clear message for any fault."""

from __future__ import annotations

import json
import reprlib
from typing import Any

from ggufactory.errors import InputError


def parse_json_object(
    data: bytes, where: str, *, max_values: int = 8_000_000, unique_keys: bool = False
) -> dict[str, Any]:
    """The JSON object in `data`; `where` names the file in messages.

    `unique_keys` refuses repeated keys, of which Python's parser would keep the last without a word.
    """
    value = _parse(data, where, max_values, unique_keys)
    if not isinstance(value, dict):
        raise InputError(f"{where} must hold a JSON object, but holds {clip(value)}")
    return value


def parse_json_array(data: bytes, where: str, *, max_values: int = 10_000) -> list[Any]:
    """The JSON array in `data`, as of `parse_json_object`."""
    value = _parse(data, where, max_values, unique_keys=False)
    if not isinstance(value, list):
        raise InputError(f"{where} must hold a JSON array, but holds {clip(value)}")
    return value


def _parse(data: bytes, where: str, max_values: int, unique_keys: bool) -> object:
    """Values cost up to a hundred times their text in memory ("[[],[],…"), so their number is bounded
    before parsing: each follows a comma or an opening bracket."""
    values = data.count(b",") + data.count(b"[") + data.count(b"{")
    if values > max_values:
        raise InputError(f"{where} holds {values:,} JSON values, more than the {max_values:,} allowed")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise InputError(f"{where} holds the key {clip(key)} twice", fix="The file is damaged")
            found[key] = value
        return found

    try:
        value: object = json.loads(data.decode("utf-8"), object_pairs_hook=unique if unique_keys else None)
        if b"\\ud" in data.lower():
            # Half of a surrogate pair parses, and fails only where the text is written or printed.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise InputError(f"{where} is not valid JSON: nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{where} is not valid JSON: {error}") from None
    return value


def clip(value: object, length: int = 80) -> str:
    """`value` as it is shown in a message: in ASCII, control characters escaped, never long."""
    if isinstance(value, str):
        return ascii(value[:length]) + "..." * (len(value) > length)
    shown = reprlib.repr(value).encode("ascii", "backslashreplace").decode()
    return shown[:length] + "..." * (len(shown) > length)

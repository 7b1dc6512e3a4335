"""What a store accepts as an object's name and as its metadata; the same for folders and S3."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ggufactory.errors import InputError

MAX_NAME_BYTES = 1024  # S3's limit for a key
MAX_METADATA_BYTES = 2048  # S3's limit for the metadata of one object

_METADATA_KEY = re.compile(r"[a-z0-9][a-z0-9-]*")
_METADATA_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?|")


def check_name(name: str, store: str) -> None:
    """InputError unless `name` is relative, stays inside `store` and can be a key and a file.

    Names come out of checkpoints (a shard index lists file names), so they are a stranger's input.
    """
    if not name:
        fault = "it is empty"
    elif any(part in ("", ".", "..") for part in name.split("/")):
        fault = "it would leave the store, or has an empty part"
    elif any(character < " " or character == "\x7f" for character in name):
        fault = "it holds a control character"
    elif any("\ud800" <= character <= "\udfff" for character in name):
        fault = "it is not valid Unicode"
    elif len(name.encode()) > MAX_NAME_BYTES:
        fault = f"it is longer than {MAX_NAME_BYTES} bytes"
    else:
        return
    shown = name if len(name) <= 200 else name[:200] + "…"
    raise InputError(f"{store}: {shown!r} cannot be the name of an object: {fault}")


def check_metadata(name: str, metadata: Mapping[str, str]) -> None:
    """InputError unless every store gives `metadata` back as it is: S3 lowers the case of keys, trims
    values, and allows 2 KiB of ASCII."""
    for key, value in metadata.items():
        if not _METADATA_KEY.fullmatch(key) or not _METADATA_VALUE.fullmatch(value):
            raise InputError(
                f"{name}: metadata {key!r} = {value!r} cannot be stored: keys are of a-z, 0-9 and '-', "
                "values of printable ASCII without outer spaces"
            )
    total = sum(len(key) + len(value) for key, value in metadata.items())
    if total > MAX_METADATA_BYTES:
        raise InputError(f"{name}: its metadata has {total} bytes, of which {MAX_METADATA_BYTES} are allowed")

"""Importance matrix files where they lie, in a folder or on S3: read whole, written whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from ggufactory.calibrate.imatrix_gguf import encode_gguf, parse_gguf
from ggufactory.calibrate.imatrix_legacy import encode_legacy, parse_legacy
from ggufactory.calibrate.sums import ImatrixFile
from ggufactory.container.header import MAGIC
from ggufactory.errors import InputError
from ggufactory.storage import ObjectInfo, Store, open_file

MAX_FILE_BYTES = 8 << 30
"""Matrices of the largest published mixtures of experts take 1 to 2 GB."""
PART_BYTES = 64 << 20
"""What is read or written at once; larger files are uploaded in parts of this size."""

_ENCODERS: dict[str, Callable[[ImatrixFile], bytearray]] = {".gguf": encode_gguf, ".dat": encode_legacy}


@dataclass(frozen=True, slots=True)
class ReadImatrix:
    """A file that was read. `name` is its base name; `sha256` that of the whole file, in hexadecimal."""

    name: str
    sha256: str
    content: ImatrixFile


def read_imatrix_file(uri: str) -> ReadImatrix:
    """Read a file of either format, local, `s3://bucket/key` or `hf://org/name/file`, as it is: sums and counts.

    InputError, naming the entry, for a file that is damaged or holds values that cannot be used.
    """
    name, data = _read_whole(uri)
    parse = parse_gguf if data[: len(MAGIC)] == MAGIC else parse_legacy
    return ReadImatrix(name, hashlib.sha256(data).hexdigest(), parse(data, name))


def write_imatrix(uri: str, file: ImatrixFile) -> ObjectInfo:
    """Write `file` in the format that the suffix of `uri` names, replacing what is there; it appears whole
    or not at all. `file` is of sums of tokens, as `merge` makes them."""
    check_format(uri)
    encode = next(encoder for suffix, encoder in _ENCODERS.items() if uri.endswith(suffix))
    store, name = open_file(uri)
    data = encode(file)
    if len(data) <= PART_BYTES:
        return _put(store, name, bytes(data))
    return _upload(store, name, data)


def check_format(uri: str) -> None:
    """InputError unless the suffix of `uri` names a format."""
    if not uri.endswith(tuple(_ENCODERS)):
        raise InputError(
            f"{uri}: the name of an importance matrix file ends in {' or '.join(_ENCODERS)}",
            fix="The suffix says which format to write",
        )


def _read_whole(uri: str) -> tuple[str, bytearray]:
    store, name = open_file(uri)
    info = store.stat(name)
    if info is None:
        raise InputError(f"there is no importance matrix file {uri}")
    if info.size > MAX_FILE_BYTES:
        raise InputError(f"{uri} is {info.size:,} bytes long; importance matrix files have at most {MAX_FILE_BYTES:,}")
    data = bytearray(info.size)
    for start in range(0, info.size, PART_BYTES):
        store.read_into(name, start, memoryview(data)[start : start + PART_BYTES], etag=info.etag)
    return name, data


def _put(store: Store, name: str, data: bytes) -> ObjectInfo:
    written = store.put(name, data)
    assert written is not None, "only a conditional write can find the object there"
    return written


def _upload(store: Store, name: str, data: bytearray) -> ObjectInfo:
    upload = store.create_upload(name, len(data), {})
    view = memoryview(data)
    try:
        parts = [
            store.upload_part(upload, number, start, view[start : start + PART_BYTES])
            for number, start in enumerate(range(0, len(data), PART_BYTES), start=1)
        ]
        return store.complete(upload, parts)
    except BaseException:
        store.abort(upload)
        raise

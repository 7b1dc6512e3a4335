"""Opening a checkpoint: list the folder, read the headers of its weight files, check that they agree.

A source whose name ends in `.gguf` is a file of that kind; any other is a folder of safetensors files.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from ggufactory.checkpoint.checkpoint import Checkpoint, SourceTensor
from ggufactory.checkpoint.gguf_checkpoint import GgufCheckpoint, open_gguf_checkpoint
from ggufactory.checkpoint.gguf_names import SUFFIX
from ggufactory.checkpoint.json_object import clip
from ggufactory.checkpoint.safetensors_header import LENGTH_BYTES, header_length, parse_header
from ggufactory.checkpoint.weight_files import INDEX_NAME, check_index, parse_index, weight_files
from ggufactory.errors import InputError
from ggufactory.storage import folder_name, open_store
from ggufactory.storage.protocol import ObjectInfo, Store

FIRST_READ_BYTES = 128 << 10
"""Of each file in one request: holds the whole header of nearly every published checkpoint."""
MAX_ALL_HEADERS_BYTES = 128 << 20
"""Of all files together; the largest published checkpoints have some 20 MB."""
CONCURRENT_READS = 32


def open_source(uri: str) -> Checkpoint | GgufCheckpoint:
    """What `uri` names, opened by its headers alone. Errors as of `open_checkpoint`."""
    return open_gguf_checkpoint(uri) if uri.endswith(SUFFIX) else open_checkpoint(uri)


def open_checkpoint(uri: str) -> Checkpoint:
    """The Hugging Face checkpoint in a folder, on S3 or on the hub, opened by its headers alone.

    InputError when it is not a complete safetensors checkpoint with a config.json; UnavailableError
    when the store cannot be reached.
    """
    store = open_store(uri)
    name = folder_name(store)
    checkpoint = Checkpoint(store, name, {}, _list_folder(store))
    index = checkpoint.read_file(INDEX_NAME, limit=MAX_ALL_HEADERS_BYTES)
    weight_map = None if index is None else parse_index(index)
    names = weight_files(store.uri, checkpoint.files, weight_map)
    if "config.json" not in checkpoint.files:
        raise InputError(f"{store.uri} has no config.json", fix="Give the folder of a Hugging Face checkpoint")
    tensors = _read_tensors(store, [checkpoint.files[name] for name in names])
    if weight_map:
        check_index(weight_map, tensors)
    return Checkpoint(store, name, tensors, checkpoint.files, checkpoint.read)


def _list_folder(store: Store) -> Mapping[str, ObjectInfo]:
    listing = store.list()
    files = {info.name: info for info in listing if "/" not in info.name}
    if files:
        return files
    if listing:
        raise InputError(
            f"{store.uri} has no files of its own, only folders (such as {clip(listing[0].name)})",
            fix="Give the folder that holds config.json",
        )
    parent, _, last = store.uri.rstrip("/").rpartition("/")
    if parent and not parent.endswith(":/") and open_store(parent).stat(last):
        raise InputError(f"{store.uri} is a file", fix="Give the folder of a checkpoint")
    raise InputError(f"{store.uri} is empty, or there is no such folder")


def _read_tensors(store: Store, files: list[ObjectInfo]) -> dict[str, SourceTensor]:
    """The tensors of all `files`, in the order of the files, in each by name."""
    tensors: dict[str, SourceTensor] = {}
    with ThreadPoolExecutor(min(CONCURRENT_READS, len(files))) as pool:
        beginnings = list(pool.map(partial(_read_beginning, store), files))
        total = sum(length for length, _ in beginnings)
        if total > MAX_ALL_HEADERS_BYTES:
            raise InputError(
                f"{store.uri}: the headers of its {len(files)} files take {total:,} bytes, more than the "
                f"{MAX_ALL_HEADERS_BYTES:,} allowed"
            )
        headers = pool.map(partial(_read_rest, store), files, beginnings)
        for file, header in zip(files, headers, strict=True):
            for tensor in parse_header(header, file.name, file.size):
                if other := tensors.get(tensor.name):
                    raise InputError(f"tensor {clip(tensor.name)} is both in {other.file} and in {tensor.file}")
                tensors[tensor.name] = tensor
    if not tensors:
        raise InputError(f"{store.uri}: its {len(files)} safetensors files hold no tensors")
    return tensors


def _read_beginning(store: Store, file: ObjectInfo) -> tuple[int, bytes]:
    """The header's length, and as much of the header as the first read brings."""
    buffer = bytearray(min(FIRST_READ_BYTES, file.size))
    store.read_into(file.name, 0, memoryview(buffer), etag=file.etag)
    length = header_length(bytes(buffer[:LENGTH_BYTES]), file.name, file.size)
    return length, bytes(buffer[LENGTH_BYTES : LENGTH_BYTES + length])


def _read_rest(store: Store, file: ObjectInfo, beginning: tuple[int, bytes]) -> bytes:
    length, header = beginning
    if len(header) == length:
        return header
    rest = bytearray(length - len(header))
    store.read_into(file.name, LENGTH_BYTES + len(header), memoryview(rest), etag=file.etag)
    return header + bytes(rest)

"""A GGUF file as a checkpoint, single or split over several files, read by its headers alone.

As `llama_model_loader` of llama.cpp finds and checks the files of a split: the first names how many
there are, every one its own number, and together they hold as many tensors as the first says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from ggufactory.checkpoint.gguf_names import model_name, part_names
from ggufactory.checkpoint.json_object import clip
from ggufactory.checkpoint.weight_files import listed
from ggufactory.container.decode import MAX_TENSORS, decode_header
from ggufactory.container.header import ALIGNMENT_KEY, DEFAULT_ALIGNMENT, Header
from ggufactory.container.metadata import KeyValue
from ggufactory.errors import InputError
from ggufactory.storage import open_file
from ggufactory.storage.protocol import ObjectInfo, Store
from ggufactory_kernels.types import TENSOR_TYPES

SPLIT_NUMBER, SPLIT_COUNT, SPLIT_TENSORS = "split.no", "split.count", "split.tensors.count"
MAX_PARTS = 1024
"""The largest published models are split into some hundred files."""
_CONCURRENT_HEADERS = 4
"""Each may take as much memory as the largest header that is read."""
_TYPE_NAMES = {kind.number: kind.name for kind in TENSOR_TYPES.values()}


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """A tensor and where its bytes lie. `ne` as ggml orders it: columns first."""

    name: str
    type: str
    ne: tuple[int, ...]
    file: str
    offset: int
    """Of its first byte, from the start of `file`."""


@dataclass(frozen=True)
class GgufCheckpoint:
    """A model in GGUF: what its headers say."""

    store: Store
    """Of the folder that holds the file or files."""
    name: str
    """The file's name without what `model_name` leaves out."""
    metadata: tuple[KeyValue, ...]
    """In file order, without the keys of a split."""
    tensors: tuple[GgufTensor, ...]
    """In file order."""
    files: Mapping[str, ObjectInfo]
    """The file, or the files of the split in order, by name, pinned by tag at opening."""


def open_gguf_checkpoint(uri: str) -> GgufCheckpoint:
    """The model in a `.gguf` file, local, on S3 or on the hub; of a split, give the first file.

    InputError when a file is missing, damaged or of another split, or holds what no tool can use.
    """
    store, name = open_file(uri)
    info = store.stat(name)
    if info is None:
        raise InputError(f"there is no file {name} in {store.uri}")
    first = read_header(store, info)
    infos = [info, *_other_parts(store, name, first)]
    with ThreadPoolExecutor(_CONCURRENT_HEADERS) as pool:
        headers = [first, *pool.map(partial(_read_part, store), range(1, len(infos)), infos[1:])]
    tensors = [t for info, header in zip(infos, headers, strict=True) for t in tensors_of(info.name, header)]
    _check_metadata(name, first)
    _check_tensors(name, tensors, _number(name, first, SPLIT_TENSORS) if len(infos) > 1 else len(tensors))
    return GgufCheckpoint(
        store=store,
        name=model_name(name),
        metadata=tuple(kv for kv in first.metadata if kv.key not in (SPLIT_NUMBER, SPLIT_COUNT, SPLIT_TENSORS)),
        tensors=tuple(tensors),
        files={info.name: info for info in infos},
    )


def read_header(store: Store, info: ObjectInfo) -> Header:
    """The header of one file; SourceChangedError when it is no longer the one of `info`."""

    def read(offset: int, length: int) -> bytes:
        buffer = bytearray(length)
        store.read_into(info.name, offset, memoryview(buffer), etag=info.etag)
        return bytes(buffer)

    return decode_header(read, info.size, info.name)


def begins_split(file: str, header: Header) -> bool:
    """Whether the file is the first of several."""
    return _number(file, header, SPLIT_COUNT, 1) > 1 and _number(file, header, SPLIT_NUMBER, 0) == 0


def tensors_of(file: str, header: Header) -> list[GgufTensor]:
    """The tensors that the file itself holds, in its order."""
    return [GgufTensor(t.name, _TYPE_NAMES[t.type], t.ne, file, header.data_offset + t.offset) for t in header.tensors]


def _other_parts(store: Store, name: str, first: Header) -> list[ObjectInfo]:
    count = _number(name, first, SPLIT_COUNT, 1)
    if count <= 1:
        return []
    if count > MAX_PARTS:
        raise InputError(f"{name}: {SPLIT_COUNT} is {count:,}, at most {MAX_PARTS:,} files are read")
    names = part_names(name, count)
    if (number := _number(name, first, SPLIT_NUMBER)) != 0:
        raise InputError(f"{name} is file {number + 1} of a split of {count}", fix=f"Give the first: {names[0]}")
    if name != names[0]:
        raise InputError(f"{name} is the first file of a split of {count}, so its name should be {names[0]}")
    with ThreadPoolExecutor(_CONCURRENT_HEADERS) as pool:
        found = list(pool.map(store.stat, names[1:]))
    if missing := [part for part, info in zip(names[1:], found, strict=True) if info is None]:
        raise InputError(f"{store.uri}: {listed(missing, 'file')} of the split not there", fix="Get the missing files")
    return [info for info in found if info is not None]


def _read_part(store: Store, number: int, info: ObjectInfo) -> Header:
    header = read_header(store, info)
    if (found := _number(info.name, header, SPLIT_NUMBER)) != number:
        raise InputError(f"{info.name}: {SPLIT_NUMBER} is {found}, wanted {number}", fix="Get the files again")
    return Header((), header.tensors, header.alignment, header.data_offset)


def _number(file: str, header: Header, key: str, default: int | None = None) -> int:
    value = next((kv.value for kv in header.metadata if kv.key == key), default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InputError(f"{file}: metadata key {key}: wanted a whole number, found {clip(value)}")
    return value


def _check_metadata(file: str, header: Header) -> None:
    if header.alignment != DEFAULT_ALIGNMENT:
        # llama-quantize copies the key, but pads by 32 all the same: what it writes cannot be read.
        raise InputError(
            f"{file}: {ALIGNMENT_KEY} is {header.alignment}; llama-quantize serves {DEFAULT_ALIGNMENT} alone",
            fix=f"Write the file again without {ALIGNMENT_KEY}",
        )
    for kv in header.metadata:
        if not kv.key.isprintable():
            raise InputError(f"{file}: the metadata key {clip(kv.key)} cannot be printed")


def _check_tensors(file: str, tensors: Sequence[GgufTensor], wanted: int) -> None:
    if not tensors:
        raise InputError(f"{file} holds no tensors")
    if len(tensors) != wanted or len(tensors) > MAX_TENSORS:
        raise InputError(f"{file}: {SPLIT_TENSORS} is {wanted:,}, but the files hold {len(tensors):,} tensors")
    files: dict[str, str] = {}
    for tensor in tensors:
        if tensor.name in files:
            raise InputError(f"tensor {clip(tensor.name)} is both in {files[tensor.name]} and in {tensor.file}")
        files[tensor.name] = tensor.file
        if not tensor.name.isprintable():
            raise InputError(f"{tensor.file}: the name of tensor {clip(tensor.name)} cannot be printed")
        if 0 in tensor.ne:
            raise InputError(f"{tensor.file}: tensor {clip(tensor.name)} is empty: its shape is {list(tensor.ne)}")

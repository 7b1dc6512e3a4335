"""The header of a safetensors file: validated as the format's specification asks, then believed.

A file is an 8-byte little-endian length, a JSON header of that length, and the tensors' data. See
https://github.com/huggingface/safetensors#format; the limits and the rules for offsets are those of
its `Metadata::validate`.
"""

from __future__ import annotations

from math import prod
from typing import Any

from ggufactory.checkpoint.checkpoint import SourceTensor
from ggufactory.checkpoint.json_object import clip, parse_json_object
from ggufactory.errors import InputError

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
MAX_HEADER_VALUES = 2_000_000
"""JSON values in one header: some 200,000 tensors."""
MAX_NAME_CHARACTERS = 512
MAX_DIMENSIONS = 8

DTYPE_BITS = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
"""Every dtype that the format knows, and the bits of one element."""

_DAMAGED = "The file is damaged; get it again"


def header_length(prefix: bytes, file: str, file_size: int) -> int:
    """Bytes of the JSON header that follows the 8 bytes that `prefix` begins with."""
    if len(prefix) < LENGTH_BYTES:
        raise InputError(f"{file} is only {file_size} bytes long: too short for a safetensors file", fix=_DAMAGED)
    length = int.from_bytes(prefix[:LENGTH_BYTES], "little")
    if length > file_size - LENGTH_BYTES:
        raise InputError(
            f"{file}: the header should be {length:,} bytes long, but the file has only {file_size:,}",
            fix="It is cut short, or not a safetensors file; get it again",
        )
    if length > MAX_HEADER_BYTES:
        raise InputError(
            f"{file}: the header is {length:,} bytes long; safetensors allows {MAX_HEADER_BYTES:,}",
            fix=_DAMAGED,
        )
    return length


def parse_header(header: bytes, file: str, file_size: int) -> list[SourceTensor]:
    """The tensors that the JSON `header` of `file` names, sorted by name.

    `file_size` is the whole file's, in bytes. InputError when the header breaks the format's rules or
    when its tensors do not cover the rest of the file exactly, so a file cut short is found here.
    """
    if header[:1] != b"{":
        raise InputError(f"{file}: the header does not begin with '{{'", fix="It is not a safetensors file")
    where = f"{file} (header)"
    entries = parse_json_object(header, where, max_values=MAX_HEADER_VALUES, unique_keys=True)
    _check_metadata(entries.pop("__metadata__", {}), file)
    data_start = LENGTH_BYTES + len(header)
    tensors = [_tensor(name, entry, file, data_start) for name, entry in entries.items()]
    _check_cover(tensors, file, data_start, file_size)
    return sorted(tensors, key=lambda tensor: tensor.name)


def _check_metadata(metadata: Any, file: str) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise InputError(f"{file}: __metadata__ must map strings to strings, but is {clip(metadata)}", fix=_DAMAGED)


def _tensor(name: str, entry: Any, file: str, data_start: int) -> SourceTensor:
    if not 0 < len(name) <= MAX_NAME_CHARACTERS or not name.isprintable():
        raise InputError(
            f"{file}: a tensor is named {clip(name)} ({len(name):,} characters)",
            fix=f"Names are 1 to {MAX_NAME_CHARACTERS} printable characters long",
        )
    where = f"{file}: tensor {clip(name)}"
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise InputError(f"{where} must have dtype, shape and data_offsets, but is {clip(entry)}", fix=_DAMAGED)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise InputError(f"{where} has the unknown dtype {clip(dtype)}", fix=f"Known: {', '.join(DTYPE_BITS)}")
    if not _are_sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise InputError(f"{where} has the shape {clip(shape)}", fix=f"Up to {MAX_DIMENSIONS} sizes are allowed")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise InputError(f"{where} has data_offsets {clip(offsets)}, which are not [begin, end]", fix=_DAMAGED)
    begin, end = offsets
    bits = prod(shape) * DTYPE_BITS[dtype]
    if bits != 8 * (end - begin):
        raise InputError(
            f"{where}: shape {clip(shape)} of {dtype} takes {-(-bits // 8):,} bytes, but data_offsets "
            f"{clip(offsets)} give it {end - begin:,}",
            fix=_DAMAGED,
        )
    return SourceTensor(name, dtype, tuple(shape), file, data_start + begin, end - begin)


def _are_sizes(value: Any) -> bool:
    """Whether `value` is a list of integers that fit in 63 bits and are not negative (nor booleans)."""
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 63 for item in value)


def _check_cover(tensors: list[SourceTensor], file: str, data_start: int, file_size: int) -> None:
    """The tensors follow each other without overlap or hole, up to the end of the file."""
    end = data_start
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.nbytes)):
        if tensor.offset != end:
            fault = "overlaps the tensor before it" if tensor.offset < end else "leaves a hole before it"
            raise InputError(
                f"{file}: tensor {clip(tensor.name)} {fault}: it begins at byte {tensor.offset:,} instead of {end:,}",
                fix=_DAMAGED,
            )
        end += tensor.nbytes
    if end != file_size:
        fault = "is cut short" if file_size < end else "holds bytes that belong to no tensor"
        raise InputError(
            f"{file} {fault}: its header describes {end:,} bytes, but it has {file_size:,}",
            fix="Get the file again",
        )

"""The header's rules, compared with the safetensors library on thousands of damaged headers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from ggufactory.checkpoint.safetensors_header import DTYPE_BITS, parse_header
from ggufactory.errors import InputError


def ours(file: bytes) -> bool:
    """Whether we accept this file."""
    length = int.from_bytes(file[:8], "little")
    try:
        parse_header(file[8 : 8 + length], "model.safetensors", len(file))
    except InputError as error:
        assert len(str(error)) < 600  # noqa: PT017
        return False
    return True


def theirs(file: bytes) -> bool:
    try:
        safetensors.deserialize(file)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError:
        return False
    return True


def build(header: dict[str, Any], data_bytes: int) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data_bytes)


def test_a_file_of_the_library() -> None:
    tensors: dict[str, np.ndarray[Any, Any]] = {
        "b": np.zeros((3, 4), np.float32),
        "a": np.zeros((5,), np.int8),
        "empty": np.zeros((0, 7), np.float16),
        "scalar": np.zeros((), np.float64),
    }
    file = safetensors.numpy.save(tensors, {"format": "pt"})
    length = int.from_bytes(file[:8], "little")
    parsed = parse_header(file[8 : 8 + length], "x", len(file))
    assert [(tensor.name, tensor.shape) for tensor in parsed] == [
        (name, tensors[name].shape) for name in sorted(tensors)
    ]
    assert all(tensor.nbytes == tensors[tensor.name].nbytes for tensor in parsed)
    assert sum(tensor.nbytes for tensor in parsed) + 8 + length == len(file)


def test_every_changed_byte_that_the_library_refuses_is_refused() -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "w": {"dtype": "F16", "shape": [2, 6], "data_offsets": [10, 34]},
        "v": {"dtype": "I8", "shape": [10], "data_offsets": [0, 10]},
    }
    file = build(header, 34)
    length = int.from_bytes(file[:8], "little")
    assert ours(file)
    assert theirs(file)
    refused = 0
    for position in range(8, 8 + length):
        for byte in b'\x00\n "[]{},:-.0159eAw\\\x80':
            changed = file[:position] + bytes([byte]) + file[position + 1 :]
            if not theirs(changed):
                refused += 1
                assert not ours(changed), changed
    assert refused > 1000


@pytest.mark.parametrize("dtype", DTYPE_BITS)
def test_every_dtype_has_the_librarys_size(dtype: str) -> None:
    """8 elements of any dtype are as many bytes as an element has bits."""
    for bits in (DTYPE_BITS[dtype], DTYPE_BITS[dtype] + 1):
        file = build({"w": {"dtype": dtype, "shape": [8], "data_offsets": [0, bits]}}, bits)
        assert ours(file) == theirs(file) == (bits == DTYPE_BITS[dtype])


def test_half_a_byte_is_refused() -> None:
    assert not ours(build({"w": {"dtype": "F4", "shape": [3], "data_offsets": [0, 1]}}, 1))
    assert not ours(build({"w": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}, 2))


def test_the_order_in_the_header_does_not_matter() -> None:
    entries = {
        "a": {"dtype": "U8", "shape": [3], "data_offsets": [2, 5]},
        "b": {"dtype": "U8", "shape": [0], "data_offsets": [2, 2]},
        "c": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]},
    }
    file = build(entries, 5)
    assert ours(file)
    assert theirs(file)
    tensors = parse_header(json.dumps(entries).encode(), "x", len(file))
    assert [tensor.name for tensor in tensors] == ["a", "b", "c"]


def test_true_is_not_a_size() -> None:
    assert not ours(build({"w": {"dtype": "U8", "shape": [True], "data_offsets": [0, 1]}}, 1))


def test_space_may_follow_the_object_but_not_precede_it() -> None:
    text = b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    for header, accepted in [(text, True), (text + b"   ", True), (b" " + text, False)]:
        file = len(header).to_bytes(8, "little") + header + b"\0"
        assert ours(file) == accepted


@pytest.mark.parametrize("name", ["", "a\nb", "a\x1b[2J", "a\u202eb", "\ud800", "x" * 513])
def test_names_that_could_not_be_shown(name: str) -> None:
    entry = {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}
    assert ours(build({"x" * 512: entry}, 1))
    assert not ours(build({name: entry}, 1))

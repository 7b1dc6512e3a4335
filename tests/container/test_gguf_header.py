"""GGUF headers both ways: the bytes of gguf-py's writer, read back by both readers; hostile files."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader, GGUFValueType, GGUFWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from ggufactory.container.decode import decode_header
from ggufactory.container.header import Header, TensorInfo, encode_header, padded
from ggufactory.container.metadata import KeyValue, ValueType
from ggufactory.container.reader import FETCH_BYTES
from ggufactory.errors import InputError

STRING, ARRAY, UINT32 = ValueType.STRING, ValueType.ARRAY, ValueType.UINT32
METADATA = (
    KeyValue("general.architecture", STRING, "llama"),
    KeyValue("general.name", STRING, "Ünïcode 🦙"),
    KeyValue("a.uint8", ValueType.UINT8, 255),
    KeyValue("a.int8", ValueType.INT8, -128),
    KeyValue("a.uint16", ValueType.UINT16, 65535),
    KeyValue("a.int16", ValueType.INT16, -32768),
    KeyValue("a.uint32", UINT32, 4294967295),
    KeyValue("a.int32", ValueType.INT32, -2147483648),
    KeyValue("a.uint64", ValueType.UINT64, 2**64 - 1),
    KeyValue("a.int64", ValueType.INT64, -(2**63)),
    KeyValue("a.float32", ValueType.FLOAT32, 0.5),
    KeyValue("a.float64", ValueType.FLOAT64, 1e300),
    KeyValue("a.bool", ValueType.BOOL, True),
    KeyValue("tokens", ARRAY, ("a", b"\xff\xfe", "", "Ġ"), STRING),
    KeyValue("scores", ARRAY, (-1.5, 0.0), ValueType.FLOAT32),
    KeyValue("types", ARRAY, (1, -2, 3), ValueType.INT32),
    KeyValue("flags", ARRAY, (True, False), ValueType.BOOL),
)
TENSORS = (TensorInfo("a.weight", (64, 3, 2), 0, 0), TensorInfo("b.bias", (5,), 30, 1536))
DATA_BYTES = 1536 + 10


def file_of(metadata: Sequence[KeyValue] = METADATA, tensors: Sequence[TensorInfo] = TENSORS, **options: int) -> bytes:
    return encode_header(metadata, tensors, **options) + bytes(DATA_BYTES)


def decode(data: bytes) -> Header:
    def read(offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= len(data), "reads stay inside the file"
        return data[offset : offset + length]

    return decode_header(read, len(data), "file.gguf")


def test_round_trip() -> None:
    header = decode(file_of())
    assert header == Header(METADATA, TENSORS, 32, len(encode_header(METADATA, TENSORS)))


def test_bytes_are_those_of_gguf_py(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "w.gguf", "llama")
    for entry in METADATA[1:]:
        value: Any = list(entry.value) if isinstance(entry.value, tuple) else entry.value
        item = None if entry.item_type is None else GGUFValueType(entry.item_type)
        writer.add_key_value(entry.key, value, GGUFValueType(entry.type), item)
    writer.add_tensor("a.weight", np.zeros((2, 3, 64), np.float32))
    writer.add_tensor("c.weight", np.zeros((1, 7), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tensors = (TENSORS[0], TensorInfo("c.weight", (7, 1), 1, 1536))
    # gguf-py keeps the trailing dimension of one that ggml drops: one number less, and one in the count.
    want = (tmp_path / "w.gguf").read_bytes()
    shape = struct.pack("<IQQ", 2, 7, 1)
    assert shape in want
    want = want.replace(shape, struct.pack("<IQ", 1, 7))
    got = encode_header(METADATA, tensors)
    assert got == want[: want.index(b"c.weight") + 8 + 4 + 8 + 4 + 8] + bytes(len(got) - got.index(b"c.weight") - 32)


def test_gguf_py_reads_it(tmp_path: Path) -> None:
    readable = tuple(e for e in METADATA if e.key != "tokens")
    (tmp_path / "x.gguf").write_bytes(file_of(readable))
    reader = GGUFReader(tmp_path / "x.gguf")
    for entry in readable:
        field = reader.get_field(entry.key)
        assert field is not None
        contents = field.contents()
        assert (tuple(contents) if isinstance(contents, list) else contents) == entry.value
        assert field.types[0] == entry.type
    assert [(t.name, tuple(int(n) for n in t.shape), int(t.tensor_type)) for t in reader.tensors] == [
        (t.name, t.ne, t.type) for t in TENSORS
    ]


def test_trailing_dimensions_of_one_are_dropped_as_ggml_does() -> None:
    tensors = [TensorInfo("a", (8, 4, 1, 1), 0, 0), TensorInfo("b", (1, 1), 0, 128), TensorInfo("c", (1, 3), 0, 160)]
    header = decode(encode_header((), tensors) + bytes(172))
    assert [t.ne for t in header.tensors] == [(8, 4), (1,), (1, 3)]


def test_alignment_is_taken_from_the_file() -> None:
    metadata = (KeyValue("general.alignment", UINT32, 64),)
    tensors = (TensorInfo("a", (3,), 0, 0), TensorInfo("b", (3,), 0, 64))
    header = decode(encode_header(metadata, tensors, 64) + bytes(76))
    assert (header.alignment, header.data_offset % 64, header.tensors) == (64, 0, tensors)


def test_long_headers_are_read_in_a_few_ranges() -> None:
    tokens = tuple(f"token {i}" for i in range(100_000))
    data = file_of((KeyValue("tokens", ARRAY, tokens, STRING),))
    ranges: list[tuple[int, int]] = []

    def read(offset: int, length: int) -> bytes:
        ranges.append((offset, length))
        return data[offset : offset + length]

    assert decode_header(read, len(data)).metadata[0].value == tokens
    assert len(ranges) <= len(data) // FETCH_BYTES + 2
    assert all(a + b == c for (a, b), (c, _) in pairwise(ranges)), "nothing is read twice"


def test_a_value_that_its_type_cannot_hold_is_refused() -> None:
    for value in (-1, 2**32, "x", 1.5):
        with pytest.raises(InputError, match=r"a\.key.*UINT32"):
            encode_header([KeyValue("a.key", UINT32, value)], ())


def test_a_name_that_ggml_would_cut_is_refused() -> None:
    encode_header((), [TensorInfo("x" * 63, (1,), 0, 0)])
    with pytest.raises(InputError, match="64 bytes"):
        encode_header((), [TensorInfo("x" * 64, (1,), 0, 0)])


def test_every_truncation_is_reported() -> None:
    data = file_of()
    for length in range(len(data)):
        with pytest.raises(InputError, match=r"ends too early"):
            decode(data[:length])


def patched(tensors: Sequence[TensorInfo], **changes: Any) -> bytes:
    """A file whose tensors are described as the encoder would not."""
    return file_of(
        METADATA[:1], [*tensors, TensorInfo(**({"name": "z", "ne": (1,), "type": 0, "offset": 0} | changes))]
    )


COUNTS = struct.pack("<QQ", len(TENSORS), len(METADATA))
TOKEN_COUNT = struct.pack("<IQ", STRING, 4)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "ends too early"),
        (b"PK\x03\x04" + bytes(100), "not a GGUF file"),
        (b"GGUF" + struct.pack("<I", 2) + bytes(100), "version 2"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(100), "big-endian"),
        (file_of().replace(COUNTS, struct.pack("<QQ", 2, 2**63)), "metadata entries"),
        (file_of().replace(COUNTS, struct.pack("<QQ", 2, 60000)), "ends too early"),
        (file_of().replace(COUNTS, struct.pack("<QQ", 2**64 - 1, 1)), "tensors, at most"),
        (file_of().replace(TOKEN_COUNT, struct.pack("<IQ", STRING, 2**63)), "array items"),
        (file_of().replace(TOKEN_COUNT, struct.pack("<IQ", STRING, 10**6)), "ends too early"),
        (file_of().replace(TOKEN_COUNT, struct.pack("<IQ", ARRAY, 4)), "array of arrays"),
        (file_of().replace(TOKEN_COUNT, struct.pack("<IQ", 13, 4)), "unknown value type 13"),
        (file_of().replace(b"a.uint16", b"a.int\xff16"), "not UTF-8"),
        (file_of((METADATA[0], METADATA[0])), "there twice"),
        (file_of((KeyValue("general.alignment", UINT32, 48),)), "power of two"),
        (file_of((KeyValue("general.alignment", UINT32, 0),)), "power of two"),
        (file_of((KeyValue("general.alignment", ValueType.INT32, 32),)), "wanted UINT32"),
        (patched((TENSORS[0],), offset=1536, type=6), "multiple of 32"),
        (patched((TENSORS[0],), offset=1536, type=99), "unknown tensor type 99"),
        (patched((TENSORS[0],), offset=1504), "wanted 1,536"),
        (patched((TENSORS[0],), offset=2**63), "wanted 1,536"),
        (patched((TENSORS[0],), offset=1536, ne=(2**62, 2**62)), "impossible shape"),
        (patched((TENSORS[0],), offset=1536, ne=(2**40,)), "ends too early"),
        (patched((TENSORS[0],), offset=1536, name="a.weight"), "there twice"),
        (file_of().replace(struct.pack("<I3Q", 3, 64, 3, 2), struct.pack("<I3Q", 5, 64, 3, 2)), "5 dimensions"),
        (file_of().replace(struct.pack("<I3Q", 3, 64, 3, 2), struct.pack("<I3Q", 0, 64, 3, 2)), "0 dimensions"),
    ],
)
def test_contradictions_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        decode(data)
    assert str(caught.value).startswith("file.gguf: ")
    assert len(str(caught.value)) < 400


@settings(max_examples=400, deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=8))
def test_flipped_bytes_are_refused_or_harmless(flips: list[tuple[int, int]]) -> None:
    data = bytearray(file_of())
    size = len(encode_header(METADATA, TENSORS))
    for position, change in flips:
        data[position % size] ^= change
    with suppress(InputError):
        decode(bytes(data))


def test_counts_are_not_believed_before_memory_is_taken() -> None:
    data = file_of()
    tracemalloc.start()
    try:
        for position in range(8, len(encode_header(METADATA, TENSORS)) - 8):
            with suppress(InputError):
                decode(data[:position] + b"\xff\xff\xff\xff\xff\xff\xff\x0f" + data[position + 8 :])
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_padded() -> None:
    assert [padded(n, 32) for n in (0, 1, 32, 33)] == [0, 32, 32, 64]

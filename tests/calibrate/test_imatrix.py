"""Importance matrix files: both formats, the arithmetic of llama-quantize, and what is refused."""

from __future__ import annotations

import ctypes
import hashlib
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import pytest
from gguf import GGUFReader, GGUFWriter

from ggufactory.calibrate import imatrix_file as reading
from ggufactory.calibrate.imatrix import ImportanceMatrix, read_importance_matrix
from ggufactory.errors import InputError
from synthetic import DATA

IMATRIX = DATA / "imatrix"
CHUNK = 128
"""llama-imatrix was run with -c 128."""

Array = npt.NDArray[np.float32]


def gguf_sums(path: Path) -> dict[str, tuple[Array, Array]]:
    """Sums [matrices, columns] and counts [matrices] of each entry, read by another implementation."""
    tensors = {tensor.name: tensor.data for tensor in GGUFReader(path).tensors}
    names = sorted({name.rsplit(".", 1)[0] for name in tensors})
    return {name: (tensors[name + ".in_sum2"], tensors[name + ".counts"].reshape(-1)) for name in names}


def write_gguf(path: Path, entries: dict[str, tuple[Any, Any]], *, without: str = "", **replaced: Any) -> Path:
    """An importance matrix file; an entry's half that is None is left out."""
    writer = GGUFWriter(path, "x")
    writer.kv_data[0].clear()
    keys = {
        "general.type": ("imatrix", gguf.GGUFValueType.STRING),
        "imatrix.datasets": (["text.txt", "other.txt"], gguf.GGUFValueType.ARRAY),
        "imatrix.chunk_count": (7, gguf.GGUFValueType.UINT32),
        "imatrix.chunk_size": (512, gguf.GGUFValueType.UINT32),
    }
    keys.update({key.replace("__", "."): value for key, value in replaced.items()})
    for key, (value, kind) in keys.items():
        if key == without:
            continue
        if isinstance(value, list):
            writer.add_array(key, value)
        else:
            writer.add_key_value(key, value, kind)
    for name, (sums, counts) in entries.items():
        for suffix, values in ((".in_sum2", sums), (".counts", counts)):
            if values is not None:
                writer.add_tensor(
                    name + suffix,
                    np.asarray(values) if isinstance(values, np.ndarray) else np.array(values, np.float32),
                )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def legacy(*entries: tuple[bytes, int, list[float]], tail: bytes = b"") -> bytes:
    data = struct.pack("<i", len(entries))
    for name, calls, values in entries:
        data += struct.pack(f"<i{len(name)}sii{len(values)}f", len(name), name, calls, len(values), *values)
    return data + tail


def tail(chunks: int, dataset: bytes) -> bytes:
    return struct.pack(f"<ii{len(dataset)}s", chunks, len(dataset), dataset)


@pytest.mark.parametrize("source", ["f32", "bf16"])
def test_gguf_is_divided_in_single_precision(source: str) -> None:
    path = IMATRIX / f"tinylm-{source}.imatrix.gguf"
    matrix = read_importance_matrix(str(path))
    expected = gguf_sums(path)
    assert list(matrix.entries) == sorted(expected)
    for name, (sums, counts) in expected.items():
        values = matrix.entries[name]
        assert (values.dtype.str, values.shape) == ("<f4", (1, sums.size))
        # A quotient of floats rounded to double and then to float is the float quotient (53 >= 2 * 24 + 2).
        divided = [ctypes.c_float(float(s) / float(counts[0])).value for s in sums.reshape(-1)]
        assert values.tobytes() == np.array(divided, np.float32).tobytes()
    assert matrix.unseen == {}
    assert matrix.file == path.name
    assert matrix.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("source", ["f32", "bf16"])
def test_both_formats_of_the_same_data_agree(source: str) -> None:
    """A legacy value is ((sum / count) * calls) / calls, each step in single precision."""
    new = read_importance_matrix(str(IMATRIX / f"tinylm-{source}.imatrix.gguf"))
    old = read_importance_matrix(str(IMATRIX / f"tinylm-{source}.imatrix.dat"))
    sums = gguf_sums(IMATRIX / f"tinylm-{source}.imatrix.gguf")
    assert list(old.entries) == list(new.entries)
    assert (old.chunk_count, old.datasets) == (new.chunk_count, new.datasets)
    for name, values in new.entries.items():
        calls = np.float32(-(-int(sums[name][1][0]) // CHUNK))
        assert old.entries[name].tobytes() == ((values * calls) / calls).tobytes(), name


def test_header_facts_are_those_of_the_files_keys() -> None:
    path = IMATRIX / "tinylm-bf16.imatrix.gguf"
    reader = GGUFReader(path)
    matrix = read_importance_matrix(str(path))
    assert matrix.chunk_count == reader.fields["imatrix.chunk_count"].contents()
    assert list(matrix.datasets) == reader.fields["imatrix.datasets"].contents()
    assert matrix.chunk_count > 0
    assert matrix.datasets


def test_experts_are_divided_one_by_one(tmp_path: Path) -> None:
    sums = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 9, 9, 9]], np.float32)
    entry = "blk.0.ffn_up_exps.weight"
    matrix = read_importance_matrix(str(write_gguf(tmp_path / "m.gguf", {entry: (sums, [[3], [7], [0]])})))
    expected = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [1, 1, 1, 1]], np.float32)
    expected[:2] /= np.array([[3], [7]], np.float32)
    assert matrix.entries[entry].tobytes() == expected.tobytes()
    assert matrix.unseen == {entry: (2,)}
    assert matrix.datasets == ("text.txt", "other.txt")
    assert matrix.chunk_count == 7


def test_counts_are_rounded_as_lround_does(tmp_path: Path) -> None:
    counts = {"a": 2.5, "b": 0.49, "c": 0.5, "d": 16777217.0}
    path = write_gguf(tmp_path / "m.gguf", {name: ([[6, 9]], [[count]]) for name, count in counts.items()})
    entries = read_importance_matrix(str(path)).entries
    divisors = {"a": 3, "c": 1, "d": 16777216}
    for name, divisor in divisors.items():
        assert entries[name].tobytes() == (np.array([6, 9], np.float32) / np.float32(divisor)).tobytes()
    assert entries["b"].tolist() == [[1, 1]]


def test_legacy_without_calls_is_not_divided(tmp_path: Path) -> None:
    path = tmp_path / "m.dat"
    path.write_bytes(legacy((b"a", 0, [6, 9]), (b"b", 4, [6, 9])))
    matrix = read_importance_matrix(str(path))
    assert matrix.entries["a"].tolist() == [[6, 9]]
    assert matrix.entries["b"].tolist() == [[1.5, 2.25]]
    assert (matrix.chunk_count, matrix.datasets, matrix.unseen) == (0, (), {})


@pytest.mark.parametrize(
    ("end", "chunks", "datasets"),
    [
        (b"", 0, ()),
        (struct.pack("<i", 9), 9, ()),
        (tail(9, b""), 9, ()),
        (tail(9, b"text.txt"), 9, ("text.txt",)),
        (tail(9, b"text.txt\0junk"), 9, ("text.txt",)),
        (tail(9, b"caf\xe9.txt"), 9, (b"caf\xe9.txt",)),
        (tail(9, b"text.txt") + b"more", 9, ("text.txt",)),
    ],
)
def test_legacy_tail_is_optional(tmp_path: Path, end: bytes, chunks: int, datasets: tuple[str | bytes, ...]) -> None:
    path = tmp_path / "m.dat"
    path.write_bytes(legacy((b"a", 1, [1.0]), tail=end))
    matrix = read_importance_matrix(str(path))
    assert (matrix.chunk_count, matrix.datasets) == (chunks, datasets)


def test_for_tensor_gives_the_tensors_own_shape(tmp_path: Path) -> None:
    path = tmp_path / "m.dat"
    path.write_bytes(legacy((b"blk.0.ffn_down_exps.weight", 2, [2, 4, 6, 8, 10, 12])))
    matrix = read_importance_matrix(str(path))
    values = matrix.for_tensor("blk.0.ffn_down_exps.weight", matrices=3, columns=2)
    assert values is not None
    assert values.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert matrix.for_tensor("blk.1.ffn_down_exps.weight", 3, 2) is None
    with pytest.raises(InputError, match=r"blk\.0\.ffn_down_exps\.weight has 6 values, but the tensor needs 8"):
        matrix.for_tensor("blk.0.ffn_down_exps.weight", 4, 2)


def test_values_cannot_be_changed() -> None:
    matrix = read_importance_matrix(str(IMATRIX / "tinylm-f32.imatrix.gguf"))
    values = next(iter(matrix.entries.values()))
    with pytest.raises(ValueError, match="read-only"):
        values[0, 0] = 1
    assert isinstance(matrix, ImportanceMatrix)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1e-30])
@pytest.mark.parametrize("suffix", ["gguf", "dat"])
def test_sums_that_cannot_be_weights(tmp_path: Path, bad: float, suffix: str) -> None:
    path = tmp_path / f"m.{suffix}"
    values = [1.0, 2.0, bad, 4.0]
    if suffix == "gguf":
        write_gguf(path, {"good": ([[1, 2]], [[1]]), "blk.3.attn_q.weight": ([values], [[1]])})
    else:
        path.write_bytes(legacy((b"good", 1, [1, 2]), (b"blk.3.attn_q.weight", 1, values)))
    with pytest.raises(InputError, match=r"blk\.3\.attn_q\.weight has 1 values .* value 2"):
        read_importance_matrix(str(path))


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"a": ([[1, 2]], None)}, "a has sums but no counts"),
        ({"a": (None, [[1]])}, "a has counts but no sums"),
        ({"a": ([[1, 2, 3]], [[1], [1]])}, "3 sums and 2 counts"),
        ({"a": ([[1, 2]], [[-1]])}, "negative"),
        ({"a": ([[1, 2]], [[np.nan]])}, "not numbers"),
        ({"a": ([[1, 2]], [[np.inf]])}, "too large"),
        ({"a": ([[1, 2]], [[1e30]])}, "too large"),
        ({"a": (np.zeros((1, 2), np.float16), [[1]])}, "a.in_sum2 must be F32"),
        ({"a": ([[1, 2]], np.ones((1, 1), np.int32))}, "a.counts must be F32"),
        ({"": ([[1, 2]], [[1]])}, "name of an entry"),
        ({}, "holds no entries"),
    ],
)
def test_gguf_entries_that_do_not_fit(tmp_path: Path, entries: dict[str, tuple[Any, Any]], says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_importance_matrix(str(write_gguf(tmp_path / "m.gguf", entries)))


@pytest.mark.parametrize("key", ["imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"])
def test_gguf_without_its_metadata(tmp_path: Path, key: str) -> None:
    path = write_gguf(tmp_path / "m.gguf", {"a": ([[1, 2]], [[1]])}, without=key)
    with pytest.raises(InputError, match=key):
        read_importance_matrix(str(path))


def test_gguf_of_a_model(tmp_path: Path) -> None:
    model = ("model", gguf.GGUFValueType.STRING)
    path = write_gguf(tmp_path / "m.gguf", {"a": ([[1, 2]], [[1]])}, general__type=model)
    with pytest.raises(InputError, match="of the type 'model', not an importance matrix"):
        read_importance_matrix(str(path))


def test_gguf_chunk_count_of_another_type_or_size(tmp_path: Path) -> None:
    for value in [("7", gguf.GGUFValueType.STRING), (1 << 31, gguf.GGUFValueType.UINT32)]:
        path = write_gguf(tmp_path / "m.gguf", {"a": ([[1, 2]], [[1]])}, imatrix__chunk_count=value)
        with pytest.raises(InputError, match=r"imatrix\.chunk_count"):
            read_importance_matrix(str(path))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "ends too early"),
        (b"\0\0\0", "ends too early"),
        (struct.pack("<i", 0), "number of entries is 0"),
        (struct.pack("<i", -1), "number of entries is -1"),
        (b"This is not an importance matrix, but a text", "number of entries is"),
        (struct.pack("<ii", 1, -5), "length of the name of entry 1 of 1 is -5"),
        (struct.pack("<ii", 1, 1 << 30), "length of the name of entry 1"),
        (legacy((b"\xff\xfe", 1, [1])), "not UTF-8"),
        (legacy((b"a\nb", 1, [1])), "name of an entry"),
        (legacy((b"\0a", 1, [1])), "name of an entry"),
        (legacy((b"a", 1, [1]), (b"a", 1, [1])), "a is there twice"),
        (legacy((b"a", -1, [1])), "calls of a is -1"),
        (legacy((b"a", 1, [])), "number of values of a is 0"),
        (
            struct.pack("<ii1sii", 1, 1, b"a", 1, (1 << 31) - 1),
            "values of a takes 8,589,934,588 bytes, but 0",
        ),
        (legacy((b"a", 1, [1]), tail=b"\0\0"), "number of chunks takes 4 bytes, but 2"),
        (legacy((b"a", 1, [1]), tail=struct.pack("<i", -3)), "number of chunks is -3"),
        (legacy((b"a", 1, [1]), tail=struct.pack("<ii", 3, 1 << 30)), "data set's name is 1,073,741,824"),
        (
            legacy((b"a", 1, [1]), tail=struct.pack("<ii", 3, 9) + b"text"),
            "data set's name takes 9 bytes, but 4",
        ),
    ],
)
def test_hostile_legacy_files(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "m.dat"
    path.write_bytes(data)
    with pytest.raises(InputError, match=says):
        read_importance_matrix(str(path))


@pytest.mark.parametrize("suffix", ["gguf", "dat"])
def test_every_cut_and_most_flips_are_refused_or_read(tmp_path: Path, suffix: str) -> None:
    """No cut file is read (but for a legacy one without its tail), and no damage ends in another error."""
    path = tmp_path / f"m.{suffix}"
    if suffix == "gguf":
        data = write_gguf(path, {"a": ([[1, 2], [3, 4]], [[1], [2]])}).read_bytes()
        whole = {len(data) - padding for padding in range(25)}  # the last tensor need not be padded
    else:
        data = legacy((b"a", 1, [1, 2]), tail=tail(3, b"text"))
        whole = {len(data) - 12, len(data) - 8, len(data)}
    for length in range(len(data)):
        path.write_bytes(data[:length])
        if length in whole:
            read_importance_matrix(str(path))
        else:
            with pytest.raises(InputError):
                read_importance_matrix(str(path))
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
        try:
            read_importance_matrix(str(path))
        except InputError as error:
            assert len(str(error)) < 600  # noqa: PT017


def test_missing_file_folder_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"no importance matrix file .*nothing"):
        read_importance_matrix(str(tmp_path / "nothing"))
    with pytest.raises(InputError):
        read_importance_matrix(str(tmp_path))
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 100)
    with pytest.raises(InputError, match="bytes long"):
        read_importance_matrix(str(IMATRIX / "tinylm-f32.imatrix.dat"))


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.dat").write_bytes(legacy((b"a", 1, [1])))
    assert read_importance_matrix("m.dat").file == "m.dat"

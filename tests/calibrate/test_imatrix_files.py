"""Importance matrix files written and merged: byte for byte what llama-imatrix writes, whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ggufactory.calibrate import imatrix_file
from ggufactory.calibrate.imatrix_file import read_imatrix_file, write_imatrix
from ggufactory.calibrate.imatrix_gguf import encode_gguf
from ggufactory.calibrate.imatrix_legacy import encode_legacy
from ggufactory.calibrate.merge import merge
from ggufactory.calibrate.sums import MAX_COUNT, ActivationSums, ImatrixFile
from ggufactory.errors import GgufactoryError, InputError
from ggufactory.storage import open_store
from ggufactory.storage.folder import FolderStore
from synthetic import DATA

IMATRIX = DATA / "imatrix"
ENCODERS = {".gguf": encode_gguf, ".dat": encode_legacy}
MERGED = json.loads((IMATRIX / "merged.json").read_text())["merged"]


def read(name: str) -> ImatrixFile:
    return read_imatrix_file(str(IMATRIX / name)).content


def one(name: str, sums: Any, counts: Any, *, legacy: bool = False) -> ImatrixFile:
    """A file of one entry."""
    values = ActivationSums(np.array(sums, np.float32), np.array(counts, np.int64), not legacy)
    return ImatrixFile((), 0, 0 if legacy else 128, {name: values})


@pytest.mark.parametrize("path", sorted(IMATRIX.glob("*.gguf")), ids=lambda path: path.stem)
def test_gguf_files_of_the_reference_are_encoded_again(path: Path) -> None:
    """Dense ones, a mixture with MLA, and one with experts and an entry that no token reached."""
    file = read(path.name)
    assert encode_gguf(file) == path.read_bytes()
    assert encode_gguf(merge([(path.name, file)])) == path.read_bytes()


@pytest.mark.parametrize("name", ["tinylm-f32", "tinylm-bf16", "unreached"])
def test_legacy_files_follow_from_the_gguf_file_of_the_same_run(name: str) -> None:
    assert encode_legacy(read(f"{name}.imatrix.gguf")) == (IMATRIX / f"{name}.imatrix.dat").read_bytes()


@pytest.mark.parametrize("case", MERGED, ids=lambda case: "+".join(case["files"]))
def test_merging_is_that_of_the_reference(case: dict[str, Any]) -> None:
    merged = merge([(name, read(name)) for name in case["files"]], case.get("chunk_size"))
    for suffix in {"gguf", "dat"} & case.keys():
        assert hashlib.sha256(ENCODERS["." + suffix](merged)).hexdigest() == case[suffix], suffix


def test_the_chunk_size_is_that_of_the_first_file_that_tells() -> None:
    files = [(name, read(name)) for name in ("unreached.imatrix.dat", "unreached.imatrix.gguf")]
    assert encode_gguf(merge(files)) == encode_gguf(merge(files, 128))
    assert merge(files[:1]).chunk_size == 512


def test_names_are_in_the_order_of_their_bytes() -> None:
    names = ["z", "é", "😀", "B", "ﬀ", "a.b", "a"]
    entries = {name: ActivationSums(np.ones((1, 1), np.float32), np.array([1]), True) for name in names}
    data = encode_gguf(ImatrixFile((), 0, 1, entries))
    found = [data.index(name.encode() + b".counts") for name in sorted(names, key=str.encode)]
    assert found == sorted(found)


def test_datasets_of_any_bytes() -> None:
    sums = one("a", [[1]], [1]).entries
    file = ImatrixFile(("text.txt", b"caf\xe9.txt"), 3, 128, sums)
    assert encode_legacy(file).endswith(b"\3\0\0\0\x08\0\0\0caf\xe9.txt")
    assert encode_legacy(ImatrixFile((), 3, 128, sums)).endswith(b"\3\0\0\0\0\0\0\0")
    assert b"caf\xe9.txt" in encode_gguf(file)


@pytest.mark.parametrize(
    ("file", "suffix", "says"),
    [
        (one("a", [[0, 0]], [0]), ".dat", "no entry of the importance matrix has data"),
        (one("a" * 500, [[1]], [1]), ".gguf", "508 bytes, at most 63"),
        (one("é" * 257, [[1]], [1]), ".dat", "length of the name of é+ is 514, but the .dat format has at most 512"),
        (one("a", [[1]], [1 << 40]), ".dat", r"calls of a is 8,589,934,592, .*\.gguf"),
        (one("a", [[3e38], [0]], [1, 300]), ".dat", "a has 1 values that are not finite .* value 0: inf"),
    ],
)
def test_what_a_format_cannot_hold(file: ImatrixFile, suffix: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        ENCODERS[suffix](file)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (
            [one("a", [[1, 2]], [1]), one("a", [[1, 2, 3]], [1])],
            r"second: the entry a is \[1, 3\].* before it \[1, 2\]",
        ),
        ([one("a", [[1, 2]] * 6, [1] * 6), one("a", [[1, 2, 3]] * 4, [1] * 4)], r"\[4, 3\].* \[6, 2\]"),
        ([one("a", [[1, 3e38]], [1]), one("a", [[1, 3e38]], [1])], "second: the entry a has 1 values .* value 1: inf"),
        ([one("a", [[1, 1e38]], [1], legacy=True)], "first: the entry a has 1 values"),
        ([one("a", [[1]], [MAX_COUNT]), one("a", [[1]], [1])], "second: the entry a counts 9,007,199,254,740,993"),
    ],
)
def test_files_that_cannot_be_merged(files: list[ImatrixFile], says: str) -> None:
    with pytest.raises(InputError, match=says):
        merge(list(zip(("first", "second"), files, strict=False)))


@pytest.mark.parametrize("suffix", [".gguf", ".dat"])
def test_the_suffix_says_the_format(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"m{suffix}"
    target.write_bytes(b"older")
    file = read("unreached.imatrix.gguf")
    written = write_imatrix(str(target), file)
    assert target.read_bytes() == ENCODERS[suffix](file) == (IMATRIX / f"unreached.imatrix{suffix}").read_bytes()
    assert (written.name, written.size) == (target.name, target.stat().st_size)
    with pytest.raises(InputError, match=r"ends in \.gguf or \.dat"):
        write_imatrix(str(tmp_path / "m.bin"), file)


@pytest.mark.parametrize("part", [4096, 7000, 1 << 20])
def test_large_files_are_uploaded_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    monkeypatch.setattr(imatrix_file, "PART_BYTES", part)
    path = IMATRIX / "tinylm-f32.imatrix.gguf"
    write_imatrix(str(tmp_path / "m.gguf"), read(path.name))
    assert (tmp_path / "m.gguf").read_bytes() == path.read_bytes()


def test_an_upload_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imatrix_file, "PART_BYTES", 4096)
    target = tmp_path / "m.gguf"
    target.write_bytes(b"older")
    upload_part = FolderStore.upload_part

    def fail(self: FolderStore, upload: Any, number: int, offset: int, data: memoryview) -> Any:
        if number == 3:
            raise GgufactoryError("full")
        return upload_part(self, upload, number, offset, data)

    monkeypatch.setattr(FolderStore, "upload_part", fail)
    with pytest.raises(GgufactoryError, match="full"):
        write_imatrix(str(target), read("tinylm-f32.imatrix.gguf"))
    assert target.read_bytes() == b"older"
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 4096


@pytest.mark.s3
def test_on_s3(s3_prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imatrix_file, "PART_BYTES", 5 << 20)
    rows = np.random.default_rng(1).random((4, 1 << 19), np.float32)
    large = one("blk.0.ffn_up_exps.weight", rows, [1, 2, 3, 4])
    for name, file in {"small": read("unreached.imatrix.gguf"), "large": large}.items():
        write_imatrix(f"{s3_prefix}/{name}.gguf", file)
        assert encode_gguf(read_imatrix_file(f"{s3_prefix}/{name}.gguf").content) == encode_gguf(file)
    assert [info.name for info in open_store(s3_prefix).list()] == ["large.gguf", "small.gguf"]

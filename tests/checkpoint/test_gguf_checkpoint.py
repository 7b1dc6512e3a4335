"""GGUF files as checkpoints: what is found, how it is called, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gguf_files import Contents, Stored, f32, text, u32, write_gguf, write_split
from ggufactory.architectures import describe
from ggufactory.checkpoint import open_checkpoint
from ggufactory.checkpoint.gguf_checkpoint import MAX_PARTS, open_gguf_checkpoint
from ggufactory.checkpoint.gguf_names import model_name
from ggufactory.container.metadata import KeyValue, ValueType
from ggufactory.errors import InputError

METADATA = (
    text("general.architecture", "llama"),
    f32("llama.rope.freq_base", 5.0),
    u32("llama.block_count", 1),
)
TENSORS = (
    Stored("output.weight", "F16", (4, 3), bytes(range(24))),
    Stored("blk.0.ffn_up_exps.weight", "BF16", (2, 3, 5), bytes(range(60))),
    Stored("rope_freqs.weight", "F32", (3,), bytes(range(12))),
    Stored("blk.0.ffn_gate_tid2eid.weight", "I32", (2, 2), bytes(range(16))),
)
CONTENTS = Contents(METADATA, TENSORS)


def _bytes_of(folder: Path, tensor: object) -> bytes:
    data = (folder / tensor.file).read_bytes()  # type: ignore[attr-defined]
    return data[tensor.offset :]  # type: ignore[attr-defined]


@pytest.mark.parametrize("sizes", [None, [2, 2], [0, 1, 3], [4, 0]])
def test_what_is_found(tmp_path: Path, sizes: list[int] | None) -> None:
    path = write_split(tmp_path, "m", CONTENTS, sizes) if sizes else write_gguf(tmp_path / "m.gguf", *_parts(CONTENTS))
    found = open_gguf_checkpoint(str(path))
    assert found.name == "m"
    assert found.metadata == METADATA
    assert sorted(found.files) == sorted(p.name for p in tmp_path.iterdir())
    assert [(t.name, t.type, t.ne) for t in found.tensors] == [(t.name, t.type, t.ne) for t in TENSORS]
    for tensor, stored in zip(found.tensors, TENSORS, strict=True):
        assert _bytes_of(tmp_path, tensor)[: len(stored.data)] == stored.data
    model = describe(found)
    assert (model.architecture, model.metadata) == ("llama", METADATA)
    experts = model.tensors[1]
    assert (experts.shape, experts.rows, experts.columns, experts.rows_per_matrix) == ((5, 3, 2), 15, 2, 3)
    assert (model.tensors[2].shape, model.tensors[2].rows, model.tensors[2].columns) == ((3,), 1, 3)


def _parts(contents: Contents) -> tuple[tuple[KeyValue, ...], tuple[Stored, ...]]:
    return contents.metadata, contents.tensors


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("tinylm-BF16.gguf", "tinylm"),
        ("Llama-3.1-8B-Instruct-bf16-00001-of-00004.gguf", "Llama-3.1-8B-Instruct"),
        ("model.f16.gguf", "model"),
        ("model_F32.gguf", "model"),
        ("model-Q8_0.gguf", "model-Q8_0"),
        ("model-BF16-chat.gguf", "model-BF16-chat"),
        ("a-00001-of-00002-b.gguf", "a-00001-of-00002-b"),
        ("BF16.gguf", "BF16"),
        (".gguf", "model"),
        ("..hidden.gguf", "hidden"),
    ],
)
def test_names(file: str, name: str) -> None:
    assert model_name(file) == name


def _split(tmp_path: Path) -> list[Path]:
    write_split(tmp_path, "m", CONTENTS, [1, 1, 2])
    return sorted(tmp_path.iterdir())


def _replace_keys(path: Path, **values: int) -> None:
    """Write the first file again with other values of its split keys."""
    keys = {"split.no": 0, "split.count": 3, "split.tensors.count": 4} | {
        key.replace("_", "."): value for key, value in values.items()
    }
    write_gguf(path, (*METADATA, *(u32(key, value) for key, value in keys.items())), TENSORS[:1])


class TestSplits:
    def test_a_file_that_is_not_the_first(self, tmp_path: Path) -> None:
        second = _split(tmp_path)[1]
        with pytest.raises(InputError, match=r"file 2 of a split of 3\. Give the first: m-00001-of-00003\.gguf"):
            open_gguf_checkpoint(str(second))

    def test_missing_files(self, tmp_path: Path) -> None:
        first, second, third = _split(tmp_path)
        second.unlink()
        third.unlink()
        with pytest.raises(InputError, match=r"2 files \('m-00002-of-00003.gguf', 'm-00003-of-00003.gguf'\)"):
            open_gguf_checkpoint(str(first))

    def test_files_in_the_wrong_places(self, tmp_path: Path) -> None:
        first, second, third = _split(tmp_path)
        third.rename(second)
        (tmp_path / third.name).write_bytes(second.read_bytes())
        with pytest.raises(InputError, match=r"m-00002-of-00003\.gguf: split\.no is 2, wanted 1"):
            open_gguf_checkpoint(str(first))

    def test_another_name(self, tmp_path: Path) -> None:
        renamed = _split(tmp_path)[0].rename(tmp_path / "renamed.gguf")
        with pytest.raises(InputError, match=r"is of a split of 3 files, but is not called so"):
            open_gguf_checkpoint(str(renamed))

    def test_the_number_of_another_file(self, tmp_path: Path) -> None:
        first, second, _ = _split(tmp_path)
        second.write_bytes(first.read_bytes())
        with pytest.raises(InputError, match=r"first file of a split of 3, so its name should be m-00001"):
            open_gguf_checkpoint(str(second))

    def test_a_tensor_in_two_files(self, tmp_path: Path) -> None:
        doubled = replace(CONTENTS, tensors=(*TENSORS[:3], TENSORS[0]))
        path = write_split(tmp_path, "m", doubled, [2, 2])
        with pytest.raises(InputError, match=r"both in m-00001-of-00002\.gguf and in m-00002"):
            open_gguf_checkpoint(str(path))

    @pytest.mark.parametrize(
        ("values", "told"),
        [
            ({"split_tensors_count": 5}, "split.tensors.count is 5, but the files hold 4 tensors"),
            ({"split_count": 2}, "is of a split of 2 files, but is not called so"),
            ({"split_count": 4_000_000_000}, f"split.count is 4,000,000,000, at most {MAX_PARTS:,}"),
        ],
    )
    def test_counts_that_are_wrong(self, tmp_path: Path, values: dict[str, int], told: str) -> None:
        first = _split(tmp_path)[0]
        _replace_keys(first, **values)
        with pytest.raises(InputError, match=told):
            open_gguf_checkpoint(str(first))

    def test_a_count_that_is_no_number(self, tmp_path: Path) -> None:
        path = write_gguf(tmp_path / "m.gguf", (*METADATA, text("split.count", "three")), TENSORS)
        with pytest.raises(InputError, match=r"split\.count: wanted a whole number, found 'three'"):
            open_gguf_checkpoint(str(path))


@pytest.mark.parametrize(
    ("metadata", "tensors", "told"),
    [
        (METADATA, (), "holds no tensors"),
        ((*METADATA, text("a\x1b[31m", "b")), TENSORS, r"the metadata key 'a\\x1b\[31m' cannot be printed"),
        (METADATA, (replace(TENSORS[0], name="a\0b"),), r"the name of tensor 'a\\x00b' cannot be printed"),
        (METADATA, (Stored("a.weight", "F32", (0, 4), b""),), r"tensor 'a\.weight' is empty: its shape is \[0, 4\]"),
        (METADATA[1:], TENSORS, "general.architecture: wanted a name such as llama, found None"),
        ((u32("general.architecture", 3),), TENSORS, "general.architecture: wanted a name such as llama, found 3"),
    ],
)
def test_what_no_model_is(
    tmp_path: Path, metadata: tuple[KeyValue, ...], tensors: tuple[Stored, ...], told: str
) -> None:
    path = write_gguf(tmp_path / "m.gguf", metadata, tensors)
    with pytest.raises(InputError, match=told):
        describe(open_gguf_checkpoint(str(path)))


def test_another_alignment(tmp_path: Path) -> None:
    metadata = (*METADATA, u32("general.alignment", 64))
    path = write_gguf(tmp_path / "m.gguf", metadata, TENSORS, alignment=64)
    with pytest.raises(InputError, match=r"general\.alignment is 64; llama-quantize serves 32 alone"):
        open_gguf_checkpoint(str(path))


def test_the_usual_alignment_may_be_named(tmp_path: Path) -> None:
    named = (*METADATA, KeyValue("general.alignment", ValueType.UINT32, 32))
    assert open_gguf_checkpoint(str(write_gguf(tmp_path / "m.gguf", named, TENSORS))).metadata == named


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file m\.gguf in"):
        open_gguf_checkpoint(str(tmp_path / "m.gguf"))


def test_a_folder_of_gguf_files_says_what_to_give(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", METADATA, TENSORS)
    with pytest.raises(InputError, match=r"GGUF files \('m\.gguf'\)\. Give such a file itself"):
        open_checkpoint(str(tmp_path))

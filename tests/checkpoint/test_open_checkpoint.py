"""Opening a checkpoint: what is read, in which order, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from corruptions import CORRUPTIONS, UNUSABLE, read_header, replace_header
from ggufactory.checkpoint import open as opening
from ggufactory.checkpoint import open_checkpoint
from ggufactory.errors import InputError, SourceChangedError
from ggufactory.storage import open_store
from ggufactory.storage.protocol import ObjectInfo, Store
from synthetic import DATA, LLAMA_405B, write_headers_only_405b, write_llama_checkpoint

TINYLM = DATA / "tinylm"
TINY: dict[str, Any] = {
    "layers": 2, "hidden": 64, "intermediate": 96, "heads": 4, "kv_heads": 2, "vocab": 2048,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small sharded checkpoint that a test may break."""
    path = tmp_path / "Small-Llama"
    write_llama_checkpoint(path, **TINY, shards=2)
    return path


@pytest.mark.parametrize(
    "source",
    [TINYLM, *sorted((DATA / "architectures").glob("*/checkpoint"))],
    ids=lambda path: path.parent.name,
)
def test_tensors_are_those_that_safetensors_reads(source: Path) -> None:
    checkpoint = open_checkpoint(str(source))
    expected: list[str] = []
    for path in sorted(source.glob("model*.safetensors")):
        with safe_open(path, "numpy") as reader:
            names = sorted(reader.keys())
            expected += names
            for name in names:
                tensor = checkpoint.tensors[name]
                piece = reader.get_slice(name)
                assert (tensor.file, tensor.dtype, list(tensor.shape)) == (
                    path.name,
                    piece.get_dtype(),
                    piece.get_shape(),
                )
        header = read_header(path)
        data_start = path.stat().st_size - max(
            entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"
        )
        for name in names:
            begin, end = header[name]["data_offsets"]
            tensor = checkpoint.tensors[name]
            assert (tensor.offset, tensor.nbytes) == (data_start + begin, end - begin)
    assert list(checkpoint.tensors) == expected


def test_files_are_those_directly_in_the_folder(folder: Path) -> None:
    (folder / "original").mkdir()
    (folder / "original" / "consolidated.00.pth").write_bytes(b"x")
    checkpoint = open_checkpoint(str(folder))
    assert sorted(checkpoint.files) == sorted(path.name for path in folder.iterdir() if path.is_file())
    assert checkpoint.name == "Small-Llama"
    config = checkpoint.files["config.json"]
    assert config.size == (folder / "config.json").stat().st_size


def test_name_of_a_relative_path_with_a_slash(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert open_checkpoint("Small-Llama/").name == "Small-Llama"
    monkeypatch.chdir(folder)
    assert open_checkpoint(".").name == "Small-Llama"


def test_single_file_without_an_index(tmp_path: Path) -> None:
    write_llama_checkpoint(tmp_path / "one", **TINY, shards=1)
    checkpoint = open_checkpoint(str(tmp_path / "one"))
    assert {tensor.file for tensor in checkpoint.tensors.values()} == {"model.safetensors"}
    assert list(checkpoint.tensors) == sorted(checkpoint.tensors)


def test_shards_without_an_index_are_found_by_name(folder: Path) -> None:
    with_index = open_checkpoint(str(folder))
    (folder / "model.safetensors.index.json").unlink()
    assert open_checkpoint(str(folder)).tensors == with_index.tensors


def test_with_an_index_other_files_are_not_read(folder: Path) -> None:
    (folder / "model-extra.safetensors").write_bytes(b"not a safetensors file")
    assert "model-extra.safetensors" in open_checkpoint(str(folder)).files


def test_the_index_may_be_wrong_about_the_file_of_a_tensor(folder: Path) -> None:
    """The reference takes the set of files from the index, and the tensors from the files."""
    expected = open_checkpoint(str(folder)).tensors
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    names = list(index["weight_map"])
    files = list(index["weight_map"].values())
    index["weight_map"] = dict(zip(names, reversed(files), strict=True))
    path.write_text(json.dumps(index))
    assert open_checkpoint(str(folder)).tensors == expected


def test_a_header_longer_than_the_first_read(folder: Path) -> None:
    path = folder / "model-00001-of-00002.safetensors"
    before = open_checkpoint(str(folder)).tensors
    header = read_header(path)
    header["__metadata__"] = {"note": "x" * (2 * opening.FIRST_READ_BYTES)}
    replace_header(path, header)
    after = open_checkpoint(str(folder)).tensors
    assert list(after) == list(before)
    assert after["lm_head.weight"] == before["lm_head.weight"]
    moved = path.stat().st_size - max(t.offset + t.nbytes for t in before.values() if t.file == path.name)
    assert all(after[t.name].offset == t.offset + moved for t in before.values() if t.file == path.name)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption_is_one_clear_error(name: str, folder: Path) -> None:
    CORRUPTIONS[name](folder)
    with pytest.raises(InputError) as caught:
        open_checkpoint(str(folder))
    message = str(caught.value)
    assert len(message) < 600
    assert message.isprintable()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("shard truncated", "model-00002-of-00002.safetensors is cut short"),
        ("shard too long", "bytes that belong to no tensor"),
        ("shard missing", r"1 file \('model-00002-of-00002.safetensors'\) not there"),
        ("shard missing, no index", r"1 file \('model-00002-of-00002.safetensors'\) not there"),
        ("header length beyond the file", "1,099,511,627,776 bytes long, but the file has only"),
        ("header nested deeply", "nested too deeply"),
        ("header of a million values", "more than the 2,000,000 allowed"),
        ("duplicate key", "twice"),
        ("duplicate tensor in two shards", "both in model-00001-of-00002.safetensors and in model-00002"),
        ("dtype unknown", "unknown dtype 'Q4_K'"),
        ("dtype of another size", "of F32 takes"),
        ("shape overflowing", "takes .* bytes, but data_offsets"),
        ("offsets overlapping", "overlaps the tensor before it"),
        ("offsets with a hole", "leaves a hole"),
        ("index names a missing tensor", "'ghost'"),
        ("index lacks a tensor", "does not name"),
        ("index climbs out", r"'\.\./model\.safetensors', which is not in the checkpoint's folder"),
        ("index names an absolute path", "'/etc/passwd', which is not in the checkpoint's folder"),
        ("index names a file in a folder", "'sub/model.safetensors', which is not in the checkpoint's folder"),
        ("pickle only", "only safetensors are accepted.*save_pretrained"),
        ("no weights", r"no model\*.safetensors"),
        ("no config", "no config.json"),
        ("empty folder", "empty"),
    ],
)
def test_error_names_the_fault(name: str, says: str, folder: Path) -> None:
    CORRUPTIONS[name](folder)
    with pytest.raises(InputError, match=says):
        open_checkpoint(str(folder))


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_configurations_still_open(name: str, folder: Path) -> None:
    UNUSABLE[name](folder)
    assert open_checkpoint(str(folder)).tensors


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        open_checkpoint(str(tmp_path / "nothing"))


def test_a_file_instead_of_a_folder(folder: Path) -> None:
    with pytest.raises(InputError, match="file"):
        open_checkpoint(str(folder / "model-00001-of-00002.safetensors"))


def test_only_folders_inside(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder, tmp_path / "outer" / "snapshots" / "abc")
    with pytest.raises(InputError, match=r"only folders .*snapshots/abc"):
        open_checkpoint(str(tmp_path / "outer"))


def test_headers_of_all_files_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [len(json.dumps(read_header(path))) for path in folder.glob("model*.safetensors")]
    monkeypatch.setattr(opening, "MAX_ALL_HEADERS_BYTES", max(lengths))
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(InputError, match="headers of its 2 files"):
        open_checkpoint(str(folder))


def test_a_lie_about_lengths_allocates_nothing(folder: Path) -> None:
    CORRUPTIONS["header length beyond the file"](folder)
    tracemalloc.start()
    with pytest.raises(InputError):
        open_checkpoint(str(folder))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


class Recorder:
    """A store that notes what is read, and how many reads are under way at once."""

    def __init__(self, store: Store, together: int) -> None:
        self.store = store
        self.reads: list[tuple[str, int, int, str | None]] = []
        self._meeting = threading.Barrier(together)

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)

    def read_into(self, name: str, offset: int, buffer: memoryview, *, etag: str | None = None) -> None:
        self.reads.append((name, offset, len(buffer), etag))
        self._meeting.wait(timeout=60)
        self.store.read_into(name, offset, buffer, etag=etag)


def test_405b_takes_one_small_read_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_headers_only_405b(tmp_path / "Llama-3.1-405B")
    recorder = Recorder(open_store(str(tmp_path / "Llama-3.1-405B")), together=1)
    monkeypatch.setattr(opening, "open_store", lambda uri: recorder)
    checkpoint = open_checkpoint(recorder.store.uri)
    assert {name: tensor.shape for name, tensor in checkpoint.tensors.items()} == dict(LLAMA_405B.tensors())
    assert sum(tensor.nbytes for tensor in checkpoint.tensors.values()) == 2 * 405_853_388_800
    assert len(recorder.reads) == 191
    assert all(size <= opening.FIRST_READ_BYTES for _, _, size, _ in recorder.reads)
    assert all(etag == checkpoint.files[name].etag for name, _, _, etag in recorder.reads)


def test_headers_are_read_concurrently(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both files' reads must be under way at once, or the barrier breaks."""
    monkeypatch.setattr(opening, "open_store", lambda uri: Recorder(open_store(uri), together=2))
    assert open_checkpoint(str(folder)).tensors


def test_read_file_and_read_json(folder: Path) -> None:
    checkpoint = open_checkpoint(str(folder))
    assert checkpoint.read_file("config.json") == (folder / "config.json").read_bytes()
    assert checkpoint.read_json("config.json") == json.loads((folder / "config.json").read_text())
    assert checkpoint.read_file("chat_template.jinja") is None
    assert checkpoint.read_json("added_tokens.json") is None
    with pytest.raises(InputError, match=r"tokenizer\.model"):
        checkpoint.read_file("tokenizer.model", limit=100)


def test_a_file_changed_after_opening(folder: Path) -> None:
    checkpoint = open_checkpoint(str(folder))
    config = folder / "config.json"
    config.write_text(config.read_text() + " ")
    os.utime(config, ns=(1, 1))
    with pytest.raises(SourceChangedError, match=r"config\.json"):
        checkpoint.read_json("config.json")
    config.unlink()
    with pytest.raises(SourceChangedError, match=r"config\.json"):
        checkpoint.read_file("config.json")


def test_a_shard_changed_between_listing_and_reading(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def list_then_change(uri: str) -> Store:
        store = open_store(uri)

        def listing(prefix: str = "") -> list[ObjectInfo]:
            found = store.list(prefix)
            shard = folder / "model-00001-of-00002.safetensors"
            shard.write_bytes(shard.read_bytes())
            os.utime(shard, ns=(1, 1))
            return found

        wrapper = Recorder(store, together=1)
        wrapper.list = listing  # type: ignore[attr-defined]
        return wrapper  # type: ignore[return-value]

    monkeypatch.setattr(opening, "open_store", list_then_change)
    with pytest.raises(SourceChangedError):
        open_checkpoint(str(folder))

"""`ggufactory fetch`: whole and right or not there, going on where it was interrupted, and clear about the rest."""

from __future__ import annotations

import errno
import os
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from ggufactory.cli import main
from ggufactory.storage import download as downloading
from ggufactory.storage import open_store
from ggufactory.storage.folder import FolderStore
from made_targets import MadeTarget, made_target
from weed import Weed

CHUNK = 64 << 10


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading.download, "__kwdefaults__", {"chunk_bytes": CHUNK})


@pytest.fixture
def target(tmp_path: Path) -> MadeTarget:
    return made_target(
        tmp_path / "out", {"Q8_0": 10 * CHUNK + 17, "Q4_K_M": 3000}, split={"BF16": [10, 100_000, 70_000]}
    )


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "got" / "deeper"


def fetch(target: MadeTarget, rung: str, to: Path, *flags: str) -> int:
    return main(["fetch", target.uri, rung, "--to", str(to), *flags])


class Reads:
    """Counts what is read of artifacts, and fails where it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.offsets: list[int] = []
        self.fail: dict[int, BaseException] = {}
        read_into = FolderStore.read_into

        def watched(store: FolderStore, name: str, offset: int, buffer: memoryview, **options: str) -> None:
            if offset in self.fail:
                raise self.fail[offset]
            self.offsets.append(offset)
            read_into(store, name, offset, buffer, **options)

        monkeypatch.setattr(FolderStore, "read_into", watched)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_rung_by_any_case_and_all_files_of_a_split(
    target: MadeTarget, to: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch(target, "q8_0", to) == 0
    assert capsys.readouterr().out == f"{to / 'name-Q8_0.gguf'}\n"
    assert names(to) == {"name-Q8_0.gguf"}
    assert fetch(target, "BF16", to) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in paths] == [f"name-BF16-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert {path.name: path.read_bytes() for path in to.iterdir()} == {
        name: data for name, data in target.files.items() if "Q4" not in name
    }
    assert fetch(target, "name-Q4_K_M.gguf", to) == 0


def test_an_interrupted_download_goes_on(target: MadeTarget, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that are there are not fetched again, and a chunk whose bytes were lost is."""
    reads = Reads(monkeypatch)
    reads.fail = {number * CHUNK: SystemExit(1) for number in range(7, 11)}
    with pytest.raises(SystemExit):
        fetch(target, "Q8_0", to, "--connections", "1")
    assert names(to) == {"name-Q8_0.gguf.part", "name-Q8_0.gguf.part.chunks"}
    assert len(reads.offsets) == 7
    with (to / "name-Q8_0.gguf.part").open("r+b") as file:
        file.seek(2 * CHUNK + 5)
        file.write(b"lost")
    reads.offsets, reads.fail = [], {}
    assert fetch(target, "Q8_0", to) == 0
    assert sorted(reads.offsets) == [CHUNK * n for n in (2, 7, 8, 9, 10)]
    assert (to / "name-Q8_0.gguf").read_bytes() == target.files["name-Q8_0.gguf"]
    assert names(to) == {"name-Q8_0.gguf"}
    reads.offsets = []
    assert fetch(target, "Q8_0", to) == 0
    assert reads.offsets == []


@pytest.mark.parametrize("ledger", [b"", b"\xff\xfe", b"another object\n0 1\n", b"9" * 5000])
def test_a_record_of_something_else_is_not_believed(target: MadeTarget, to: Path, ledger: bytes) -> None:
    to.mkdir(parents=True)
    (to / "name-Q8_0.gguf.part").write_bytes(b"something" * 1_000_000)
    (to / "name-Q8_0.gguf.part.chunks").write_bytes(ledger)
    assert fetch(target, "Q8_0", to) == 0
    assert (to / "name-Q8_0.gguf").read_bytes() == target.files["name-Q8_0.gguf"]


def test_a_newer_file_takes_the_place_of_an_older_one_at_once(
    target: MadeTarget, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to.mkdir(parents=True)
    (to / "name-Q8_0.gguf").write_bytes(b"old")
    reads = Reads(monkeypatch)
    reads.fail = {3 * CHUNK: OSError(errno.EIO, "no more")}
    assert fetch(target, "Q8_0", to) == 4
    assert (to / "name-Q8_0.gguf").read_bytes() == b"old"
    reads.fail = {}
    assert fetch(target, "Q8_0", to) == 0
    assert (to / "name-Q8_0.gguf").read_bytes() == target.files["name-Q8_0.gguf"]


def test_wrong_bytes_never_get_the_name(target: MadeTarget, to: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = target.folder / "name-Q8_0.gguf"
    data = bytearray(path.read_bytes())
    data[12345] ^= 1
    path.write_bytes(data)
    assert fetch(target, "Q8_0", to) == 2
    assert "wanted SHA-256" in capsys.readouterr().err
    assert names(to) == set()
    path.write_bytes(data[:-1])
    assert fetch(target, "Q8_0", to) == 2
    assert "found 655,376" in capsys.readouterr().err
    path.unlink()
    assert fetch(target, "Q8_0", to) == 2
    assert "is missing" in capsys.readouterr().err


def test_an_object_that_changes_meanwhile(
    target: MadeTarget, to: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read_into = FolderStore.read_into

    def changing(store: FolderStore, name: str, offset: int, buffer: memoryview, **options: str) -> None:
        if offset == 4 * CHUNK:
            (target.folder / "name-Q8_0.gguf").write_bytes(bytes(10 * CHUNK + 17))
        read_into(store, name, offset, buffer, **options)

    monkeypatch.setattr(FolderStore, "read_into", changing)
    assert fetch(target, "Q8_0", to, "--connections", "1") == 2
    assert "was changed since" in capsys.readouterr().err
    assert not (to / "name-Q8_0.gguf").exists()


def test_a_disk_without_room(
    target: MadeTarget, to: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said before anything comes; and when it fills up meanwhile, what came stays."""
    with monkeypatch.context() as patch:
        patch.setattr(downloading.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
        assert fetch(target, "Q8_0", to) == 4
    assert "655,377 bytes are to come, and the disk has 1,000 free" in capsys.readouterr().err
    write = downloading.write_exactly

    def full(descriptor: int, data: memoryview, offset: int) -> None:
        if offset == 5 * CHUNK:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(descriptor, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(downloading, "write_exactly", full)
        assert fetch(target, "Q8_0", to, "--connections", "1") == 4
    assert "No space left" in capsys.readouterr().err
    reads = Reads(monkeypatch)
    assert fetch(target, "Q8_0", to) == 0
    assert min(reads.offsets) == 5 * CHUNK


def test_one_download_of_a_file_at_a_time(target: MadeTarget, to: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    to.mkdir(parents=True)
    with (to / "name-Q8_0.gguf.part.chunks").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert fetch(target, "Q8_0", to) == 2
    assert "another run is downloading" in capsys.readouterr().err


def test_what_is_not_there(target: MadeTarget, to: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch(target, "Q5_K_M", to) == 2
    assert "There are: BF16, Q4_K_M, Q8_0" in capsys.readouterr().err
    assert main(["fetch", str(tmp_path / "empty"), "Q8_0"]) == 2
    assert "has no manifest.json" in capsys.readouterr().err
    (target.folder / "name-BF16-00003-of-00003.gguf").unlink()
    assert main(["card", target.uri]) == 0
    capsys.readouterr()
    assert fetch(target, "BF16", to) == 2
    assert "2 of the 3 files of BF16" in capsys.readouterr().err
    assert fetch(target, "Q8_0", to, "--connections", "0") == 2
    assert fetch(target, "Q8_0", to, "--link") == 2
    assert "on S3 only" in capsys.readouterr().err
    assert fetch(target, "Q8_0", to, "--expires", "soon") == 2
    assert not to.exists()


@pytest.mark.s3
def test_from_s3_and_by_link(s3: Weed, s3_prefix: str, to: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = made_target(s3_prefix, {"Q8_0": 10 * CHUNK + 17}, split={"BF16": [10, 3000]})
    assert main(["verify", s3_prefix]) == 0
    assert f"aws s3 cp {s3_prefix}/ . --recursive" in str(open_store(s3_prefix).read("README.md", limit=1 << 20))
    assert fetch(target, "Q8_0", to) == 0
    assert (to / "name-Q8_0.gguf").read_bytes() == target.files["name-Q8_0.gguf"]
    capsys.readouterr()
    assert fetch(target, "BF16", to, "--link", "--expires", "5m") == 0
    links = capsys.readouterr().out.splitlines()
    assert ["X-Amz-Expires=300" in link for link in links] == [True, True]
    found = [urllib.request.urlopen(link).read() for link in links]
    assert found == [data for name, data in target.files.items() if "BF16" in name]
    assert fetch(target, "BF16", to, "--link", "--expires", "8d") == 2
    assert "7 days" in capsys.readouterr().err

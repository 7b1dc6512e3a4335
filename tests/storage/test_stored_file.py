"""An object as a file: read, sought, and never wrong at its end."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from ggufactory.errors import InputError, SourceChangedError
from ggufactory.storage import open_store
from ggufactory.storage.protocol import Store
from ggufactory.storage.stored_file import StoredFile

DATA = bytes(range(256)) * 40


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store(str(tmp_path))
    store.put("o", DATA)
    return store


def stored(store: Store, sha256: str | None = None) -> StoredFile:
    info = store.stat("o")
    assert info is not None
    return StoredFile(store, info, sha256 or hashlib.sha256(DATA).hexdigest(), window_bytes=1000)


def test_it_reads_and_seeks_as_any_file(store: Store) -> None:
    file, wanted = stored(store), io.BytesIO(DATA)
    for how in [(5,), (999,), (1,), (3000,), (0,)]:
        assert file.read(*how) == wanted.read(*how)
    for place in [(2, io.SEEK_SET), (-7, io.SEEK_END), (-9, io.SEEK_CUR), (9_999, io.SEEK_SET)]:
        assert file.seek(*place) == wanted.seek(*place)
        assert file.read(1500) == wanted.read(1500)
        assert file.tell() == wanted.tell()
    assert file.read() == b""
    file.seek(0)
    assert file.read() == DATA


def test_it_refuses_to_end_wrong(store: Store) -> None:
    """Also after going back, as a repeated upload of a part does."""
    file = stored(store, "0" * 64)
    file.read(4000)
    file.seek(1000)
    assert file.read(9000 - 1) == DATA[1000:9999]
    with pytest.raises(InputError, match=f"wanted SHA-256 {'0' * 64}"):
        file.read()


def test_an_object_that_changes_meanwhile(store: Store) -> None:
    file = stored(store)
    file.read(100)
    store.put("o", DATA + b"x")
    with pytest.raises(SourceChangedError):
        file.read()

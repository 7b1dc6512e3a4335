"""The lock of a folder store where its folder cannot be made, or does not stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from ggufactory.errors import InputError
from ggufactory.storage import folder_files, open_store
from ggufactory.storage.folder_files import locked


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, where no folder can be made")
def test_a_folder_that_cannot_be_made_is_an_error_and_no_endless_loop() -> None:
    with pytest.raises(InputError, match="/proc/"):
        open_store("/proc/ggufactory/out").check_writable()


def test_a_folder_that_another_holder_removes_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "private" / "lock"
    make, removals = folder_files.make_directory, iter(range(20))

    def make_and_lose(folder: Path) -> None:
        make(folder)
        if folder == path.parent and next(removals, None) is not None:
            folder.rmdir()

    monkeypatch.setattr(folder_files, "make_directory", make_and_lose)
    with locked(path):
        assert path.exists()
    assert next(removals, None) is None

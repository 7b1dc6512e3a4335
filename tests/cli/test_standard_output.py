"""Output that is closed, full, of another encoding, or read no further."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = f"{sys.executable} -m ggufactory"


def run(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("flags", ["", " --json"], ids=["table", "json"])
def test_a_reader_that_has_enough(tinylm: str, flags: str) -> None:
    done = run(f"{MODULE} plan {tinylm} --ladder Q8_0{flags} | true")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("flags", ["", " --json"], ids=["table", "json"])
def test_an_output_that_is_full(tinylm: str, flags: str) -> None:
    done = run(f"{MODULE} plan {tinylm} --ladder Q8_0{flags} > /dev/full")
    assert done.returncode == 4
    assert done.stderr == "ggufactory: the output cannot be written: No space left on device\n"


def test_an_output_that_is_closed(tinylm: str) -> None:
    done = run(f"{MODULE} inspect {tinylm} >&-")
    assert (done.returncode, done.stderr) == (0, "")


def test_an_encoding_without_our_characters(tmp_path: Path, tinylm: str) -> None:
    folder = tmp_path / "modèle"
    folder.symlink_to(tinylm)
    done = run(f"{MODULE} inspect {folder}", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, "")
    assert r"mod\xe8le" in done.stdout

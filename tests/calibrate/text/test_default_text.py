"""The calibration text that comes with the package: whole, mixed, and what its list says."""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path

from ggufactory.calibrate.text import default_text
from ggufactory.calibrate.text.corpus import read_text

FOLDER = Path(default_text.__file__).parent
SCRIPTS = ("LATIN", "CYRILLIC", "ARABIC", "DEVANAGARI", "HIRAGANA", "HANGUL", "CJK", "HEBREW", "THAI", "TAMIL", "GREEK")


def test_it_is_what_its_list_says() -> None:
    data = default_text.read_default_text()
    listed = (FOLDER / "default_text.md").read_text(encoding="utf-8")
    assert hashlib.sha256(data).hexdigest() in listed
    assert f"{len(data):,} bytes" in listed
    rows = [line.split("|") for line in listed.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert {row[4].strip() for row in rows} == {"MIT", "BSD-3-Clause", "PSF-2.0"}
    terms = (FOLDER / "default_text_licences.txt").read_text(encoding="utf-8")
    assert "Redistributions of source code must retain" in terms
    assert "PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2" in terms


def test_its_beginning_is_as_mixed_as_the_whole() -> None:
    text = read_text("default")
    assert text.name == default_text.DEFAULT_NAME
    for part in (text.content, text.content[: len(text.content) // 4]):
        for script in SCRIPTS:
            assert any(unicodedata.name(letter, "").startswith(script) for letter in set(part)), script
        for word in ("def ", "function", "User:", "#include", "{%"):
            assert word in part, word

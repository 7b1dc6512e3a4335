"""Texts in chunks, as llama-imatrix cuts them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ggufactory.architectures import describe
from ggufactory.calibrate.imatrix import read_importance_matrix
from ggufactory.calibrate.text import Tokenizer, corpus, read_corpus, tokenizer_of
from ggufactory.checkpoint import open_checkpoint
from ggufactory.errors import InputError
from sample_vocabularies import BYTE_CHARACTERS, BothTokenizers, made

DATA = Path(__file__).parents[2] / "data"
LETTERS = made("gpt2", BYTE_CHARACTERS, merges=["x y"], pre="gpt-2")
"""A token for each byte; none is added."""


@pytest.fixture(scope="module")
def letters() -> Tokenizer:
    return tokenizer_of(LETTERS)


def _write(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


def test_as_many_chunks_as_llama_imatrix_counted(tinylm: str, tmp_path: Path) -> None:
    metadata = describe(open_checkpoint(tinylm)).metadata
    text = Path(tinylm) / "calibration.txt"
    found = read_corpus([str(text)], tokenizer_of(metadata), context=128)
    golden = read_importance_matrix(str(DATA / "imatrix" / "tinylm-f32.imatrix.gguf"))
    assert found.chunks.shape == (golden.chunk_count, 128) == (790, 128)
    assert found.datasets == (str(text),)
    both = BothTokenizers(metadata, tmp_path)
    # --file drops the line end at the file's end.
    tokens = both.theirs.tokenize(text.read_text("utf-8").removesuffix("\n"), add_special=True)
    want = np.array(tokens[: 790 * 128], np.int32).reshape(790, 128)
    want[:, 0] = both.theirs.bos
    assert found.chunks.dtype == np.int32
    assert np.array_equal(found.chunks, want)


def test_every_chunk_begins_as_the_vocabulary_has_it(tmp_path: Path, letters: Tokenizer) -> None:
    text = _write(tmp_path, "a.txt", b"0123456789")
    zero = BYTE_CHARACTERS.index("0")
    assert (read_corpus([text], letters, context=4).chunks - zero).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    beginning = tokenizer_of(
        made("gpt2", BYTE_CHARACTERS, merges=["x y"], pre="gpt-2", add_bos_token=True, bos_token_id=7)
    )
    # Its own beginning-of-text shifts the text by one; the other chunks' first tokens are lost.
    chunks = read_corpus([text], beginning, context=4).chunks
    assert (chunks - zero)[:, 1:].tolist() == [[0, 1, 2], [4, 5, 6]]
    assert chunks[:, 0].tolist() == [7, 7]


def test_chunks_do_not_cross_files(tmp_path: Path, letters: Tokenizer) -> None:
    files = [_write(tmp_path, "a", b"aaaabbbbc"), _write(tmp_path, "b", b"ddddeeeef")]
    found = read_corpus(files, letters, context=4)
    assert ["".join(BYTE_CHARACTERS[t] for t in chunk) for chunk in found.chunks] == ["aaaa", "bbbb", "dddd", "eeee"]
    assert found.datasets == tuple(files)
    assert len(read_corpus(files, letters, context=4, limit=3).chunks) == 3
    assert len(read_corpus(files, letters, context=4, limit=9).chunks) == 4


def test_one_line_end_is_dropped(tmp_path: Path) -> None:
    assert corpus.read_text(_write(tmp_path, "a", b"text\r\n\n")).content == "text\r\n"
    assert corpus.read_text(_write(tmp_path, "b", b"\xef\xbb\xbftext")).content == "\ufefftext"


def test_text_that_is_not_utf_8(tmp_path: Path, letters: Tokenizer) -> None:
    path = _write(tmp_path, "latin.txt", b"caf\xe9 au lait")
    with pytest.raises(InputError, match=r"latin.txt: not UTF-8 at byte 3 \(0xE9\)"):
        read_corpus([path], letters, context=4)


def test_too_little_text(tmp_path: Path, letters: Tokenizer) -> None:
    enough, short = _write(tmp_path, "enough", b"01234567"), _write(tmp_path, "short", b"0123456")
    with pytest.raises(InputError, match="short: the text has 7 tokens; two contexts need 8"):
        read_corpus([enough, short], letters, context=4)


def test_too_much_text(tmp_path: Path, letters: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "MAX_TEXT_BYTES", 7)
    with pytest.raises(InputError, match="has 8 bytes; a file of calibration text has at most 7"):
        read_corpus([_write(tmp_path, "a", b"01234567")], letters, context=1)


@pytest.mark.parametrize(
    ("context", "limit", "message"), [(0, None, "a context of 0"), (4, 0, "0 chunks of calibration text are none")]
)
def test_numbers_that_mean_nothing(
    context: int, limit: int | None, message: str, tmp_path: Path, letters: Tokenizer
) -> None:
    with pytest.raises(InputError, match=message):
        read_corpus([_write(tmp_path, "a", b"01234567")], letters, context=context, limit=limit)


def test_no_such_text(tmp_path: Path, letters: Tokenizer) -> None:
    with pytest.raises(InputError, match=r"no calibration text .*/none.txt"):
        read_corpus([str(tmp_path / "none.txt")], letters, context=4)
    with pytest.raises(InputError, match="no calibration text is given"):
        read_corpus([], letters, context=4)

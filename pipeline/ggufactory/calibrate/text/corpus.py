"""Calibration text as chunks of tokens, as llama-imatrix cuts it.

Source: `compute_imatrix` of llama.cpp's tools/imatrix/imatrix.cpp, and `--file` of its common/arg.cpp. That takes
one file; several are cut each by itself here, so that no chunk runs from one text into another. The text that the
package brings with it is called "default".
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ggufactory.calibrate.text.default_text import DEFAULT, DEFAULT_NAME, read_default_text
from ggufactory.calibrate.text.tokenizer import Tokenizer
from ggufactory.errors import InputError
from ggufactory.storage import open_file

MAX_TEXT_BYTES = 16 << 20
"""Of one file. Calibration reads some hundred thousand tokens; more text is a mistake, or a corpus for training."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Calibration text, ready to be evaluated: each chunk by itself."""

    chunks: npt.NDArray[np.int32]
    """Ids of tokens, [chunks, context]. The first of each is beginning-of-text where the vocabulary adds one
    (in the place of the text's own token, as llama-imatrix has it), else the text's own."""
    datasets: tuple[str, ...]
    """The files, as they were named."""


@dataclass(frozen=True, slots=True)
class Text:
    """A calibration text. `uri`: as it was named; `name`: what a matrix tells of it; `sha256`: of the file."""

    uri: str
    name: str
    content: str
    sha256: str


def cut_corpus(texts: Sequence[Text], tokenizer: Tokenizer, *, context: int, limit: int | None = None) -> Corpus:
    """The texts' chunks of `context` tokens, in their order; what is left of a text is dropped.

    `limit`: that many chunks at most. InputError for a text that is shorter than two chunks.
    """
    if not texts:
        raise InputError("no calibration text is given")
    if limit is not None and limit < 1:
        raise InputError(f"{limit} chunks of calibration text are none", fix="Ask for one or more")
    found = [chunks(tokenizer.encode_whole(text.content), context, tokenizer, text.uri) for text in texts]
    return Corpus(np.concatenate(found)[:limit], tuple(text.uri for text in texts))


def read_corpus(uris: Sequence[str], tokenizer: Tokenizer, *, context: int, limit: int | None = None) -> Corpus:
    """`cut_corpus` of files. InputError also for what `read_text` refuses."""
    return cut_corpus([read_text(uri) for uri in uris], tokenizer, context=context, limit=limit)


def chunks(tokens: Sequence[int], context: int, tokenizer: Tokenizer, name: str) -> npt.NDArray[np.int32]:
    """The tokens of the text `name`, [chunks, context]. InputError for less than two chunks."""
    if context < 1:
        raise InputError(f"a context of {context} tokens is none")
    if len(tokens) < 2 * context:
        raise InputError(
            f"{name}: the text has {len(tokens):,} tokens; two contexts need {2 * context:,}",
            fix="Give more text, or a smaller context",
        )
    whole = len(tokens) // context
    cut = np.array(tokens[: whole * context], np.int32).reshape(whole, context)
    if tokenizer.adds_bos and tokenizer.bos_id is not None:
        cut[:, 0] = tokenizer.bos_id
    return cut


def read_text(uri: str, what: str = "calibration text") -> Text:
    """A text: "default", or a file, local, `s3://bucket/key` or `hf://org/name/file`. One line end at its end is
    dropped. `what`: it is called in messages. InputError for one that is missing, larger than `MAX_TEXT_BYTES`, or not
    UTF-8."""
    name, data = (DEFAULT_NAME, read_default_text()) if uri == DEFAULT else _read_file(uri, what)
    try:
        content = data.removesuffix(b"\n").decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{uri}: not UTF-8 at byte {error.start:,} (0x{data[error.start]:02X})",
            fix=f"{what.capitalize()} is plain text in UTF-8",
        ) from error
    return Text(uri, name, content, hashlib.sha256(data).hexdigest())


def _read_file(uri: str, what: str) -> tuple[str, bytes]:
    store, name = open_file(uri)
    info = store.stat(name)
    if info is not None and info.size > MAX_TEXT_BYTES:
        raise InputError(
            f"{uri} has {info.size:,} bytes; a file of {what} has at most {MAX_TEXT_BYTES:,}",
            fix="Give a part of it: some hundred thousand tokens are plenty",
        )
    found = store.read(name, limit=MAX_TEXT_BYTES)
    if found is None:
        raise InputError(f"there is no {what} {uri}")
    return name, found[0]

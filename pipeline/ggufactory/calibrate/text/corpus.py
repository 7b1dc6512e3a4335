"""Calibration text as chunks of tokens, as llama-imatrix cuts it.

Source: `compute_imatrix` of llama.cpp's tools/imatrix/imatrix.cpp, and `--file` of its common/arg.cpp. That takes
one file; several are cut each by itself here, so that no chunk runs from one text into another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ggufactory.calibrate.text.tokenizer import Tokenizer
from ggufactory.errors import InputError
from ggufactory.storage import open_file

MAX_TEXT_BYTES = 64 << 20
"""Of one file. Calibration reads some hundred thousand tokens; more text is a mistake, or a corpus for training."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Calibration text, ready to be evaluated: each chunk by itself."""

    chunks: npt.NDArray[np.int32]
    """Ids of tokens, [chunks, context]. The first of each is beginning-of-text where the vocabulary adds one
    (in the place of the text's own token, as llama-imatrix has it), else the text's own."""
    datasets: tuple[str, ...]
    """The files, as they were named."""


def read_corpus(uris: Sequence[str], tokenizer: Tokenizer, *, context: int, limit: int | None = None) -> Corpus:
    """The texts' chunks of `context` tokens, in the order of the files; what is left of a file is dropped.

    `limit`: that many chunks at most. InputError for a file that is missing, larger than `MAX_TEXT_BYTES`, not
    UTF-8, or shorter than two chunks.
    """
    if not uris:
        raise InputError("no calibration text is given")
    if limit is not None and limit < 1:
        raise InputError(f"{limit} chunks of calibration text are none", fix="Ask for one or more")
    found = [chunks(tokenizer.encode_whole(read_text(uri)), context, tokenizer, uri) for uri in uris]
    return Corpus(np.concatenate(found)[:limit], tuple(uris))


def chunks(tokens: Sequence[int], context: int, tokenizer: Tokenizer, name: str) -> npt.NDArray[np.int32]:
    """The tokens of the text `name`, [chunks, context]. InputError for less than two chunks."""
    if context < 1:
        raise InputError(f"a context of {context} tokens is none")
    if len(tokens) < 2 * context:
        raise InputError(
            f"{name}: the text has {len(tokens):,} tokens; two contexts need {2 * context:,}",
            fix="Calibrate with more text, or with a smaller context",
        )
    whole = len(tokens) // context
    cut = np.array(tokens[: whole * context], np.int32).reshape(whole, context)
    if tokenizer.adds_bos and tokenizer.bos_id is not None:
        cut[:, 0] = tokenizer.bos_id
    return cut


def read_text(uri: str) -> str:
    """A calibration text, local, `s3://bucket/key` or `hf://org/name/file`; one line end at its end is dropped."""
    store, name = open_file(uri)
    found = store.read(name, limit=MAX_TEXT_BYTES)
    if found is None:
        raise InputError(f"there is no calibration text {uri}")
    data, _ = found
    try:
        return data.removesuffix(b"\n").decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{uri}: not UTF-8 at byte {error.start:,} (0x{data[error.start]:02X})",
            fix="Calibration text is plain text in UTF-8",
        ) from error

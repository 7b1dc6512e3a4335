"""A ladder made with our importance matrix is as good as one made with llama-imatrix's: perplexity by llama.cpp."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ggufactory.calibrate.settings import CalibrationSettings
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from llama_oracle import LlamaModel, LlamaVocabulary
from silent_watcher import SilentWatcher

CONTEXT = 128
"""Of the recorded calibration, and of the recorded perplexities."""
CHUNKS = 100
"""Of the 790 that llama-imatrix took: enough, and seconds."""
EVALUATED = 60
"""Chunks of the evaluation text."""
LADDER = ("Q4_K_M", "IQ3_XXS", "IQ2_XS")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tinylm: str, tinylm_imatrix: str, local_ray: str) -> list[Path]:
    """The ladder with a matrix of ours, and with llama-imatrix's, of the same text."""
    ours, theirs = tmp_path_factory.mktemp("ours"), tmp_path_factory.mktemp("theirs")
    settings = CalibrationSettings(texts=(f"{tinylm}/calibration.txt",), context=CONTEXT, chunks=CHUNKS)
    ladder_job.run(JobSpec(source=tinylm, to=str(ours), ladder=LADDER, calibration=settings), SilentWatcher())
    ladder_job.run(JobSpec(source=tinylm, to=str(theirs), ladder=LADDER, imatrix=(tinylm_imatrix,)), SilentWatcher())
    return [ours, theirs]


@pytest.mark.cluster
@pytest.mark.parametrize("rung", LADDER)
def test_perplexity_is_within_the_error_bar(folders: list[Path], tinylm: str, rung: str) -> None:
    losses = [_losses(folder / f"tinylm-{rung}.gguf", Path(tinylm) / "evaluation.txt") for folder in folders]
    ours, theirs = losses
    assert ours.shape == theirs.shape
    difference = ours - theirs
    assert not np.array_equal(ours, theirs), "two matrices make two files"
    # The error bar of a perplexity, as llama-perplexity gives it; that of the paired difference is narrower by far.
    error = theirs.std() / np.sqrt(theirs.size - 1)
    assert abs(difference.mean()) < error
    assert difference.mean() < 4 * difference.std() / np.sqrt(difference.size - 1)


def _losses(file: Path, text: Path) -> np.ndarray:
    """Of each token of the second half of each chunk, as llama-perplexity counts them."""
    vocabulary = LlamaVocabulary(str(file))
    tokens = vocabulary.tokenize(text.read_text(encoding="utf-8").removesuffix("\n"), add_special=True)
    bos = vocabulary.bos
    vocabulary.close()
    assert bos is not None
    model = LlamaModel(str(file), context=CONTEXT)
    found = []
    for start in range(0, min(len(tokens) // CONTEXT, EVALUATED) * CONTEXT, CONTEXT):
        chunk = [bos, *tokens[start + 1 : start + CONTEXT]]
        logits = model.logits(chunk)[CONTEXT // 2 : -1].astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        following = np.array(chunk[CONTEXT // 2 + 1 :])
        found.append(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(following)), following])
    model.close()
    return np.concatenate(found)

"""Text parts of models with images: what `calibrate` runs computes what llama.cpp computes from the converted file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from converted_rows import conversion
from ggufactory.calibrate.streamed_model import StreamedModel
from ggufactory.checkpoint import open_checkpoint
from ggufactory.job import ladder_job
from ggufactory.job.calibration_job import calibrate
from ggufactory.job.calibration_spec import CalibrationSpec
from ggufactory.job.job_spec import JobSpec
from ggufactory.observe.calibration_log import CalibrationLog
from llama_oracle import LlamaModel
from silent_watcher import SilentWatcher
from small_checkpoints import write_checkpoint

TOKENS = 40
NOT_LOADED = "gemma3_images"
"""llama.cpp loads no Gemma 3 whose tokenizer is smaller than its embeddings, as the recorded one's is."""
PER_LAYER = 7
"""Tensors of a layer that is no mixture: of attention four, of the feed-forward part three."""


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("name", ["mistral3_images", "qwen25_vl"])
def test_logits(name: str, tmp_path: Path) -> None:
    source = str(write_checkpoint(name, tmp_path))
    spec = JobSpec(source=source, to=str(tmp_path), ladder=("F32",), name="x", pre_tokenizer=_pre(name))
    ladder_job.run(spec, SilentWatcher())
    reference = LlamaModel(str(tmp_path / "x-F32.gguf"), context=TOKENS)
    tokens = np.random.default_rng(7).integers(3, reference.vocabulary - 3, TOKENS)
    wanted = reference.logits([int(token) for token in tokens])
    reference.close()
    found = _logits(StreamedModel(open_checkpoint(source), torch.float32), torch.from_numpy(tokens)[None])
    assert np.abs(found - wanted).max() <= 2**-9 * np.abs(wanted).max()


@pytest.mark.parametrize(("name", "layers"), [("mistral3_images", 2), ("qwen25_vl", 1), (NOT_LOADED, 2)])
def test_every_tensor_gets_an_entry(name: str, layers: int, tmp_path: Path, tinylm: str) -> None:
    made = calibrate(
        CalibrationSpec(
            source=str(write_checkpoint(name, tmp_path)),
            texts=(f"{tinylm}/evaluation.txt",),
            to=str(tmp_path / "a.gguf"),
            context=32,
            chunks=4,
            pre_tokenizer=_pre(name),
        ),
        CalibrationLog(),
    )
    assert len(made.imatrix.entries) == layers * PER_LAYER
    assert all((entry.counts == 4 * 32).all() for entry in made.imatrix.entries.values())


def _pre(name: str) -> str | None:
    return conversion(name).pre_tokenizer


def _logits(model: StreamedModel, tokens: torch.Tensor) -> np.ndarray:
    with model.embedding():
        hidden = model.embed(tokens)
    for layer, call in enumerate(model.calls(*tokens.shape)):
        with model.layer(layer):
            hidden = model.run_layer(layer, hidden, call)
    with model.head():
        return model.logits(tokens, hidden, keep=tokens.shape[1])[0].numpy()

"""What a converted file holds is put back where it came from in the checkpoint, for every family."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from converted_rows import DATA, conversion, read_rows
from ggufactory.architectures import describe
from ggufactory.architectures.origins import origins
from ggufactory.checkpoint import Checkpoint, open_checkpoint
from ggufactory.checkpoint.packing import unpacked
from ggufactory.checkpoint.whole_rows import read_whole, reader_of
from ggufactory_kernels import dequantize
from small_checkpoints import CHECKPOINTS, write_checkpoint

Numbers = npt.NDArray[np.float32]

LEFT_OUT = (
    "embeddings.position_embeddings.weight",
    "roberta.embeddings.position_embeddings.weight",
    "language_model.model.embed_tokens.weight",
)
"""Rows that the converter leaves out: of RoBERTa's positions, of Gemma 3's images."""
RECORDED = sorted(path.parent.name for path in DATA.glob("*/checkpoint"))


def _numbers(checkpoint: Checkpoint, name: str) -> Numbers:
    """A tensor's own, as the converter rounds them: [numbers]."""
    source = unpacked(checkpoint, checkpoint.read_json("config.json") or {})[name].source
    assert source is not None
    found: Numbers = dequantize(read_whole(source, reader_of(checkpoint)), source.dtype, source.columns).ravel()
    return found


def _rounded(numbers: Numbers, kind: str) -> Numbers:
    if kind != "BF16":
        return numbers
    rounded: Numbers = torch.from_numpy(numbers).bfloat16().float().numpy()
    return rounded


@pytest.mark.parametrize("name", [*RECORDED, *CHECKPOINTS])
def test_a_converted_model_is_put_back(name: str, tmp_path: Path) -> None:
    folder = DATA / name / "checkpoint" if name in RECORDED else write_checkpoint(name, tmp_path)
    checkpoint = open_checkpoint(str(folder))
    outputs = {tensor.name: tensor for tensor in describe(checkpoint, conversion(name)).tensors}
    found = origins(checkpoint)
    assert found
    for tensor, parts in found.items():
        wanted = _numbers(checkpoint, tensor)
        put = np.full(wanted.shape, np.nan, np.float32)
        rounded = wanted.copy()
        for part in parts:
            output = outputs[part.output]
            rows, _ = read_rows(output, folder, part.first, part.first + part.rows)
            part.put_back(dequantize(rows, output.converted_type, part.columns), put)
            rounded = _rounded(wanted, output.converted_type)
        covered = ~np.isnan(put)
        assert covered.sum() == sum(part.rows * part.columns for part in parts), tensor
        np.testing.assert_array_equal(put[covered], rounded[covered], err_msg=tensor)
        assert covered.all() or tensor in LEFT_OUT, tensor

"""Activations as llama.cpp's processors round them: number by number, and in what llama-perplexity found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from gguf import GGMLQuantizationType, quants
from torch.nn import functional

from converted_rows import DATA, conversion
from ggufactory.calibrate.products import Products
from ggufactory.errors import InputError
from ggufactory.evaluate import activation_rounding
from ggufactory.evaluate.activation_rounding import BY_WEIGHTS, RoundedInputs, rounded
from ggufactory.job.evaluation_job import evaluate
from ggufactory.job.evaluation_spec import EvaluationSpec
from ggufactory.job.job_spec import JobSpec
from ggufactory.job.ladder_job import run
from ggufactory.observe.calibration_log import CalibrationLog
from ggufactory.plan.ftypes import FILE_TYPES
from ggufactory.plan.ladder import Rung
from ggufactory.plan.options import Options
from ggufactory_kernels import TENSOR_TYPES
from silent_watcher import SilentWatcher
from small_checkpoints import write_checkpoint

LADDER = ("BF16", "Q8_0", "Q6_K", "Q5_1")
"""Each is multiplied with another type of activations, and each is closer to the source than the noise of that."""
FAMILY_TEXT = str(DATA.parent / "imatrix" / "families" / "calibration.txt")


def _rows() -> npt.NDArray[np.float32]:
    """With a block of zeros, and blocks of very small and of large numbers."""
    rows = np.random.default_rng(1).standard_normal((5, 768)).astype(np.float32)
    rows[1, :512] = 0
    rows[2] *= 1e-6
    rows[3] *= 300
    return rows


def test_q8_0() -> None:
    rows, kind = _rows(), GGMLQuantizationType.Q8_0
    wanted = quants.dequantize(quants.quantize(rows, kind), kind)
    for name in ("Q8_0", "Q8_1"):  # whose numbers are the same
        np.testing.assert_array_equal(rounded(torch.from_numpy(rows), name).numpy(), wanted)


def test_q8_k() -> None:
    rows = _rows()
    wanted = np.zeros_like(rows).reshape(-1, 256)
    for block, out in zip(rows.reshape(-1, 256), wanted, strict=True):
        farthest = block[np.abs(block).argmax()]
        if farthest:
            inverse = np.float32(-127) / farthest
            out[:] = np.minimum(np.rint(block * inverse), 127) * (1 / inverse)
    np.testing.assert_array_equal(rounded(torch.from_numpy(rows), "Q8_K").numpy(), wanted.reshape(rows.shape))


@pytest.mark.parametrize(("kind", "dtype"), [("F16", torch.float16), ("BF16", torch.bfloat16), ("F32", torch.float32)])
def test_plain_types(kind: str, dtype: torch.dtype) -> None:
    rows = torch.from_numpy(_rows())
    assert torch.equal(rounded(rows, kind), rows.to(dtype).float())


def test_every_type_of_weights_has_one() -> None:
    assert TENSOR_TYPES.keys() - BY_WEIGHTS.keys() == {"F64", "I8", "I16", "I32", "I64"}


def test_only_products_with_parameters_are_rounded() -> None:
    weights = torch.nn.Parameter(torch.randn(2, 4, 256), requires_grad=False)
    inputs, others = torch.randn(3, 256), torch.randn(4, 256)
    with Products(), RoundedInputs({"experts": "Q8_K"}, lambda: {"experts": weights}):
        of_expert = functional.linear(inputs, weights[1])
        attention = inputs @ others.T
    assert torch.equal(of_expert, functional.linear(rounded(inputs, "Q8_K"), weights[1]))
    assert not torch.equal(of_expert, functional.linear(inputs, weights[1]))
    assert torch.equal(attention, inputs @ others.T)


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
def test_what_llama_perplexity_found(tmp_path: Path, tinylm: str) -> None:
    """Also of rungs whose own error is less than that of rounding the activations."""
    imatrix = str(DATA.parent / "imatrix" / "tinylm-bf16.imatrix.gguf")
    run(JobSpec(source=tinylm, to=str(tmp_path), ladder=LADDER, imatrix=(imatrix,)), SilentWatcher())
    found = evaluate(
        EvaluationSpec(
            places=(str(tmp_path),),
            source=tinylm,
            texts=(f"{tinylm}/evaluation.txt",),
            context=128,
            activations="as-llama.cpp",
        ),
        CalibrationLog(),
    ).rungs
    recorded = json.loads((DATA.parent / "whole_files.json").read_text())["files"]["imatrix"]
    for name in LADDER:
        wanted = recorded[name]["quality"]
        assert found[name].kld_mean == pytest.approx(wanted["kld_mean"], rel=0.1), name
        assert found[name].kld_median == pytest.approx(wanted["kld_median"], rel=0.1), name
        assert 100 * found[name].rms_probability_change == pytest.approx(wanted["rms_dp_percent"], rel=0.1), name
        assert abs(found[name].perplexity - wanted["perplexity"]) < wanted["perplexity_error"] / 10, name


def _mixture(tmp_path: Path, **types: str) -> EvaluationSpec:
    """A mixture whose experts have their gates and their ups in one parameter, and the rung `x` with these types."""
    name = "qwen3_moe_fused"
    source, to, told = str(write_checkpoint(name, tmp_path)), str(tmp_path / "out"), conversion(name).pre_tokenizer
    options = Options(tensor_types=tuple(types.items()))
    rung = Rung("x", FILE_TYPES["Q8_0"], options)
    run(JobSpec(source=source, to=to, ladder=(rung,), name="x", pre_tokenizer=told), SilentWatcher())
    asked: dict[str, Any] = {"context": 32, "chunks": 2, "pre_tokenizer": told, "activations": "as-llama.cpp"}
    return EvaluationSpec(places=(to,), source=source, texts=(FAMILY_TEXT,), **asked)


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
def test_a_mixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stacked experts, and the head, by the types that they have in the file."""
    kinds: list[str] = []
    original = activation_rounding.rounded

    def spy(inputs: torch.Tensor, kind: str) -> torch.Tensor:
        kinds.append(kind)
        return original(inputs, kind)

    monkeypatch.setattr(activation_rounding, "rounded", spy)
    spec = _mixture(tmp_path, ffn_down_exps="Q4_1", output="F16")
    assert evaluate(spec, CalibrationLog()).rungs["x"].kld_mean < 0.1
    assert set(kinds) == {"F32", "F16", "Q8_0", "Q8_1"}  # F32: the router, and products without weights


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
def test_a_parameter_that_is_rounded_in_two_ways(tmp_path: Path) -> None:
    spec = _mixture(tmp_path, ffn_gate_exps="Q4_1")
    with pytest.raises(InputError, match=r"gate_up_proj are stored in types .* Q8_0 and Q8_1.*--activations f32"):
        evaluate(spec, CalibrationLog())


def test_bfloat16_is_refused() -> None:
    with pytest.raises(InputError, match="computing in bfloat16 rounds them more"):
        EvaluationSpec(places=("x",), source="x", texts=("x",), compute_dtype="bfloat16", activations="as-llama.cpp")

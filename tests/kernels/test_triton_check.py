"""What hinders Triton is said, and is no error."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest
import torch

from ggufactory_kernels import __main__ as command
from ggufactory_kernels import triton_check

pytest.importorskip("triton", reason="Triton has no wheel for this machine")
from ggufactory_kernels import triton_ops


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    triton_check.missing.cache_clear()
    yield
    triton_check.missing.cache_clear()


def test_nothing() -> None:
    """By the interpreter, or for real where there is a GPU."""
    assert triton_check.missing() is None


def test_no_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_check, "find_spec", lambda name: None if name == "triton" else importlib.util.find_spec)
    assert triton_check.missing() == "Triton is not installed"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET")
    assert "no NVIDIA GPU" in str(triton_check.missing())


def _fail(error: Exception) -> object:
    def decode(*_: object) -> torch.Tensor:
        raise error

    return decode


@pytest.mark.parametrize("error", [RuntimeError("Failed to find C compiler.\nmore"), OSError("no space"), KeyError()])
def test_a_trial_that_fails(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(triton_ops, "decode_scaled_bytes", _fail(error))
    first_line = str(error).split("\n")[0] or "KeyError"
    assert triton_check.missing() == f"Triton cannot run: {first_line}"


def test_other_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_ops, "decode_scaled_bytes", lambda weights, *_: weights.bfloat16())
    assert "other numbers than the CPU" in str(triton_check.missing())


def test_a_full_gpu_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked again later, it may have room."""
    monkeypatch.setattr(triton_ops, "decode_scaled_bytes", _fail(RuntimeError("CUDA error: out of memory")))
    with pytest.raises(MemoryError):
        triton_check.missing()
    monkeypatch.undo()
    assert triton_check.missing() is None


@pytest.mark.parametrize(
    ("on_gpu", "reason", "said"),
    [
        (True, None, "triton: available: FP8, int8, GPTQ and AWQ"),
        (True, "Triton is not installed", "triton: not available: Triton is not installed; the CPU decodes"),
        (False, None, "triton: not available: without cuda"),
    ],
)
def test_explain_says_so(monkeypatch: pytest.MonkeyPatch, on_gpu: bool, reason: str | None, said: str) -> None:
    monkeypatch.setattr(command.backends, "missing", lambda backend, type: None if on_gpu else "no GPU")
    monkeypatch.setattr(triton_check, "missing", lambda: reason)
    (line,) = [line for line in command.explain().splitlines() if line.startswith("triton")]
    assert line.startswith(said)

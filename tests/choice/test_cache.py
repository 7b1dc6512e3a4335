"""What a context takes: what llama.cpp allocates for it, and what is known of published models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from converted_rows import DATA, conversion
from ggufactory.choice.cache import cache_bytes
from ggufactory.choice.hyperparameters import Hyperparameters, from_json, of_metadata
from ggufactory.choice.need import compute_bytes
from ggufactory.job import ladder_job
from ggufactory.job.inspection import GgufSummary, inspect
from ggufactory.job.job_spec import JobSpec
from llama_oracle import buffers
from measured_targets import HYPERPARAMETERS
from silent_watcher import SilentWatcher

MIB = 1 << 20
FAMILIES = ("llama31", "gemma2", "gemma3", "cohere2", "gpt_oss", "deepseek_v3", "lfm2", "glm4_moe", "bert")
"""Plain, windows in three patterns, latent attention, states, layers that are left out, nothing kept at all."""


def told(**changes: Any) -> Hyperparameters:
    found = from_json({**HYPERPARAMETERS, **changes})
    assert found is not None
    return found


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("family", FAMILIES)
def test_as_llama_cpp_allocates_it(family: str, tmp_path: Path) -> None:
    source, pre = str(DATA / family / "checkpoint"), conversion(family).pre_tokenizer
    ladder_job.run(
        JobSpec(source=source, to=str(tmp_path), ladder=("BF16",), name="m", pre_tokenizer=pre), SilentWatcher()
    )
    found = inspect(str(tmp_path / "m-BF16.gguf"))
    assert isinstance(found, GgufSummary)
    model = of_metadata(found.metadata)
    assert model is not None
    for context in (512, 40000):
        cache, compute = buffers(str(tmp_path / "m-BF16.gguf"), context)
        assert cache_bytes(model, context) / MIB == pytest.approx(cache, abs=0.011), context
        ours = compute_bytes(model, context) / MIB
        assert compute <= ours, context
        assert ours <= 2 * compute or not model.number("attention.causal", 1), "not much too large"


def test_published_models() -> None:
    assert cache_bytes(told(), 8192) == 1 << 30, "Llama 3.1 8B"
    deepseek = told(
        **{
            "architecture": "deepseek2",
            "block_count": 62,
            "nextn_predict_layers": 1,
            "attention.head_count": 128,
            "attention.head_count_kv": 1,
            "attention.key_length": 576,
            "attention.value_length": 512,
            "attention.key_length_mla": 192,
            "attention.value_length_mla": 128,
        }
    )
    assert cache_bytes(deepseek, 4096) == 61 * 576 * 4096 * 2, "DeepSeek V3"
    gemma = told(
        **{
            "architecture": "gemma3",
            "block_count": 48,
            "attention.head_count": 16,
            "attention.key_length": 256,
            "attention.value_length": 256,
            "attention.sliding_window": 1024,
        }
    )
    assert cache_bytes(gemma, 32768) == (8 * 32768 + 40 * 1536) * 8 * 512 * 2, "Gemma 3 12B"
    pattern = told(**{**gemma.as_json(), "attention.sliding_window_pattern": [1] * 24 + [0] * 24})
    assert cache_bytes(pattern, 32768) == (24 * 32768 + 24 * 1536) * 8 * 512 * 2, "the file's own pattern"
    qwen = told(
        **{
            "architecture": "qwen3next",
            "block_count": 48,
            "attention.head_count": 16,
            "attention.head_count_kv": 2,
            "attention.key_length": 256,
            "attention.value_length": 256,
            "ssm.conv_kernel": 4,
            "ssm.inner_size": 4096,
            "ssm.state_size": 128,
            "ssm.group_count": 16,
        }
    )
    states = 36 * 4 * (3 * (4096 + 2 * 16 * 128) + 128 * 4096)
    assert cache_bytes(qwen, 4096) == 12 * 4096 * 2 * 512 * 2 + states, "Qwen3-Next"


def test_a_window_that_is_larger_than_the_context_changes_nothing() -> None:
    windowed = told(**{"architecture": "gpt-oss", "attention.sliding_window": 128})
    assert cache_bytes(windowed, 256) == cache_bytes(told(), 256)
    assert cache_bytes(windowed, 65536) < cache_bytes(told(), 65536)


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": 5},
        {"vocabulary": None},
        {"block_count": 0},
        {"block_count": 1 << 40},
        {"block_count": "32"},
        {"block_count": 1, "nextn_predict_layers": 1},
        {"attention.head_count": 0},
        {"attention.head_count": [8, "x"]},
        {"attention.head_count_kv": [1] * 5000},
        {"embedding_length": -1},
        {"ssm.inner_size": {"a": 1}},
    ],
)
def test_what_cannot_be_meant(change: dict[str, object]) -> None:
    assert from_json({**HYPERPARAMETERS, **change}) is None


def test_what_was_read_is_written() -> None:
    model = told(**{"attention.head_count_kv": [8, 0, 4]})
    assert from_json(model.as_json()) == model

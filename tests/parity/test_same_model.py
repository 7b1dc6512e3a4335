"""What llama.cpp computes from a converted checkpoint is what transformers computes from the checkpoint.

Single precision on both sides, so that only the order of sums differs: the file is the F32 rung, whose weights
are the converter's BF16 ones, exactly.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from converted_rows import conversion
from ggufactory.calibrate.streamed_model import StreamedModel
from ggufactory.checkpoint import open_checkpoint
from ggufactory.container.metadata import KeyValue, ValueType
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from ggufactory.plan.options import Options
from llama_oracle import LlamaModel
from silent_watcher import SilentWatcher

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

DATA = Path(__file__).parents[1] / "data" / "architectures"
SCORES_BY_SIGMOID = 2
SETTLED = {
    "deepseek_v3": KeyValue("deepseek2.expert_gating_func", ValueType.UINT32, SCORES_BY_SIGMOID),
    "deepseek_v3_fp8": KeyValue("deepseek2.expert_gating_func", ValueType.UINT32, SCORES_BY_SIGMOID),
    "dots1": KeyValue("dots1.expert_gating_func", ValueType.UINT32, SCORES_BY_SIGMOID),
}
"""The recorded checkpoints' config.json leaves out `scoring_func`, which published ones have: the converter
writes no key, and llama.cpp takes another function than transformers."""
NOT_COMPARED = {
    "olmoe": "llama.cpp takes OLMoE's key norm for as wide as its query norm; the recorded one is narrower",
    "llama4_text": "llama.cpp aborts on a Llama 4 whose blocks all have rotary positions: the fourth would have none",
    "phimoe": "llama.cpp gives Phi-3.5 MoE other norms (RMS) and other weights of experts than transformers",
}
STREAMED = {"deepseek_v3_fp8", "gpt_oss", "gpt_oss_mxfp4"}
"""Weights that transformers decodes on GPUs or with other packages only, and a ramp of YaRN that llama.cpp rounds:
the reference is transformers' model as `calibrate` runs it, with weights decoded here."""
TOKENS = 40
GENERATED = 6

Logits = npt.NDArray[np.float32]
Reference = Callable[[list[int]], Logits]


def _generates(folder: Path) -> bool:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    name = str(config["architectures"][0])
    return name.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration"))


FAMILIES = sorted(path.parent.name for path in DATA.glob("*/checkpoint") if _generates(path))


@pytest.fixture
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LlamaModel]:
    name = request.param
    if name in NOT_COMPARED:
        pytest.skip(NOT_COMPARED[name])
    spec = JobSpec(
        source=str(DATA / name / "checkpoint"),
        to=str(tmp_path),
        ladder=("F32",),
        allow_requantize=True,
        exact_source=name in STREAMED,
        pre_tokenizer=conversion(name).pre_tokenizer,
        options=Options(metadata=(SETTLED[name],) if name in SETTLED else ()),
    )
    ladder_job.run(spec, SilentWatcher())
    model = LlamaModel(str(tmp_path / "checkpoint-F32.gguf"), context=TOKENS)
    yield model
    model.close()


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(("loaded", "family"), [(name, name) for name in FAMILIES], indirect=["loaded"])
def test_logits_and_greedy_tokens(loaded: LlamaModel, family: str) -> None:
    reference = _streamed(family) if family in STREAMED else _loaded(family)
    tokens = [int(t) for t in np.random.default_rng(7).integers(3, loaded.vocabulary - 3, TOKENS - GENERATED)]
    ours, theirs = loaded.logits(tokens), reference(tokens)
    assert np.abs(ours - theirs).max() <= 2**-9 * np.abs(theirs).max()
    for _ in range(GENERATED):
        following = int(reference(tokens)[-1].argmax())
        assert int(loaded.logits(tokens)[-1].argmax()) == following
        tokens.append(following)


def _loaded(family: str) -> Reference:
    model = transformers.AutoModelForCausalLM.from_pretrained(
        DATA / family / "checkpoint", dtype=torch.float32, attn_implementation="eager"
    )

    def logits(tokens: list[int]) -> Logits:
        with torch.no_grad():
            found: Logits = model(torch.tensor([tokens])).logits[0].float().numpy()
        return found

    return logits


def _streamed(family: str) -> Reference:
    model = StreamedModel(open_checkpoint(str(DATA / family / "checkpoint")), torch.float32)

    def logits(tokens: list[int]) -> Logits:
        given = torch.tensor([tokens])
        with model.embedding():
            hidden = model.embed(given)
        for layer, call in enumerate(model.calls(*given.shape)):
            with model.layer(layer):
                hidden = model.run_layer(layer, hidden, call)
        with model.head():
            return model.logits(given, hidden, keep=len(tokens))[0].numpy()

    return logits

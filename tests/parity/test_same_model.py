"""What llama.cpp computes from a converted checkpoint is what transformers computes from the checkpoint.

Single precision on both sides, so that only the order of sums differs: the file is the F32 rung, whose weights
are the converter's BF16 ones, exactly.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from converted_rows import conversion
from ggufactory import job
from ggufactory.container.metadata import KeyValue, ValueType
from ggufactory.plan.options import Options
from ggufactory.spec import JobSpec
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
    "gpt_oss": "llama.cpp rounds the bounds of YaRN's ramp, transformers, told `truncate: false`, does not",
    "gpt_oss_mxfp4": "the same, and transformers decodes MXFP4 weights with another package only",
    "llama4_text": "llama.cpp aborts on a Llama 4 whose blocks all have rotary positions: the fourth would have none",
    "phimoe": "llama.cpp gives Phi-3.5 MoE other norms (RMS) and other weights of experts than transformers",
    "deepseek_v3_fp8": "transformers decodes FP8 weights on GPUs only; deepseek_v3 is the same model in BF16",
}
TOKENS = 40
GENERATED = 6


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
        pre_tokenizer=conversion(name).pre_tokenizer,
        options=Options(metadata=(SETTLED[name],) if name in SETTLED else ()),
    )
    job.run(spec, SilentWatcher())
    model = LlamaModel(str(tmp_path / "checkpoint-F32.gguf"), context=TOKENS)
    yield model
    model.close()


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(("loaded", "family"), [(name, name) for name in FAMILIES], indirect=["loaded"])
def test_logits_and_greedy_tokens(loaded: LlamaModel, family: str) -> None:
    reference = transformers.AutoModelForCausalLM.from_pretrained(
        DATA / family / "checkpoint", dtype=torch.float32, attn_implementation="eager"
    )
    tokens = [int(t) for t in np.random.default_rng(7).integers(3, loaded.vocabulary - 3, TOKENS - GENERATED)]
    ours, theirs = loaded.logits(tokens), _logits(reference, tokens)
    assert np.abs(ours - theirs).max() <= 2**-9 * np.abs(theirs).max()
    for _ in range(GENERATED):
        following = int(_logits(reference, tokens)[-1].argmax())
        assert int(loaded.logits(tokens)[-1].argmax()) == following
        tokens.append(following)


def _logits(model: torch.nn.Module, tokens: list[int]) -> npt.NDArray[np.float32]:
    with torch.no_grad():
        found: npt.NDArray[np.float32] = model(torch.tensor([tokens])).logits[0].float().numpy()
    return found

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

from ggufactory import job
from ggufactory.spec import JobSpec
from llama_oracle import LlamaModel
from silent_watcher import SilentWatcher

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

DATA = Path(__file__).parents[1] / "data" / "architectures"
TOKENS = 40
GENERATED = 6


def _generates(folder: Path) -> bool:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    name = str(config["architectures"][0])
    return name.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration"))


FAMILIES = sorted(path.parent.name for path in DATA.glob("*/checkpoint") if _generates(path))


@pytest.fixture
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LlamaModel]:
    source = DATA / request.param / "checkpoint"
    job.run(JobSpec(source=str(source), to=str(tmp_path), ladder=("F32",), allow_requantize=True), SilentWatcher())
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

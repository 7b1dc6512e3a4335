"""Pages that are generated are what their generators make now."""

from __future__ import annotations

import json
import runpy
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_page_of_models_is_current() -> None:
    generator = runpy.run_path(str(ROOT / "ops" / "docs" / "models.py"))
    assert generator["PAGE"].read_text(encoding="utf-8") == generator["page"](), "run python ops/docs/models.py"


def test_every_family_is_on_the_page_once() -> None:
    from ggufactory.architectures.registry import FAMILIES

    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    for family in FAMILIES:
        for name in family.classes:
            assert page.count(f"`{name}`") == 1, name


def test_the_page_of_sizes_is_current() -> None:
    generator = runpy.run_path(str(ROOT / "ops" / "docs" / "sizing.py"))
    assert generator["PAGE"].read_text(encoding="utf-8") == generator["page"](), "run python ops/docs/sizing.py"


def _check_plans(models: Sequence[str], ladders: Sequence[str] | None = None) -> None:
    generator = runpy.run_path(str(ROOT / "ops" / "docs" / "sizing_plans.py"))
    kept = json.loads(generator["PLANS"].read_text(encoding="utf-8"))
    assert set(kept) == set(generator["MODELS"])
    for model in models:
        wanted = {ladder: kept[model][ladder] for ladder in ladders or generator["LADDERS"]}
        found = generator["plans_of"](model, tuple(wanted))
        assert found == wanted, "run ops/docs/sizing_plans.py, then ops/docs/sizing.py"


def test_its_plans_are_those_that_are_made_now() -> None:
    _check_plans(["Llama 3.1 8B"], ["imatrix-small"])


@pytest.mark.long
def test_all_its_plans_are_those_that_are_made_now() -> None:
    _check_plans(["Llama 3.1 8B", "Llama 3.1 70B", "Llama 3.1 405B", "DeepSeek V3 671B"])


def test_hours_are_the_longer_one_of_processors_and_network() -> None:
    generator = runpy.run_path(str(ROOT / "ops" / "docs" / "sizing.py"))
    facts = {"weights": 1, "weights_of_a_token": 1, "largest_layer_weights": 1, "rungs": 2, "spans": 1, "parts": 2}
    sizes = {"source_bytes": 10**9, "written_bytes": 10**10, "largest_file_bytes": 10**9, "worker_bytes": 1}
    job = generator["Job"]("m", "l", processor_seconds=100, **facts, **sizes)
    assert job.seconds(cores=1, gbit=1e6) == pytest.approx(100)
    # 10 GB there and back at 1 GB/s; 1 GB is read back by one task in 0.76 s, however many there are.
    assert job.seconds(cores=1e9, gbit=8) == pytest.approx(20)
    assert job.seconds(cores=1e9, gbit=8e6) == pytest.approx(0.76, rel=1e-3)

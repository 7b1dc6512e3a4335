"""Pages that are generated are what their generators make now."""

from __future__ import annotations

import runpy
from pathlib import Path

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

"""The files of infra/, as the tests use them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

INFRA = Path(__file__).parents[1] / "infra"

EXAMPLE_SOURCES = "example-models/checkpoints"
EXAMPLE_TARGETS = "example-gguf/ladders"


def bucket_policy(name: str, *, sources: str, targets: str) -> dict[str, Any]:
    """A policy of infra/aws/iam for other places (bucket/prefix) than the example's."""
    text = (INFRA / "aws" / "iam" / f"{name}.json").read_text()
    for old, new in ((EXAMPLE_SOURCES, sources), (EXAMPLE_TARGETS, targets)):
        assert old in text
        (old_bucket, old_prefix), (new_bucket, new_prefix) = old.split("/"), new.split("/")
        text = text.replace(f":{old_bucket}/{old_prefix}/", f":{new_bucket}/{new_prefix}/")
        text = text.replace(f'"{old_prefix}/', f'"{new_prefix}/').replace(f':{old_bucket}"', f':{new_bucket}"')
    assert "example" not in text
    policy: dict[str, Any] = json.loads(text)
    return policy


def without(policy: Mapping[str, Any], statement: str) -> dict[str, Any]:
    """The policy less one of its statements."""
    kept = [s for s in policy["Statement"] if s["Sid"] != statement]
    assert len(kept) == len(policy["Statement"]) - 1
    return {**policy, "Statement": kept}

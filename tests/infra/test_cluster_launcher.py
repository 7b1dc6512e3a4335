"""The file for Ray's cluster launcher, by Ray's own validation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

from infra_files import INFRA

Config = dict[str, Any]


@pytest.fixture
def config() -> Config:
    loaded: Config = yaml.safe_load((INFRA / "aws" / "cluster.yaml").read_text())
    return loaded


def _validate(config: Config) -> None:
    validate_config(prepare_config(copy.deepcopy(config)))


def test_ray_takes_it(config: Config) -> None:
    _validate(config)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda c: c.update(max_worker=3),
        lambda c: c.update(idle_timeout_minutes="five"),
        lambda c: c.update(head_node_type="heads"),
        lambda c: c["available_node_types"]["cpu"].update(min_worker=1),
    ],
)
def test_ray_finds_mistakes(config: Config, spoil: Callable[[Config], None]) -> None:
    spoil(config)
    with pytest.raises((ValidationError, ValueError)):
        _validate(config)


def test_nodes_have_roles_and_no_keys(config: Config) -> None:
    kinds = config["available_node_types"]
    profiles = {name: kind["node_config"]["IamInstanceProfile"]["Arn"].split("/")[-1] for name, kind in kinds.items()}
    assert profiles == {"head": "ggufactory-driver", "cpu": "ggufactory-worker", "gpu": "ggufactory-worker"}
    assert kinds["head"]["resources"] == {"CPU": 0}
    for kind in kinds.values():
        assert kind["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
    assert "AWS_" not in yaml.safe_dump(config)
    assert "--env=RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert "/home/ggufactory/.ray/auth_token" in config["file_mounts"]

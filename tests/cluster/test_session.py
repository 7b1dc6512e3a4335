"""What a Ray is asked for, by a stand-in for `ray.init`; real ones are in the other tests of this folder."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import ray

from ggufactory.cluster.session import open_session


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments of `ray.init`."""
    found: dict[str, Any] = {}

    def init(**arguments: Any) -> SimpleNamespace:
        found.update(arguments)
        return SimpleNamespace(dashboard_url="127.0.0.1:8265" if arguments.get("include_dashboard") else "")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return found


def test_an_embedded_ray_serves_no_dashboard_unasked(asked: dict[str, Any]) -> None:
    with open_session(None, 2, 0) as session:
        assert session.dashboard is None
    assert (asked["address"], asked["include_dashboard"], asked["num_cpus"]) == ("local", False, 2)


def test_the_dashboard_and_what_it_shows(asked: dict[str, Any]) -> None:
    with open_session(None, None, 0, dashboard=True, metadata={"model": "m"}) as session:
        assert session.dashboard == "http://127.0.0.1:8265"
    assert asked["job_config"].metadata == {"model": "m"}


def test_a_cluster_gets_the_metadata_as_well(asked: dict[str, Any]) -> None:
    with open_session("auto", None, 0, dashboard=True, metadata={"model": "m"}) as session:
        assert not session.embedded
    assert asked["job_config"].metadata == {"model": "m"}
    assert "include_dashboard" not in asked

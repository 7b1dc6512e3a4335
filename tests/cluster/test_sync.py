"""A night's catalogue of three models on S3, on a cluster of two nodes: made once, made again where it is
stale, by one run at a time, and to the same bytes however often the driver is killed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from ggufactory.assemble.lease import read_lease
from ggufactory.cli import main
from ggufactory.cluster.shared_session import SharedSession
from ggufactory.publish.manifest import require
from ggufactory.publish.release import names_beside
from ggufactory.storage import open_store
from hub_server import HubServer, Repository, folder_files
from job_process import JobProcess, stored_parts
from neighbour_cluster import neighbour_cluster
from weed import Weed

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "whole_files.json").read_text())["files"]
EXPECTED = {
    "first-Q8_0.gguf": GOLDEN["plain"]["Q8_0"]["sha256"],
    "first-Q4_K_M.gguf": GOLDEN["plain"]["Q4_K_M"]["sha256"],
    "second-IQ3_S.gguf": GOLDEN["imatrix"]["IQ3_S"]["sha256"],
    "second-Q2_K.gguf": GOLDEN["imatrix"]["Q2_K"]["sha256"],
    "tinylm-Q6_K.gguf": GOLDEN["plain"]["Q6_K"]["sha256"],
    "tinylm-Q5_0.gguf": GOLDEN["plain"]["Q5_0"]["sha256"],
}

pytestmark = [pytest.mark.cluster, pytest.mark.s3]


@dataclass(frozen=True)
class Night:
    """A cluster whose nodes know the S3 server and the hub."""

    cluster: Cluster
    hub: HubServer

    def catalog(self, folder: Path, tinylm: str, imatrix: str) -> tuple[Path, str]:
        """The catalogue, and its target, of which nothing is there yet."""
        target = f"s3://gguf/{uuid.uuid4().hex}"
        path = folder / "catalog.yaml"
        path.write_text(
            f"""
target: {target}
models:
  - {{source: {tinylm}, name: first, ladder: [Q8_0, Q4_K_M]}}
  - {{source: {tinylm}, name: second, ladder: [IQ3_S, Q2_K], imatrix: {imatrix}, priority: 1}}
  - {{source: "hf://org/tinylm", revision: latest, ladder: [Q6_K, Q5_0], priority: 2}}
"""
        )
        return path, target

    def start(self, log: Path, catalog: Path, *flags: str) -> JobProcess:
        return JobProcess.start(log, "sync", str(catalog), "--ray-address", self.cluster.address, *flags)


@pytest.fixture(scope="module")
def night(s3_server: Weed, tmp_path_factory: pytest.TempPathFactory, tinylm: str) -> Iterator[Night]:
    with pytest.MonkeyPatch.context() as patch, HubServer() as hub:
        for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING"))]:
            patch.delenv(name)
        for name, value in {
            **s3_server.environment(),
            "HF_ENDPOINT": hub.endpoint,
            "HF_TOKEN_PATH": str(tmp_path_factory.mktemp("hub") / "no-token"),
        }.items():
            patch.setenv(name, value)
        hub.repositories["org/tinylm"] = Repository()
        hub.repositories["org/tinylm"].commit(folder_files(tinylm))
        with neighbour_cluster({"object_store_memory": 100 << 20}, nodes=2) as cluster:
            yield Night(cluster, hub)


def _hashes(target: str) -> dict[str, str]:
    store = open_store(target)
    found = {}
    for info in store.list():
        if info.name.endswith(".gguf"):
            data = bytearray(info.size)
            store.read_into(info.name, 0, memoryview(data))
            found[info.name] = hashlib.sha256(data).hexdigest()
    return found


def _assert_whole(target: str) -> None:
    """Every file is there with its bytes, and nothing else is left: no part, no state, no lease."""
    assert _hashes(target) == EXPECTED
    store = open_store(target)
    assert {info.name for info in store.list()} == {*names_beside(require(store)), *EXPECTED}
    assert list(store.list_uploads()) == []


def _outcomes(capsys: pytest.CaptureFixture[str], catalog: Path, code: int, *flags: str) -> list[dict[str, Any]]:
    """Of a run in this process, where another Ray may be up."""
    capsys.readouterr()
    assert main(["sync", str(catalog), "--json", *flags]) == code
    models: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["models"]
    return models


def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("a Ray was asked for")

    monkeypatch.setattr(SharedSession, "use", refused)


def _has_lease(target: str) -> Callable[[], bool]:
    store = open_store(target)
    return lambda: read_lease(store) is not None


def test_made_once_and_again_where_it_is_stale(
    night: Night,
    tmp_path: Path,
    tinylm: str,
    tinylm_imatrix: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    catalog, target = night.catalog(tmp_path, tinylm, tinylm_imatrix)
    first = night.start(tmp_path / "first.log", catalog)
    assert first.wait_until(_has_lease(target)), first.text()
    # While it holds the lease, another run has nothing to do but to say so.
    first.process.send_signal(signal.SIGSTOP)
    with monkeypatch.context() as patch:
        _no_ray(patch)
        locked = _outcomes(capsys, catalog, 5)
        assert {model["state"] for model in locked} == {"locked"}
        assert f"process {first.process.pid} on" in locked[0]["message"]
        skipped = _outcomes(capsys, catalog, 0, "--if-locked", "skip")
        assert {model["state"] for model in skipped} == {"locked"}
    first.process.send_signal(signal.SIGCONT)
    assert first.wait() == 0, first.text()
    order = [line.split()[0] for line in first.text().splitlines() if line.startswith("model=")]
    assert order == ["model=hf://org/tinylm", "model=second", "model=first"]
    _assert_whole(target)

    with monkeypatch.context() as patch:
        _no_ray(patch)
        assert {model["state"] for model in _outcomes(capsys, catalog, 0)} == {"current"}

    files = folder_files(tinylm)
    shard = max(name for name in files if name.endswith(".safetensors"))
    files[shard] = files[shard][:-2] + b"\x00\x40"
    night.hub.repositories["org/tinylm"].commit(files)
    again = night.start(tmp_path / "again.log", catalog)
    assert again.wait() == 0, again.text()
    assert "3 models: 1 made, 2 current." in again.text()
    changed = {name for name, digest in _hashes(target).items() if digest != EXPECTED[name]}
    assert changed == {"tinylm-Q6_K.gguf", "tinylm-Q5_0.gguf"}
    assert main(["verify", target]) == 0
    night.hub.repositories["org/tinylm"].commit(folder_files(tinylm))


def _progress(target: str) -> int:
    """Parts that are stored and files that are finished: one part each, at this size."""
    finished = sum(info.name.endswith(".gguf") for info in open_store(target).list())
    return finished + sum(len(parts) for parts in stored_parts(target).values())


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    night: Night, tmp_path: Path, tinylm: str, tinylm_imatrix: str, kills: int
) -> None:
    """Again and again in a row: until it is at some point of the way, and a little longer."""
    catalog, target = night.catalog(tmp_path, tinylm, tinylm_imatrix)
    moments = random.Random(kills)
    killed = 0
    for number in range(kills):
        if _progress(target) == len(EXPECTED):
            # All is made: what is killed from now on is a run that finds this out.
            run = night.start(tmp_path / f"{number}.log", catalog)
            time.sleep(moments.uniform(0, 3))
        else:
            wanted = moments.randint(_progress(target), min(_progress(target) + 2, len(EXPECTED)))
            run = night.start(tmp_path / f"{number}.log", catalog)
            run.wait_until(lambda wanted=wanted: _has_lease(target)() and _progress(target) >= wanted)  # type: ignore[misc]
            time.sleep(moments.uniform(0, 0.3))
        killed += run.process.poll() is None
        run.kill()
    assert killed >= min(kills, 2)
    last = night.start(tmp_path / "last.log", catalog)
    assert last.wait() == 0, last.text()
    _assert_whole(target)

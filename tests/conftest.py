"""What tests of several folders share: the bundled model, a Ray, a real S3 server, a hub."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import emulated_cuda
import pytest

from hub_server import HubServer
from weed import Weed

# The tests' Ray is theirs alone: no token is written to the home directory, nothing is reported.
os.environ.update({"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"})
if "GGUFACTORY_CONFIG_CACHE" not in os.environ:
    # One for the run and every process that it starts, and nothing in the home directory.
    os.environ["GGUFACTORY_CONFIG_CACHE"] = tempfile.mkdtemp(prefix="ggufactory-configs-")
    atexit.register(shutil.rmtree, os.environ["GGUFACTORY_CONFIG_CACHE"], ignore_errors=True)
if not Path("/dev/nvidiactl").exists():
    # Before anything imports Triton: without a GPU its kernels are interpreted.
    os.environ["TRITON_INTERPRET"] = "1"

DATA = Path(__file__).parent / "data"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that wait for servers in turns with files that only compute, so that of two workers one waits while the
    other computes, and the long ones of the first kind are begun long before the end."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    waiting = {path for path, held in files.items() if any(map(_waits, held))}
    pairs = zip_longest((path for path in files if path in waiting), (path for path in files if path not in waiting))
    items[:] = [item for pair in pairs for path in pair if path is not None for item in files[path]]


def _waits(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in ("cluster", "s3"))


@pytest.fixture(scope="session")
def tinylm() -> str:
    """The folder of the bundled model."""
    return str(DATA / "tinylm")


@pytest.fixture(scope="session")
def tinylm_imatrix() -> str:
    """Its importance matrix."""
    return str(DATA / "imatrix" / "tinylm-bf16.imatrix.gguf")


@pytest.fixture(scope="session")
def emulated_cuda_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CUDA kernels' source, compiled for this machine's processor: by the first worker of the run that needs it,
    as that takes some ten seconds."""
    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with (shared / "emulated_cuda.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return emulated_cuda.build(shared)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    with Weed(tmp_path_factory.mktemp("weed")) as server:
        yield server


@pytest.fixture
def s3(s3_server: Weed, monkeypatch: pytest.MonkeyPatch) -> Weed:
    """The server, with this process's environment pointing at it."""
    for variable, value in s3_server.environment().items():
        monkeypatch.setenv(variable, value)
    return s3_server


@pytest.fixture
def s3_prefix(s3: Weed) -> str:
    """A prefix of the writable bucket that no other test uses."""
    return f"s3://gguf/{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def local_ray(s3_server: Weed) -> Iterator[str]:
    """One Ray for every test that runs jobs in this process (starting one takes seconds), with room for three
    workers, the most that a test asks for; they know the S3 server. Its address, for jobs in other processes."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        for variable, value in s3_server.environment().items():
            patch.setenv(variable, value)
        ray.init(
            address="local",
            num_cpus=3,
            object_store_memory=128 << 20,
            include_dashboard=False,
            log_to_driver=False,
            _system_config={"metrics_report_interval_ms": 1000},
        )
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


@pytest.fixture(scope="session")
def big_enough_for_s3(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint of some 200 MB: several parts of 5 MiB even on a small rung."""
    from synthetic import write_llama_checkpoint

    folder = tmp_path_factory.mktemp("checkpoint") / "medium"
    write_llama_checkpoint(folder, layers=6, hidden=1024, intermediate=4096, heads=8, kv_heads=4, vocab=2048, shards=2)
    return str(folder)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub without repositories, with this process's environment pointing at it, and no token."""
    from huggingface_hub import constants

    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server

"""A signal: what has begun may end, what has not does not begin, and nothing that is done is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ggufactory import interrupts
from ggufactory.assemble.lease import read_lease
from ggufactory.interrupts import StoppedError
from ggufactory.storage import open_store
from job_process import JobProcess, stored_parts
from silent_watcher import SilentWatcher

pytestmark = pytest.mark.cluster


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(interrupts._State, "waiting", None)
    interrupts.install(grace=120.0)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("local_ray", "handlers")
@pytest.mark.parametrize("comes_late", [False, True])
def test_tasks_that_have_begun_end_and_the_others_do_not_begin(
    tmp_path: Path, comes_late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at a time of a hundred, longer than any driver waits for a processor: the signal comes with the first
    result, or just after somebody has looked for it."""
    import ray

    from ggufactory.cluster import stopping
    from ggufactory.cluster.session import Session
    from ggufactory.cluster.submit import Call, options, run_all

    def work(number: int, folder: str) -> int | None:
        import time
        from pathlib import Path

        if stopping.is_asked():
            return None
        (Path(folder) / f"{number}").touch()
        time.sleep(0.5)
        return number

    task = ray.remote(work).options(**options("stopping", memory=1 << 20))
    done: list[int] = []

    look = interrupts.grace_left

    def looked() -> float | None:
        seconds = look()
        if done and seconds is None:
            os.kill(os.getpid(), signal.SIGTERM)
        return seconds

    def on_result(number: int) -> None:
        if not done and not comes_late:
            os.kill(os.getpid(), signal.SIGTERM)
        done.append(number)

    if comes_late:
        monkeypatch.setattr(interrupts, "grace_left", looked)

    def call(number: int) -> Call:
        return lambda: task.remote(number, str(tmp_path))

    calls = [(str(number), call(number)) for number in range(100)]
    with pytest.raises(StoppedError):
        run_all(Session(embedded=False), calls, 1 << 20, on_result, SilentWatcher())
    begun = {int(path.name) for path in tmp_path.iterdir()}
    assert set(done) == begun
    assert 0 < len(begun) < 100
    assert ray.get(task.remote(100, str(tmp_path))) == 100, "the next job is not asked to stop"


def test_sync_is_stopped_in_order(tmp_path: Path, tinylm: str) -> None:
    """Its uploads stay open, its lease does not stay."""
    target = str(tmp_path / "out")
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(f"target: {target}\nmodels:\n  - {{source: {tinylm}, ladder: classic, span_size: 20K}}\n")
    run = JobProcess.start(tmp_path / "log", "sync", str(catalog), "--workers", "1")
    assert run.wait_until(lambda: sum(len(parts) for parts in stored_parts(target).values()) >= 24), run.text()
    assert run.stop(signal.SIGTERM) == 143, run.text()
    assert "stopping: no new span begins" in run.text()
    assert "Traceback" not in run.text()
    parts = stored_parts(target)
    assert len(parts) == 12
    # The span that was begun was made for every file, or for none.
    assert len({frozenset(numbers) for numbers in parts.values()}) == 1
    assert read_lease(open_store(target)) is None


def test_watching_survives_a_bad_round_and_ends_in_order(tmp_path: Path, tinylm: str) -> None:
    target = tmp_path / "out"
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text("models: nonsense\n")
    flags = ["--watch", "--interval", "0.5s", "--workers", "1"]
    run = JobProcess.start(tmp_path / "log", "sync", str(catalog), *flags)
    assert run.wait_until(lambda: "models: wanted a list" in run.text()), run.text()
    catalog.write_text(f"target: {target}\nmodels:\n  - {{source: {tinylm}, ladder: [Q8_0]}}\n")
    assert run.wait_until(lambda: "Nothing to do." in run.text()), run.text()
    assert (target / "tinylm-Q8_0.gguf").exists()
    assert run.stop(signal.SIGTERM) == 143, run.text()
    assert "Traceback" not in run.text()

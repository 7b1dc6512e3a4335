"""Whole jobs: the manifest tells what every tensor lost, whatever became of the runs that made it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ggufactory.assemble import error_sums
from ggufactory.assemble.error_sums import ErrorSums
from ggufactory.cli import main
from ggufactory.cluster.descriptor import SpanReceipt
from ggufactory.errors import InputError
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from ggufactory.publish import manifest
from ggufactory.storage import open_store
from made_ladders import independent_errors
from silent_watcher import SilentWatcher

LADDER = ("BF16", "Q8_0", "Q4_K_M", "IQ3_XXS")

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("local_ray")]


class _Killed(BaseException):
    """Of the driver; not an error that anything handles."""


class _KilledAfter(SilentWatcher):
    def __init__(self, spans: int) -> None:
        super().__init__()
        self._spans = spans

    def span_done(self, receipt: SpanReceipt) -> None:
        super().span_done(receipt)
        if len(self.receipts) == self._spans:
            raise _Killed


def _spec(source: str, target: Path, imatrix: str, ladder: tuple[str, ...] = LADDER) -> JobSpec:
    return JobSpec(source=source, ladder=ladder, to=str(target), imatrix=(imatrix,), span_bytes=200_000)


def _errors(target: Path) -> dict[str, dict[str, float]]:
    entries, _ = manifest.read(open_store(str(target)))
    return {entry["rung"]: entry.get("errors", {}) for entry in entries.values()}


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory, tinylm: str, tinylm_imatrix: str) -> dict[str, dict[str, float]]:
    """Of a job that nothing disturbed: what NumPy finds in its files."""
    target = tmp_path_factory.mktemp("whole") / "out"
    ladder_job.run(_spec(tinylm, target, tinylm_imatrix), SilentWatcher())
    found = independent_errors(target, "tinylm", LADDER, tinylm_imatrix)
    assert _errors(target) == found
    entries, _ = manifest.read(open_store(str(target)))
    assert "errors" not in entries["tinylm-BF16.gguf"]
    assert not error_sums.list_kept(open_store(str(target)))
    return found


@pytest.mark.parametrize("is_written", [True, False])
def test_a_run_that_was_killed_and_resumed(
    tmp_path: Path,
    tinylm: str,
    tinylm_imatrix: str,
    wanted: dict[str, dict[str, float]],
    monkeypatch: pytest.MonkeyPatch,
    is_written: bool,
) -> None:
    """With what the first run had told, and without: what is stored is not made again for it. Tasks of the first run
    live on here, and may store what they have begun, or all of it, before the second one looks."""
    target = tmp_path / "out"
    spec = _spec(tinylm, target, tinylm_imatrix)
    second = SilentWatcher()
    with monkeypatch.context() as patch:
        if not is_written:
            patch.setattr(ErrorSums, "write", lambda sums: None)
        with pytest.raises(_Killed):
            ladder_job.run(spec, _KilledAfter(15))
    result = ladder_job.run(spec, second)
    assert second.spans_left <= len(result.plan.spans) - 15
    told = _errors(target)
    assert told["Q8_0"] or not is_written
    for rung, errors in wanted.items():
        assert told[rung] == pytest.approx({tensor: errors[tensor] for tensor in told[rung]}, rel=0.2)
        assert len(told[rung]) < len(errors) or is_written or not errors
    assert not error_sums.list_kept(open_store(str(target)))


def test_killed_before_the_manifest(
    tmp_path: Path,
    tinylm: str,
    tinylm_imatrix: str,
    wanted: dict[str, dict[str, float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All files are complete; nothing is measured again."""

    def killed(*_: object) -> None:
        raise _Killed

    spec = _spec(tinylm, tmp_path / "out", tinylm_imatrix)
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "merge", killed)
        with pytest.raises(_Killed):
            ladder_job.run(spec, SilentWatcher())
    again = SilentWatcher()
    ladder_job.run(spec, again)
    assert again.spans_left == 0
    assert _errors(tmp_path / "out") == wanted


def test_files_that_are_there_keep_what_was_told(
    tmp_path: Path, tinylm: str, tinylm_imatrix: str, wanted: dict[str, dict[str, float]]
) -> None:
    """Also where only their tags are new, as in a copy: identities tell that the bytes are the same."""
    target = tmp_path / "out"
    ladder_job.run(_spec(tinylm, target, tinylm_imatrix, ("Q8_0", "Q4_K_M")), SilentWatcher())
    _change_entries(target, lambda entry: entry["errors"].update({"output.weight": 0.125}))
    kept = {**wanted["Q8_0"], "output.weight": 0.125}
    (target / "tinylm-Q4_K_M.gguf").unlink()
    ladder_job.run(_spec(tinylm, target, tinylm_imatrix), SilentWatcher())
    assert _errors(target) == {**wanted, "Q8_0": kept}
    _change_entries(target, lambda entry: entry.update(etag="of another store"))
    again = SilentWatcher()
    ladder_job.run(_spec(tinylm, target, tinylm_imatrix), again)
    assert again.spans_left == 0
    assert _errors(target) == {**wanted, "Q8_0": kept}


def test_damaged_sums_stop_the_job(
    tmp_path: Path, tinylm: str, tinylm_imatrix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = _spec(tinylm, tmp_path / "out", tinylm_imatrix, ("Q8_0",))
    with pytest.raises(_Killed):
        ladder_job.run(spec, _KilledAfter(15))
    (kept,) = error_sums.list_kept(open_store(str(tmp_path / "out")))
    (tmp_path / "out" / kept.name).write_bytes(b"{}")
    with pytest.raises(InputError, match="Delete it and start again"):
        ladder_job.run(spec, SilentWatcher())
    assert main(["gc", str(tmp_path / "out"), "--older-than", "0s", "--delete", "--json"]) == 0
    assert {item["kind"] for item in json.loads(capsys.readouterr().out)["stale"]} == {"upload", "state", "errors"}
    assert open_store(str(tmp_path / "out")).list() == []


def _change_entries(target: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = target / "manifest.json"
    content = json.loads(path.read_text())
    for entry in content["artifacts"]:
        change(entry)
    path.write_text(json.dumps(content))

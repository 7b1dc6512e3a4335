"""What the driver does to a target needs each statement of its policy but the one on deleting."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ggufactory.assemble import uploads
from ggufactory.assemble.job_state import list_states
from ggufactory.errors import InputError
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from ggufactory.job.target_status import read_status
from ggufactory.plan.plan import Plan
from ggufactory.publish import manifest
from ggufactory.storage import open_store
from ggufactory.storage.protocol import Store
from infra_files import bucket_policy, without
from weed import Weed

pytestmark = pytest.mark.s3

_DRIVER = bucket_policy("driver", sources="models/checkpoints", targets="gguf/ladders")
_SOURCE = "s3://models/checkpoints/tinylm"
_NEEDED = {
    "ReadSources": lambda plan, target: ladder_job.make_plan(_spec(plan)),
    "ListSources": lambda plan, target: ladder_job.make_plan(_spec(plan)),
    "WriteTarget": lambda plan, target: uploads.begin(target, plan),
    "ListTarget": lambda plan, target: manifest.merge(target, {}),
}
"""By statement, what fails without it. An S3 server other than AWS's tells a missing object from a forbidden one
without TellMissingFromForbidden; that statement is not tested."""

_WITHOUT_DELETING = "without ForgetFinishedJobs"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tinylm: str) -> Iterator[Weed]:
    lessened = {f"without {name}": without(_DRIVER, name) for name in (*_NEEDED, "ForgetFinishedJobs")}
    with Weed(tmp_path_factory.mktemp("weed"), policies=lessened) as started:
        for path in Path(tinylm).iterdir():
            started.client().upload_file(str(path), "models", f"checkpoints/tinylm/{path.name}")
        yield started


@pytest.fixture
def plan(server: Weed, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Made by the administrator."""
    _become(server, Weed.ADMIN, monkeypatch)
    return ladder_job.make_plan(JobSpec(source=_SOURCE, ladder=("Q8_0",)), open_store("s3://gguf/ladders/x"))


def _spec(plan: Plan) -> JobSpec:
    return JobSpec(source=plan.source, ladder=tuple(rung.name for rung in plan.rungs))


def _become(server: Weed, credentials: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment(credentials).items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("statement", _NEEDED)
def test_each_statement_is_needed(server: Weed, plan: Plan, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    needs: Callable[[Plan, Store], object] = _NEEDED[statement]
    target = open_store("s3://gguf/ladders/x")
    _become(server, server.credentials_of(_WITHOUT_DELETING), monkeypatch)
    needs(plan, target)
    _become(server, server.credentials_of(f"without {statement}"), monkeypatch)
    with pytest.raises(InputError, match=r"AccessDenied|Forbidden") as refused:
        needs(plan, target)
    assert not [secret for secret in server.credentials_of(f"without {statement}") if secret in str(refused.value)]


def test_credentials_that_are_refused_are_not_shown(server: Weed, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    key, secret = server.credentials_of(_WITHOUT_DELETING)
    for wrong in ((key, "not" + secret), ("not" + key, secret)):
        _become(server, wrong, monkeypatch)
        with pytest.raises(InputError, match="Check the credentials") as refused:
            ladder_job.make_plan(_spec(plan))
        assert key not in str(refused.value)
        assert secret not in str(refused.value)


def test_deleting_is_not_needed(server: Weed, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be deleted stays: a probe, and a state that names no upload. Later runs go on from there."""
    _become(server, server.credentials_of(_WITHOUT_DELETING), monkeypatch)
    target = open_store("s3://gguf/ladders/kept")
    for _ in range(2):
        progress = uploads.begin(target, plan)
        assert progress.uploads.keys() == plan.files.keys()
        (begun,) = list_states(target)
        assert (begun.files.keys(), begun.is_over) == (plan.files.keys(), False), "status tells how far it is"
        uploads.abandon(target, plan, progress)
        assert not uploads.is_begun(target, plan)
        assert read_status(target, 0.0).jobs == ()
        state = target.read(uploads.state_name(plan), limit=1 << 20)
        assert state is not None
        told = json.loads(state[0])
        assert (told["fingerprint"], told["uploads"], told["files"]) == (plan.fingerprint, {}, {})
        assert [info.name for info in target.list()] == [uploads.state_name(plan), ".ggufactory-probe"]
    assert "Uploads" not in server.client().list_multipart_uploads(Bucket="gguf", Prefix="ladders/kept/")

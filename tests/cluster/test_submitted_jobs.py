"""Jobs on a cluster whose nodes have credentials of their own, submitted to its job server.

The cluster is one as `infra/` makes it: token authentication, a head with the driver's bucket policy and
no CPU, a node with the worker's policy.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray._private.authentication_test_utils import authentication_env_guard, reset_auth_token_state
from ray.job_submission import JobSubmissionClient

from ggufactory import __version__
from ggufactory.cli import main
from ggufactory.publish.manifest import require
from ggufactory.publish.release import names_beside
from ggufactory.storage import open_store
from infra_files import bucket_policy
from ray_nodes import TOKEN, RayNodes, token
from weed import Weed

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "whole_files.json").read_text())["files"]

pytestmark = [pytest.mark.cluster, pytest.mark.s3, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tinylm: str) -> Iterator[Weed]:
    places = {"sources": "models/checkpoints", "targets": "gguf/ladders"}
    policies = {name: bucket_policy(name, **places) for name in ("driver", "worker")}
    with Weed(tmp_path_factory.mktemp("weed"), policies=policies) as started:
        for path in Path(tinylm).iterdir():
            started.client().upload_file(str(path), "models", f"checkpoints/tinylm/{path.name}")
        yield started


@pytest.fixture(scope="module")
def nodes(server: Weed) -> Iterator[RayNodes]:
    """A head alone: jobs start and wait."""
    with RayNodes(server.environment(server.credentials_of("driver"))) as started:
        yield started


@pytest.fixture
def submitter(server: Weed, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process has the token and the driver's rights."""
    with authentication_env_guard():
        for name, value in {**server.environment(server.credentials_of("driver")), **token()}.items():
            monkeypatch.setenv(name, value)
        reset_auth_token_state()
        yield
        monkeypatch.undo()
        reset_auth_token_state()


def _job(tmp_path: Path, target: str, **fields: str) -> str:
    path = tmp_path / "job.yaml"
    given = {"source": "s3://models/checkpoints/tinylm", "to": target, "ladder": "[Q8_0, Q4_K_M]", **fields}
    path.write_text("".join(f"{name}: {value}\n" for name, value in given.items()))
    return str(path)


def _job_name(said: str) -> str:
    found = re.search(r"ggufactory-[0-9a-f]{32}-[0-9a-f]{8}(-\d+)?", said)
    assert found, said
    return found[0]


def _secrets(server: Weed) -> list[bytes]:
    """Everything that must not be shown: keys, secrets and the token."""
    known = [*server.credentials_of("driver"), *server.credentials_of("worker"), TOKEN]
    return [text.encode() for text in known]


def _check_no_secret(server: Weed, nodes: RayNodes, *texts: str) -> None:
    written = {str(path): path.read_bytes() for path in nodes.written()}
    assert any(b"planned plan=" in data for data in written.values()), "the driver's log is among them"
    shown = {f"text {number}": text.encode() for number, text in enumerate(texts)}
    for secret in _secrets(server):
        assert [name for name, data in {**written, **shown}.items() if secret in data] == []


@pytest.mark.usefixtures("submitter")
def test_a_job_with_least_rights_is_made_once(
    server: Weed, nodes: RayNodes, tmp_path: Path, tinylm_imatrix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Submitted without waiting; followed by another process, which Ctrl-C detaches; followed to its end, once
    there is a node that may do its spans; done."""
    job = _job(tmp_path, "s3://gguf/ladders/tinylm", imatrix=tinylm_imatrix, ray_address="elsewhere:1")
    submit = ["submit", job, "--address", nodes.address]
    assert main([*submit, "--no-wait"]) == 0
    log, said = capsys.readouterr()
    name = _job_name(said)
    assert log == ""
    _detach(submit, name)
    nodes.add_node(server.environment(server.credentials_of("worker")), cpus=2)
    assert main(submit) == 0
    log, said_following = capsys.readouterr()
    assert f"{name} is" in said_following
    assert log.count("planned plan=") == 1
    assert "stage=checksum files=2" in log

    client = server.client()
    for rung in ("Q8_0", "Q4_K_M"):
        data = client.get_object(Bucket="gguf", Key=f"ladders/tinylm/tinylm-{rung}.gguf")["Body"].read()
        assert hashlib.sha256(data).hexdigest() == GOLDEN["imatrix"][rung]["sha256"]
    keys = {o["Key"] for o in client.list_objects_v2(Bucket="gguf", Prefix="ladders/tinylm/")["Contents"]}
    beside = names_beside(require(open_store("s3://gguf/ladders/tinylm")))
    assert keys == {f"ladders/tinylm/{n}" for n in (*beside, "tinylm-Q8_0.gguf", "tinylm-Q4_K_M.gguf")}

    assert main(submit) == 0
    log_again, said_again = capsys.readouterr()
    assert log_again == ""
    assert "has made it all: nothing to do" in said_again

    (known,) = JobSubmissionClient(nodes.address).list_jobs()
    manifest = json.loads(client.get_object(Bucket="gguf", Key="ladders/tinylm/manifest.json")["Body"].read())
    plan = manifest["artifacts"][0]["plan"]
    assert known.submission_id == name
    assert name.startswith(f"ggufactory-{plan[:32]}-")
    assert known.metadata == {
        "model": "tinylm",
        "ladder": "Q8_0,Q4_K_M",
        "fingerprint": plan,
        "target": "s3://gguf/ladders/tinylm",
        "ggufactory": __version__,
    }
    assert set(known.runtime_env) <= {"working_dir", "_ray_commit"}
    _check_no_secret(server, nodes, log, said, said_following, said_again, json.dumps(manifest), repr(known))


def _detach(submit: list[str], name: str) -> None:
    follower = subprocess.Popen(
        [sys.executable, "-m", "ggufactory", *submit],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
    )
    assert follower.stderr is not None
    first = follower.stderr.readline()
    follower.send_signal(signal.SIGINT)
    said = first + follower.stderr.read()
    assert follower.wait(60) == 130, said
    assert f"{name} is" in first
    assert "detached by SIGINT" in said
    assert "Traceback" not in said


@pytest.mark.usefixtures("submitter")
def test_a_failed_job_gives_its_exit_code_and_is_tried_again(
    server: Weed, nodes: RayNodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside the prefix of its policy the driver cannot begin."""
    job = _job(tmp_path, "s3://gguf/elsewhere/tinylm")
    assert main(["submit", job, "--address", nodes.address]) == 2
    log, said = capsys.readouterr()
    assert "s3://gguf/elsewhere/tinylm" in log
    assert "Check the credentials" in log
    first = _job_name(said)
    assert main(["submit", job, "--address", nodes.address, "--no-wait"]) == 0
    said_again = capsys.readouterr().err
    assert _job_name(said_again) == f"{first}-2"
    _check_no_secret(server, nodes, log, said, said_again)


@pytest.mark.usefixtures("submitter")
@pytest.mark.parametrize("wrong", ["token-that-is-not-the-one-" + "f" * 32, None])
def test_a_token_that_is_refused_is_not_shown(
    nodes: RayNodes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    wrong: str | None,
) -> None:
    if wrong:
        monkeypatch.setenv("RAY_AUTH_TOKEN", wrong)
    else:
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    reset_auth_token_state()
    assert main(["submit", _job(tmp_path, "s3://gguf/ladders/tinylm"), "--address", nodes.address]) == 2
    said = "".join(capsys.readouterr())
    assert "RAY_AUTH_TOKEN_PATH" in said
    assert TOKEN not in said
    assert wrong is None or wrong not in said
    assert "Traceback" not in said

"""Jobs on a cluster whose nodes have credentials of their own, submitted to its job server.

The cluster is one as `infra/` makes it: token authentication, a head with the driver's bucket policy and
no CPU, a node with the worker's policy.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray._private.authentication_test_utils import authentication_env_guard, reset_auth_token_state
from ray.job_submission import JobSubmissionClient

from ggufactory.cli import main
from infra_files import bucket_policy
from ray_nodes import TOKEN, RayNodes, token
from weed import Weed

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "whole_files.json").read_text())["files"]

pytestmark = [pytest.mark.cluster, pytest.mark.s3]


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
    with RayNodes(server.environment(server.credentials_of("driver"))) as started:
        started.add_node(server.environment(server.credentials_of("worker")), cpus=2)
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
    job = _job(tmp_path, "s3://gguf/ladders/tinylm", imatrix=tinylm_imatrix, ray_address="elsewhere:1")
    assert main(["submit", job, "--address", nodes.address]) == 0
    log, said = capsys.readouterr()
    assert "stage=checksum files=2" in log
    assert "2 of 2 spans" not in log or "made" in log
    assert "submitted ggufactory-" in said
    client = server.client()
    for rung in ("Q8_0", "Q4_K_M"):
        data = client.get_object(Bucket="gguf", Key=f"ladders/tinylm/tinylm-{rung}.gguf")["Body"].read()
        assert hashlib.sha256(data).hexdigest() == GOLDEN["imatrix"][rung]["sha256"]
    keys = {o["Key"] for o in client.list_objects_v2(Bucket="gguf", Prefix="ladders/tinylm/")["Contents"]}
    assert keys == {f"ladders/tinylm/{n}" for n in ("manifest.json", "tinylm-Q8_0.gguf", "tinylm-Q4_K_M.gguf")}

    assert main(["submit", job, "--address", nodes.address]) == 0
    log, said_again = capsys.readouterr()
    assert log == ""
    assert "has made it all: nothing to do" in said_again

    (known,) = JobSubmissionClient(nodes.address).list_jobs()
    manifest = json.loads(client.get_object(Bucket="gguf", Key="ladders/tinylm/manifest.json")["Body"].read())
    plan = manifest["artifacts"][0]["plan"]
    assert known.submission_id.startswith(f"ggufactory-{plan[:32]}-")
    assert {**known.metadata, "ggufactory": ""} == {
        "model": "tinylm", "ladder": "Q8_0,Q4_K_M", "fingerprint": plan, "target": "s3://gguf/ladders/tinylm",
        "ggufactory": "",
    }  # fmt: skip
    assert set(known.runtime_env) <= {"working_dir", "_ray_commit"}
    _check_no_secret(server, nodes, said, said_again, json.dumps(manifest), repr(known))


@pytest.mark.usefixtures("submitter")
def test_a_failed_job_gives_its_exit_code_and_is_tried_again(
    server: Weed, nodes: RayNodes, tmp_path: Path, tinylm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One shard's weights cannot be read on the cluster: the driver may look, the workers may not."""
    client = server.client()
    for path in Path(tinylm).iterdir():
        client.upload_file(str(path), "models", f"checkpoints/broken/{path.name}")
    shard = next(path for path in Path(tinylm).glob("*.safetensors"))
    damaged = bytearray(shard.read_bytes())
    damaged[-4096:] = b"\xff\x7f" * 2048  # BF16 NaN
    client.put_object(Bucket="models", Key=f"checkpoints/broken/{shard.name}", Body=bytes(damaged))
    job = _job(tmp_path, "s3://gguf/ladders/broken", source="s3://models/checkpoints/broken")
    assert main(["submit", job, "--address", nodes.address]) == 2
    log, said = capsys.readouterr()
    assert "cannot be made" in log
    first = said.split("submitted ")[1].split()[0]
    assert main(["submit", job, "--address", nodes.address]) == 2
    log_again, said_again = capsys.readouterr()
    assert f"submitted {first}-2\n" in said_again
    _check_no_secret(server, nodes, log, said, log_again, said_again)


@pytest.mark.usefixtures("submitter")
def test_what_the_policies_forbid_fails_by_name(
    server: Weed, nodes: RayNodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside the prefix of its policy the driver cannot begin, wherever it runs."""
    job = _job(tmp_path, "s3://gguf/elsewhere/tinylm")
    assert main(["submit", job, "--address", nodes.address]) == 2
    log, said = capsys.readouterr()
    assert "AccessDenied" in log
    assert "s3://gguf/elsewhere/tinylm" in log
    _check_no_secret(server, nodes, log, said)


@pytest.mark.usefixtures("submitter")
def test_a_running_job_is_followed_and_left(
    server: Weed, nodes: RayNodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Submitted without waiting; followed by another process, which Ctrl-C detaches; followed to the end."""
    job = _job(tmp_path, "s3://gguf/ladders/left")
    assert main(["submit", job, "--address", nodes.address, "--no-wait"]) == 0
    name = capsys.readouterr().err.split("submitted ")[1].split()[0]
    follower = subprocess.Popen(
        [sys.executable, "-m", "ggufactory", "submit", job, "--address", nodes.address],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
    )
    assert follower.stderr is not None
    first = follower.stderr.readline()
    assert f"{name} is" in first
    if "already" in first:
        follower.send_signal(signal.SIGINT)
        said = follower.stderr.read()
        assert follower.wait(60) == 130
        assert "detached by SIGINT" in said
        assert "Traceback" not in said
    assert main(["submit", job, "--address", nodes.address]) == 0
    assert server.client().head_object(Bucket="gguf", Key="ladders/left/manifest.json")


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

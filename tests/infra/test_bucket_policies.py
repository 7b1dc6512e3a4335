"""The policies for driver and worker, as an S3 server that evaluates them does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra_files import INFRA, bucket_policy
from weed import Weed

pytestmark = pytest.mark.s3

_SOURCE = {"Bucket": "models", "Key": "checkpoints/tiny/config.json"}
_FILE = {"Bucket": "gguf", "Key": "ladders/tiny/tiny-Q8_0.gguf"}
_MANIFEST = {"Bucket": "gguf", "Key": "ladders/tiny/manifest.json"}
_STATE = {"Bucket": "gguf", "Key": "ladders/tiny/.ggufactory-jobs/0.json"}
_OTHERS_MODEL = {"Bucket": "models", "Key": "private/config.json"}
_OTHERS_FILE = {"Bucket": "gguf", "Key": "others/tiny.gguf"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    places = {"sources": "models/checkpoints", "targets": "gguf/ladders"}
    policies = {name: bucket_policy(name, **places) for name in ("driver", "worker", "worker-models")}
    with Weed(tmp_path_factory.mktemp("weed"), policies=policies) as started:
        for place in (_SOURCE, _FILE, _MANIFEST, _STATE, _OTHERS_MODEL, _OTHERS_FILE):
            started.client().put_object(**place, Body=b"content")
        yield started


def _allowed(client: Any, operation: str, **arguments: Any) -> bool:
    try:
        getattr(client, operation)(**arguments)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("AccessDenied", "403"):
            return False
        raise
    return True


@pytest.mark.parametrize("who", ["worker", "driver"])
def test_neither_reaches_beyond_sources_and_targets(server: Weed, who: str) -> None:
    client = server.client(server.credentials_of(who))
    for operation, arguments in [
        ("get_object", _OTHERS_MODEL),
        ("get_object", _OTHERS_FILE),
        ("put_object", {**_SOURCE, "Body": b""}),
        ("put_object", {**_OTHERS_FILE, "Body": b""}),
        ("create_multipart_upload", _OTHERS_FILE),
        ("create_multipart_upload", _SOURCE),
        ("copy_object", {**_FILE, "CopySource": _OTHERS_MODEL}),
        ("list_objects_v2", {"Bucket": "models"}),
        ("list_objects_v2", {"Bucket": "models", "Prefix": "private/"}),
        ("list_objects_v2", {"Bucket": "gguf", "Prefix": "others/"}),
        ("delete_object", _SOURCE),
        ("delete_object", _FILE),
        ("delete_object", _MANIFEST),
        ("delete_object", _OTHERS_FILE),
        ("delete_bucket", {"Bucket": "gguf"}),
        (
            "put_bucket_policy",
            {"Bucket": "gguf", "Policy": json.dumps(bucket_policy("worker", sources="a/b", targets="c/d"))},
        ),
        ("put_bucket_lifecycle_configuration", {"Bucket": "gguf", "LifecycleConfiguration": {"Rules": []}}),
    ]:
        assert not _allowed(client, operation, **arguments), (operation, arguments)
    # The answer to a request for several is 200, with an error for each.
    answer = client.delete_objects(Bucket="gguf", Delete={"Objects": [{"Key": _FILE["Key"]}]})
    assert [error["Code"] for error in answer["Errors"]] == ["AccessDenied"]
    assert server.client().get_object(**_FILE)["Body"].read() == b"content"


def test_a_worker_reads_sources_and_writes_files_and_that_is_all(server: Weed) -> None:
    client = server.client(server.credentials_of("worker"))
    new = {"Bucket": "gguf", "Key": "ladders/tiny/tiny-F16.gguf"}
    upload = server.client().create_multipart_upload(**new)["UploadId"]
    assert _allowed(client, "get_object", **_SOURCE)
    assert _allowed(client, "get_object", **_FILE)
    assert _allowed(client, "upload_part", **new, UploadId=upload, PartNumber=1, Body=b"part")
    for operation, arguments in [
        ("put_object", {**_MANIFEST, "Body": b""}),
        ("get_object", _MANIFEST),
        ("put_object", {**_STATE, "Body": b""}),
        ("delete_object", _STATE),
        ("list_objects_v2", {"Bucket": "models", "Prefix": "checkpoints/"}),
        ("list_objects_v2", {"Bucket": "gguf", "Prefix": "ladders/"}),
        ("list_multipart_uploads", {"Bucket": "gguf", "Prefix": "ladders/"}),
    ]:
        assert not _allowed(client, operation, **arguments), (operation, arguments)


def test_a_worker_that_runs_models_keeps_their_state(server: Weed) -> None:
    """As `ShareState` does; and lists the source, as whoever opens a checkpoint."""
    client = server.client(server.credentials_of("worker-models"))
    for kind in ("calibration", "evaluation"):
        folder = f"ladders/tiny/.ggufactory-{kind}/0/0-4"
        state = {"Bucket": "gguf", "Key": f"{folder}/sums-0001"}
        assert _allowed(client, "put_object", **state, Body=b"")
        assert _allowed(client, "get_object", **state)
        assert _allowed(client, "list_objects_v2", Bucket="gguf", Prefix=f"{folder}/")
        assert _allowed(client, "delete_object", **state)
    assert _allowed(client, "list_objects_v2", Bucket="models", Prefix="checkpoints/tiny/")
    for operation, arguments in [
        ("put_object", {**_MANIFEST, "Body": b""}),
        ("put_object", {**_STATE, "Body": b""}),
        ("delete_object", _STATE),
        ("delete_object", _FILE),
        ("list_objects_v2", {"Bucket": "gguf", "Prefix": "ladders/"}),
    ]:
        assert not _allowed(client, operation, **arguments), (operation, arguments)


def test_a_driver_deletes_its_own_state_only(server: Weed) -> None:
    client = server.client(server.credentials_of("driver"))
    assert _allowed(client, "put_object", **{**_MANIFEST, "Body": b"content"})
    assert _allowed(client, "list_objects_v2", Bucket="models", Prefix="checkpoints/tiny/")
    assert _allowed(client, "list_objects_v2", Bucket="gguf", Prefix="ladders/tiny/")
    assert _allowed(client, "delete_object", **_STATE)
    assert not _allowed(client, "delete_object", **_FILE)


def test_the_lifecycle_rule_is_taken_and_covers_the_targets(server: Weed) -> None:
    rules = json.loads((INFRA / "aws" / "lifecycle.json").read_text())
    client = server.client()
    client.put_bucket_lifecycle_configuration(Bucket="gguf", LifecycleConfiguration=rules)
    (rule,) = client.get_bucket_lifecycle_configuration(Bucket="gguf")["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    driver = json.loads((INFRA / "aws" / "iam" / "driver.json").read_text())
    (written,) = (s["Resource"] for s in driver["Statement"] if s["Sid"] == "WriteTarget")
    assert written.endswith(f"/{rules['Rules'][0]['Filter']['Prefix']}*")

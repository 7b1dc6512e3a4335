"""What outlives a run: the text file and the push gateway; and the port while it lasts."""

from __future__ import annotations

import base64
import os
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ggufactory import metrics
from ggufactory.errors import IncompleteError, InputError
from ggufactory.interrupts import StoppedError
from ggufactory.observe.exports import open_exports
from ggufactory.observe.target_metrics import record_lease, record_stale_uploads


def _samples(text: str) -> dict[tuple[str, ...], float]:
    """By name and the values of the labels."""
    families = text_string_to_metric_families(text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def _run(file: Path, model: str, error: BaseException | None = None, *, push: str | None = None) -> list[str]:
    """One run; the warnings."""
    warnings: list[str] = []
    ending = pytest.raises(type(error)) if error else nullcontext()
    with (
        ending,
        open_exports(str(file), push, None) as exports,
        exports.run("quantize", model, warnings.append) as run,
    ):
        run.read_bytes, run.uploaded_bytes, run.failed_spans = 100, 40, 2 if error else 0
        if error:
            raise error
    return warnings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ggufactory.prom"


def test_a_failure_keeps_the_last_success(file: Path) -> None:
    name = metrics.LAST_SUCCESS.name
    assert _run(file, "a") == []
    success = _samples(file.read_text())[name, "quantize", "a"]
    _run(file, "a", IncompleteError("2 tasks failed"))
    found = _samples(file.read_text())
    assert found[name, "quantize", "a"] == success
    assert found[metrics.LAST_END.name, "quantize", "a"] > success
    assert found[metrics.LAST_EXIT_CODE.name, "quantize", "a"] == 3
    assert found[metrics.LAST_FAILED_SPANS.name, "quantize", "a"] == 2
    assert found[metrics.LAST_READ_BYTES.name, "quantize", "a"] == 100
    assert found[metrics.LAST_UPLOADED_BYTES.name, "quantize", "a"] == 40
    _run(file, "a")
    assert _samples(file.read_text())[name, "quantize", "a"] > success


@pytest.mark.parametrize(
    ("error", "code"), [(InputError("x"), 2), (StoppedError(15), 143), (MemoryError("unexpected"), 1)]
)
def test_however_it_ends(file: Path, error: BaseException, code: int) -> None:
    _run(file, "never", error)
    found = _samples(file.read_text())
    assert found[metrics.LAST_EXIT_CODE.name, "quantize", "never"] == code
    assert (metrics.LAST_SUCCESS.name, "quantize", "never") not in found


def test_other_models_and_targets_stay(file: Path) -> None:
    _run(file, "a")
    with open_exports(str(file), None, None) as exports:
        exports.publish({"target": "s3://b/x"}, lambda sink: record_stale_uploads(sink, "s3://b/x", 3), print)
        exports.publish({"target": "s3://b/x"}, lambda sink: record_lease(sink, "s3://b/x", 10.0, 20.0), print)
    _run(file, "b")
    found = _samples(file.read_text())
    assert {key[-1] for key in found} == {"a", "b", "s3://b/x"}
    assert found[metrics.STALE_UPLOADS.name, "s3://b/x"] == 3
    assert found[metrics.LEASE_EXPIRY.name, "s3://b/x"] == 20
    with open_exports(str(file), None, None) as exports:
        exports.publish({"target": "s3://b/x"}, lambda sink: record_lease(sink, "s3://b/x", None, None), print)
    assert _samples(file.read_text())[metrics.LEASE_ACQUIRED.name, "s3://b/x"] == 0


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00",
        b"{{{",
        b"# HELP node_load1 somebody else's\nnode_load1 3\n",
        f'{metrics.LAST_EXIT_CODE.name}{{unknown="label"}} 3\n'.encode(),
        b"x 1\n" * (1 << 19),
    ],
    ids=["bytes", "braces", "foreign", "labels", "large"],
)
def test_a_file_that_is_not_ours_is_written_anew(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert _run(file, "a") == []
    assert {key[1:] for key in _samples(file.read_text())} == {("quantize", "a")}


def test_no_reader_sees_half_a_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(file, "a")
    before = file.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "rename", fail)
    (warning,) = _run(file, "b")
    assert "no space left" in warning
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("name", ["metrics.txt", "nowhere/metrics.prom", "folder.prom"])
def test_a_file_that_cannot_be_is_refused_before_any_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.prom").mkdir()
    with pytest.raises(InputError, match="--metrics-textfile"), open_exports(str(tmp_path / name), None, None):
        pytest.fail("the block must not be entered")


class _Gateway(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.pushed.append((self.path, body))  # type: ignore[attr-defined]
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), _Gateway)
    server.pushed, server.status = [], 200  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_push(file: Path, gateway: HTTPServer) -> None:
    """Added to what the gateway has (POST): a failure does not name the last success, so it stays."""
    url = f"http://127.0.0.1:{gateway.server_port}"
    assert _run(file, "org/a", push=url) == []
    assert _run(file, "org/a", IncompleteError("x"), push=url) == []
    (path, good), (_, bad) = gateway.pushed  # type: ignore[attr-defined]
    model = base64.urlsafe_b64encode(b"org/a").decode()
    assert path == f"/metrics/job/ggufactory/command/quantize/model@base64/{model}"
    assert metrics.LAST_SUCCESS.name in good
    assert metrics.LAST_SUCCESS.name not in bad
    assert _samples(bad)[metrics.LAST_EXIT_CODE.name, "quantize", "org/a"] == 3


def test_a_gateway_that_fails_is_a_warning(file: Path, gateway: HTTPServer) -> None:
    gateway.status = 500  # type: ignore[attr-defined]
    (refused,) = _run(file, "a", push=f"http://127.0.0.1:{gateway.server_port}")
    assert "500" in refused
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    (unreachable,) = _run(file, "a", push=f"http://127.0.0.1:{port}")
    assert f"no metrics were pushed to http://127.0.0.1:{port}" in unreachable
    assert _samples(file.read_text())[metrics.LAST_EXIT_CODE.name, "quantize", "a"] == 0


@pytest.mark.parametrize("url", ["gateway:9091", "ftp://gateway", "http://", "http://gateway:port", "http://[::1"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(InputError, match="wanted an address such as"), open_exports(None, url, None):
        pytest.fail("the block must not be entered")


def test_passwords_are_neither_taken_nor_shown() -> None:
    with pytest.raises(InputError) as refused, open_exports(None, "http://me:hunter2@gateway:9091", None):
        pytest.fail("the block must not be entered")
    assert "hunter2" not in str(refused.value)


def test_the_port_is_free_again_afterwards() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for _ in range(2):
        with open_exports(None, None, port) as exports:
            (sink,) = exports.sinks
            sink.record(metrics.SPANS, 7, {"model": "a"})
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                assert _samples(answer.read().decode()) == {(metrics.SPANS.name, "a"): 7}
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics")


@pytest.mark.parametrize("port", ["taken", 70_000, -1])
def test_a_port_that_cannot_be(port: int | str) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        number = port if isinstance(port, int) else taken.getsockname()[1]
        with pytest.raises(InputError, match="--metrics-port"), open_exports(None, None, number):
            pytest.fail("the block must not be entered")

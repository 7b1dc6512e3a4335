"""Where the commands leave their metrics."""

from __future__ import annotations

import socket
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ggufactory.assemble.lease import leased, read_lease
from ggufactory.cli import main
from ggufactory.observe.log_watcher import LogWatcher
from ggufactory.storage import open_store

REFUSED = [
    (["--metrics-textfile", "x.txt"], "--metrics-textfile x.txt: wanted a name that ends in .prom"),
    (["--metrics-push", "gateway:9091"], "--metrics-push 'gateway:9091': wanted an address"),
]


def _outcome(file: Path, command: str, model: str) -> dict[str, float]:
    """By metric, without the common beginning of their names."""
    families = text_string_to_metric_families(file.read_text())
    return {
        sample.name.removeprefix("ggufactory_job_last_"): sample.value
        for family in families
        for sample in family.samples
        if sample.labels == {"command": command, "model": model}
    }


@pytest.mark.cluster
def test_quantize(local_ray: str, tinylm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Served while it runs and gone afterwards; the text file says how it went, also when nothing was to do."""
    file = tmp_path / "x.prom"
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}/metrics"
    served: list[str] = []

    def look(self: LogWatcher, name: str) -> None:
        with urllib.request.urlopen(address) as answer:
            served.append(answer.read().decode())

    monkeypatch.setattr(LogWatcher, "file_done", look)
    job = ["quantize", tinylm, "--to", str(tmp_path / "out"), "--ladder", "Q8_0", "--name", "small"]
    job += ["--metrics-textfile", str(file), "--metrics-port", address.rpartition(":")[2].removesuffix("/metrics")]
    assert main(job) == 0
    assert 'ggufactory_uploaded_bytes_total{model="small",rung="Q8_0"} 4.3728e+06' in served[0]
    assert "_created" not in served[0]
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address)
    made = _outcome(file, "quantize", "small")
    assert (made["exit_code"], made["uploaded_bytes"], made["failed_spans"]) == (0, 4372800, 0)
    assert made["read_bytes"] > 4e6
    assert main(job) == 0
    again = _outcome(file, "quantize", "small")
    assert again["uploaded_bytes"] == 0
    assert again["success_timestamp_seconds"] > made["success_timestamp_seconds"]


@pytest.mark.parametrize("command", ["quantize", "republish-header", "calibrate"])
def test_a_run_that_fails_before_it_begins(tmp_path: Path, command: str) -> None:
    file, source = tmp_path / "x.prom", tmp_path / "nowhere"
    arguments = {
        "calibrate": ["--text", str(source), "--to", str(tmp_path / "i.gguf")],
    }.get(command, ["--to", str(tmp_path / "out"), "--ladder", "Q8_0"])
    assert main([command, str(source), *arguments, "--metrics-textfile", str(file)]) == 2
    found = _outcome(file, command, "nowhere")
    assert found["exit_code"] == 2
    assert "success_timestamp_seconds" not in found


@pytest.mark.parametrize(("flags", "told"), REFUSED)
@pytest.mark.parametrize("command", ["quantize", "calibrate"])
def test_flags_that_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tinylm: str, command: str, flags: list[str], told: str
) -> None:
    arguments = {"calibrate": ["--text", tinylm]}.get(command, ["--ladder", "Q8_0"])
    assert main([command, tinylm, "--to", str(tmp_path / "out.gguf"), *arguments, *flags]) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.cluster
def test_commands_that_look_after_a_target(local_ray: str, tinylm: str, tmp_path: Path) -> None:
    """Each leaves what it found; a model with nothing to do is a success, too."""
    catalog, file, target = tmp_path / "catalog.yaml", tmp_path / "x.prom", tmp_path / "out"
    model = f"{{source: {tinylm}, name: tiny, ladder: [Q8_0]}}"
    catalog.write_text(f"target: {target}\nmodels:\n  - {model}\n")
    flags = ["--metrics-textfile", str(file)]
    assert main(["sync", str(catalog), *flags]) == 0
    first = _outcome(file, "sync", "tiny")
    assert first["exit_code"] == 0
    assert first["uploaded_bytes"] > 0
    assert main(["sync", str(catalog), *flags]) == 0
    again = _outcome(file, "sync", "tiny")
    assert again["success_timestamp_seconds"] > first["success_timestamp_seconds"]
    assert again["uploaded_bytes"] == 0
    store = open_store(str(target))
    with leased(store, "a test"):
        held = read_lease(store)
        assert held
        assert main(["status", str(target), *flags]) == 0
    assert main(["gc", str(target), *flags]) == 0
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(file.read_text())
        for sample in family.samples
        if sample.labels == {"target": str(target)}
    }
    assert found == {
        "ggufactory_lease_acquired_timestamp_seconds": pytest.approx(held[0].since),
        "ggufactory_lease_expiry_timestamp_seconds": pytest.approx(held[0].expires),
        "ggufactory_stale_uploads": 0,
    }

"""A real Prometheus, from Debian, on a port of its own."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
import yaml

_PATIENCE_SECONDS = 90.0

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="no prometheus and promtool on the PATH (Debian's package `prometheus` has both)",
)


class PrometheusServer:
    """Scrapes every half second. Use as a context manager. `scrape_configs`: as in its configuration file."""

    def __init__(self, folder: Path, scrape_configs: list[dict[str, Any]]) -> None:
        self._folder = folder
        configuration = {"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"}}
        (folder / "prometheus.yml").write_text(yaml.safe_dump({**configuration, "scrape_configs": scrape_configs}))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._address = f"127.0.0.1:{free.getsockname()[1]}"

    def __enter__(self) -> PrometheusServer:
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address={self._address}",
                ],
                stdout=log,
                stderr=log,
            )
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector: `metric` and `value` of each series. ValueError for what is no PromQL."""
        url = f"http://{self._address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return list(json.load(answer)["data"]["result"])
        except urllib.error.HTTPError as error:
            if error.code == 503:  # not ready yet
                raise
            raise ValueError(f"{expression}: {error.read().decode()}") from error

    def wait_for(self, expression: str) -> list[dict[str, Any]]:
        """What it gives, once that is something."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                if found := self.query(expression):
                    return found
            except OSError:
                pass  # neither listening nor ready yet
            time.sleep(0.2)
        raise TimeoutError(f"{expression}: nothing; {(self._folder / 'log').read_text()[-2000:]}")

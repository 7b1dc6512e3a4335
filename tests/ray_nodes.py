"""A Ray cluster as an operator runs it: a process a node, each with an environment of its own, the head
with its job server, and token authentication on."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

TOKEN = "token-of-the-tests-" + "0123456789abcdef" * 2
_START_SECONDS = 90.0
_PACKAGES = [str(Path(__file__).parents[1] / folder) for folder in ("pipeline", "kernels")]


class RayNodes:
    """A head without CPUs; `add_node` adds nodes. `environment`: of the head, and so of the jobs' drivers."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        # Ray puts sockets there, whose paths have to be short.
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._port, self._dashboard_port = _free_ports(2)

    @property
    def address(self) -> str:
        """Of the job server."""
        return f"http://127.0.0.1:{self._dashboard_port}"

    def __enter__(self) -> RayNodes:
        self._start(
            self._environment,
            "--head", f"--port={self._port}", f"--dashboard-port={self._dashboard_port}", "--dashboard-host=127.0.0.1",
            "--include-dashboard=true", "--num-cpus=0", f"--temp-dir={self.folder}",
        )  # fmt: skip
        self._wait_ready()
        return self

    def add_node(self, environment: Mapping[str, str], cpus: int) -> None:
        self._start(environment, f"--address=127.0.0.1:{self._port}", f"--num-cpus={cpus}")

    def written(self) -> list[Path]:
        """Every file that the nodes have written: logs of Ray, of drivers and of workers, and copies of job files."""
        return [path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink()]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self._processes):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, environment: Mapping[str, str], *arguments: str) -> None:
        bare = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RAY_", "HF_"))}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        with (self.folder / f"node{len(self._processes)}.out").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [
                        sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats",
                        "--node-ip-address=127.0.0.1", "--object-store-memory=100000000",
                        "--dashboard-agent-listen-port=0", *arguments,
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env={
                        **bare, **environment, **token(), "PATH": path, "PYTHONPATH": os.pathsep.join(_PACKAGES),
                    },
                )
            )  # fmt: skip

    def _wait_ready(self) -> None:
        request = urllib.request.Request(f"{self.address}/api/version", headers={"Authorization": f"Bearer {TOKEN}"})
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._processes[0].poll() is None:
            try:
                with urllib.request.urlopen(request, timeout=5):
                    return
            except (OSError, urllib.error.URLError):
                time.sleep(0.2)
        raise RuntimeError((self.folder / "node0.out").read_text(errors="replace")[-3000:])


def token() -> dict[str, str]:
    """The environment of whoever may talk to the cluster."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return ports

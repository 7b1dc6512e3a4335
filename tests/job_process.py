"""A job as a user runs it: a process of its own, which a test can kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from ggufactory.assemble.job_state import list_states
from ggufactory.errors import UploadGoneError
from ggufactory.storage import open_store
from ggufactory.storage.protocol import Upload

_PATIENCE_SECONDS = 120.0
_PAUSE_SECONDS, _MOST_SECONDS = 0.02, 0.25
_REST = 4
"""So many times as long as a look took, the next one waits: looking takes no processor from the job."""


@dataclass
class JobProcess:
    """`ggufactory` with these arguments, started; its standard error goes to `log`."""

    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(cls, log: Path, *arguments: str, before: str = "") -> JobProcess:
        """`before`: a statement that it runs first, such as one that shortens what it would wait for."""
        program = ["-c", f"{before}\nimport ggufactory.__main__"] if before else ["-m", "ggufactory"]
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, *program, *arguments],
                stdout=file,
                stderr=file,
                start_new_session=True,
                env={**os.environ, "RAY_AUTH_MODE": "disabled"},
            )
        return cls(process, log)

    def workers(self) -> list[psutil.Process]:
        """Its Ray workers that are in a task."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if _title(child) == "ray::quantize"]

    def kill(self) -> None:
        """SIGKILL to the driver alone; what it started has to notice by itself."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(_PATIENCE_SECONDS)

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Until the condition holds (True) or the process ended before (False)."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (began := time.monotonic()) < deadline:
            if condition():
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(min(max(_REST * (time.monotonic() - began), _PAUSE_SECONDS), _MOST_SECONDS))
        raise TimeoutError(self.text())


def stored_parts(target: str) -> dict[str, set[int]]:
    """What an observer sees of unfinished files: the numbers of the stored parts, by file name."""
    store = open_store(target)
    found: dict[str, set[int]] = {}
    for state in list_states(store):
        for name, upload in state.uploads.items():
            try:
                found.setdefault(name, set()).update(store.list_parts(Upload(name, upload, 0)))
            except UploadGoneError:
                continue
    return found


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""

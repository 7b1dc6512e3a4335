"""Ray's job server, the HTTP side of a cluster's head: jobs that run there, their logs and how they ended.

Nothing that is sent is secret: Ray shows a job's metadata and its runtime environment in the dashboard.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from ggufactory.errors import GgufactoryError, InputError, UnavailableError

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 120.0
_POLL_SECONDS = 1.0
_LOST_PATIENCE_SECONDS = 300.0
"""How long a followed job's head may be unreachable."""

_ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_CHATTY = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk", "ray._private.runtime_env.packaging")
"""Loggers of the client that tell of every upload and connection."""

_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True, slots=True)
class SubmittedJob:
    """A job as the server knows it."""

    id: str
    status: str
    """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""
    exit_code: int | None
    """Of its process; None while it runs, and when it was lost."""
    message: str

    @property
    def ended(self) -> bool:
        return self.status in _ENDED


class JobServer:
    """The job server at `address`, such as http://HEAD:8265.

    InputError for an address of another kind and for a token that is missing or refused; UnavailableError
    when nobody answers there. The token is found as Ray finds it (`RAY_AUTH_MODE=token` with RAY_AUTH_TOKEN,
    RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token) and is in no message.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        _check_reachable(self.address)
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
        with self._errors(), _no_other_address():
            self._client = _Client(self.address)

    def jobs(self) -> dict[str, SubmittedJob]:
        """Every submitted job that the server remembers, by its id."""
        with self._errors():
            listed = self._client.list_jobs()
        return {job.submission_id: _job(job) for job in listed if job.submission_id}

    def submit(self, job_id: str, entrypoint: str, folder: Path, metadata: Mapping[str, str]) -> bool:
        """Run `entrypoint` on the cluster, in a copy of `folder`. False when there is a job of this id."""
        try:
            with self._errors():
                self._client.submit_job(
                    entrypoint=entrypoint,
                    submission_id=job_id,
                    runtime_env={"working_dir": str(folder)},
                    metadata=dict(metadata),
                )
        except UnavailableError:
            # Ray answers a taken id like any failure of its own. Another submitter may have been faster.
            if job_id in self.jobs():
                return False
            raise
        return True

    def follow(self, job_id: str, write: Callable[[str], object]) -> SubmittedJob:
        """Hand the job's log to `write`, from its beginning and as it grows, until the job has ended.

        A connection that breaks is made anew and goes on where it was; UnavailableError after five
        minutes without one.
        """
        log = _Log(write)
        answered = time.monotonic()
        while True:
            with suppress(RuntimeError, aiohttp.ClientError, OSError):
                # A connection that cannot be made, or breaks, tells nothing: the job's status does.
                asyncio.run(self._tail(job_id, log))
            try:
                job = self._info(job_id)
                answered = time.monotonic()
            except UnavailableError as error:
                if time.monotonic() - answered > _LOST_PATIENCE_SECONDS:
                    fix = "The job may go on there: the same command follows it again"
                    raise UnavailableError(error.message, fix=fix) from error
            else:
                if job.ended:
                    self._write_rest(job_id, log)
                    return job
            time.sleep(_POLL_SECONDS)

    async def _tail(self, job_id: str, log: _Log) -> None:
        """One connection: the server sends the log from its beginning, and closes after the job's end."""
        log.rewind()
        async for text in self._client.tail_job_logs(job_id):
            log.add(text)

    def _write_rest(self, job_id: str, log: _Log) -> None:
        """What the connection did not bring, because the job ended before it was made."""
        log.rewind()
        try:
            with self._errors():
                log.add(self._client.get_job_logs(job_id))
        except UnavailableError as error:
            log.add_note(f"(the end of the job's log cannot be read: {error.message})\n")

    def _info(self, job_id: str) -> SubmittedJob:
        with self._errors():
            return _job(self._client.get_job_info(job_id))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except AuthenticationError as error:
            raise InputError(
                f"Ray at {self.address}: {str(error).splitlines()[0]}",
                fix="Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's token",
            ) from None
        except GgufactoryError:
            raise
        except (RuntimeError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            # The last four come of answers that are no job server's.
            raise UnavailableError(
                f"Ray at {self.address}: {_one_line(error)}",
                fix="Check --address: wanted is the dashboard of a cluster's head, such as http://HEAD:8265",
            ) from error


class _Client(JobSubmissionClient):  # type: ignore[misc]
    """Ray's client, which would wait forever for a head that accepts connections and answers nothing."""

    def _do_request(self, method: str, endpoint: str, **arguments: Any) -> Any:
        return super()._do_request(method, endpoint, timeout=_ANSWER_SECONDS, **arguments)


class _Log:
    """A text that is sent again from its beginning on every connection, written once."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._written = 0
        self._position = 0

    def rewind(self) -> None:
        self._position = 0

    def add(self, text: str) -> None:
        new = text[max(self._written - self._position, 0) :]
        self._position += len(text)
        if new:
            self._written += len(new)
            self._write(new)

    def add_note(self, text: str) -> None:
        """Write what is no part of the text."""
        self._write(text)


def _job(details: Any) -> SubmittedJob:
    return SubmittedJob(
        str(details.submission_id), str(details.status.value), details.driver_exit_code, details.message or ""
    )


def _check_reachable(address: str) -> None:
    """Within seconds; the client's own attempt to connect may take minutes."""
    wanted = "wanted http://HOST:PORT or https://HOST:PORT, such as http://head:8265"
    try:
        url = urlsplit(address)
        host, port = url.hostname, url.port or (443 if url.scheme == "https" else 80)
    except ValueError as error:
        raise InputError(f"--address: {wanted}") from error
    if url.scheme not in ("http", "https") or not host:
        raise InputError(f"--address: {wanted}")
    if url.username or url.password:
        # Not shown, and not used: it would be in every message about the server.
        raise InputError("--address holds a user name or a password", fix="Ray knows tokens: set RAY_AUTH_TOKEN")
    try:
        socket.create_connection((host, port), _CONNECT_SECONDS).close()
    except OSError as error:
        raise UnavailableError(
            f"Ray at {address} cannot be reached: {error}", fix="Check --address, the network and the cluster"
        ) from error


@contextmanager
def _no_other_address() -> Iterator[None]:
    """Ray prefers these variables to the address that it is given; what the user typed has to win."""
    hidden = {name: os.environ.pop(name) for name in _ADDRESS_VARIABLES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + "…"

"""The boto3 client, one per process, tuned for large bodies; and the body of a part.

Everything about the server comes from where AWS tools look: `AWS_ENDPOINT_URL_S3`, the region, and the
usual chain of credentials.
"""

from __future__ import annotations

import io
import os
import threading
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from ggufactory.storage.s3_errors import explain

_SLICE_BYTES = 1 << 20
_make_lock = threading.Lock()


def s3_client() -> Any:
    """The client of this process. A fork gets its own (sockets cannot be shared), and so does a change of
    the AWS variables."""
    environment = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    with _make_lock:
        return _make_client(os.getpid(), environment)


def endpoint(client: Any) -> str:
    """Scheme, host and port of the server: the URL less what may be secret in it."""
    url = urlsplit(client.meta.endpoint_url)
    return f"{url.scheme}://{url.hostname}" + (f":{url.port}" if url.port else "")


@lru_cache(maxsize=4)
def _make_client(process: int, environment: tuple[tuple[str, str], ...]) -> Any:
    retries: Any = {}
    if "AWS_RETRY_MODE" not in os.environ:
        retries["mode"] = "standard"
    if "AWS_MAX_ATTEMPTS" not in os.environ:
        retries["total_max_attempts"] = 8
    config = Config(
        # Version 4 also with an endpoint of our own, where boto3 would presign in version 2.
        signature_version="s3v4",
        # We give every body's CRC-32 ourselves. Left alone, boto3 sends bodies in chunks with trailing
        # checksums, or hashes them with SHA-256, at twice the processor time.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"payload_signing_enabled": False},
        retries=retries,
        connect_timeout=5,
        read_timeout=60,
        tcp_keepalive=True,
        max_pool_connections=64,
    )
    try:
        return boto3.session.Session().client("s3", config=config)
    except (BotoCoreError, ValueError) as error:
        raise explain(error, os.environ.get("AWS_ENDPOINT_URL_S3", "s3")) from error


class PartBody(io.RawIOBase):
    """A buffer as the body of a request, without a copy of it: boto3 does not take a memoryview, but a
    seekable file. `read` hands out views of up to 1 MiB, whatever smaller size is asked for, because
    http.client asks for a few KiB at a time."""

    def __init__(self, data: memoryview) -> None:
        super().__init__()
        self._data = data.cast("B")
        self._position = 0

    def read(self, size: int | None = -1) -> memoryview:
        start = self._position
        self._position = min(start + _SLICE_BYTES, len(self._data))
        return self._data[start : self._position]

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._data)}[whence]
        self._position = min(max(base + offset, 0), len(self._data))
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

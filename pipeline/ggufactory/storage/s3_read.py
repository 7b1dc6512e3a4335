"""Reading a byte range of an object into a buffer, over as many connections as break on the way."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.exceptions import HTTPClientError, IncompleteReadError, ResponseStreamingError

# Bytes asked of a body at a time: urllib3 gathers as many before it copies them to where they belong.
_CHUNK_BYTES = 1 << 20
_FRUITLESS_ATTEMPTS = 5
_BROKEN = (BotoConnectionError, HTTPClientError, IncompleteReadError, ResponseStreamingError, OSError)

OpenBody = Callable[[int, int], Any]
"""(offset, size) -> a StreamingBody of these bytes of the object, always of the same version."""


def fill(buffer: memoryview, offset: int, open_body: OpenBody) -> None:
    """Fill `buffer` with the object's bytes from `offset` on. A broken body is asked for again from the
    first byte that is missing; after five attempts in a row without one byte, its error is raised."""
    done = 0
    fruitless = 0
    while done < len(buffer):
        body = open_body(offset + done, len(buffer) - done)
        before = done
        try:
            while done < len(buffer):
                count = body.readinto(buffer[done : done + _CHUNK_BYTES])
                if count == 0:
                    raise IncompleteReadError(actual_bytes=done, expected_bytes=len(buffer))
                done += count
        except _BROKEN:
            fruitless = fruitless + 1 if done == before else 0
            if fruitless == _FRUITLESS_ATTEMPTS:
                raise
            time.sleep(random.uniform(0, min(0.1 * 2**fruitless, 5)))
        finally:
            body.close()

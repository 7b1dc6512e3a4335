"""Reading a finished object back, whole, for its checksums."""

from __future__ import annotations

import hashlib
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ggufactory.storage.protocol import ObjectInfo, Store

_CHUNK = 16 << 20


@dataclass(frozen=True, slots=True)
class Checksum:
    """CRC-32 (IEEE) and SHA-256 (hexadecimal) of a whole object."""

    crc32: int
    sha256: str


def checksum_object(store: Store, info: ObjectInfo) -> Checksum:
    """Of the object as it is now in the store; SourceChangedError when it is no longer `info`.

    The next chunk is fetched, and goes into the CRC, while one is hashed: SHA-256 alone takes as long as it
    takes. Two chunks are in memory.
    """
    crc, sha = 0, hashlib.sha256()
    buffers = [bytearray(min(_CHUNK, max(info.size, 1))) for _ in range(2)]
    ranges = [(at, min(_CHUNK, info.size - at)) for at in range(0, info.size, _CHUNK)]

    def fetch(number: int) -> memoryview:
        nonlocal crc
        at, length = ranges[number]
        view = memoryview(buffers[number % 2])[:length]
        store.read_into(info.name, at, view, etag=info.etag)
        crc = zlib.crc32(view, crc)
        return view

    with ThreadPoolExecutor(1, thread_name_prefix="read") as pool:
        fetched = pool.submit(fetch, 0) if ranges else None
        for number in range(len(ranges)):
            assert fetched is not None
            view = fetched.result()
            if number + 1 < len(ranges):
                fetched = pool.submit(fetch, number + 1)
            sha.update(view)
    return Checksum(crc, sha.hexdigest())

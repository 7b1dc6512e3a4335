"""Downloading an object to a file: in chunks over several connections, going on where it was interrupted.

Until it is whole and its SHA-256 is right, the file is NAME.part; NAME.part.chunks says which chunks it
has, each with its CRC-32, which is compared before a chunk of an earlier run is believed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from ggufactory.errors import InputError, UnavailableError
from ggufactory.storage.folder_files import (
    folder_errors,
    make_directory,
    opened,
    read_exactly,
    replace_durably,
    write_exactly,
)
from ggufactory.storage.protocol import ObjectInfo, Store

CHUNK_BYTES = 16 << 20

OnBytes = Callable[[int], None]
"""Told of bytes that are there: those of an earlier run, then each chunk."""


def download(
    store: Store,
    info: ObjectInfo,
    sha256: str,
    target: Path,
    *,
    connections: int,
    on_bytes: OnBytes,
    chunk_bytes: int = CHUNK_BYTES,
) -> None:
    """Make `target` the object `info`, whose SHA-256 is `sha256`, replacing an older file at once.

    SourceChangedError when the object changes meanwhile; UnavailableError when the disk is full; InputError
    when the bytes are not those of `sha256` (the part is dropped then), or another run is at it.
    """
    part, ledger = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.chunks")
    with folder_errors(target):
        make_directory(target.parent)
        with _claimed(ledger) as record, opened(part, os.O_RDWR | os.O_CREAT) as file:
            chunks = _Chunks(info.size, chunk_bytes)
            done = _resume(record, file, chunks, f"{sha256} {info.size} {chunk_bytes}\n".encode())
            _check_space(target, info.size, sum(chunks.size(number) for number in done))
            os.ftruncate(file, info.size)
            for number in done:
                on_bytes(chunks.size(number))
            missing = [number for number in range(chunks.count) if number not in done]
            _fetch(store, info, file, record, chunks, missing, connections, on_bytes)
            found = _hash(file, info.size)
            if found == sha256:
                os.fsync(file)
                replace_durably(part, target)
            else:
                part.unlink()
            ledger.unlink(missing_ok=True)
    if found != sha256:
        raise InputError(
            f"{store.uri}/{info.name}: wanted SHA-256 {sha256}, found {found}",
            fix="Look at the target with `ggufactory verify`",
        )


def file_sha256(path: Path) -> str:
    """Of a local file, in hexadecimal."""
    with folder_errors(path), opened(path, os.O_RDONLY) as file:
        return _hash(file, os.fstat(file).st_size)


class _Chunks:
    """How an object is cut: all chunks but the last have the same size."""

    def __init__(self, total: int, each: int) -> None:
        self.count = -(-total // each)
        self._total, self._each = total, each

    def offset(self, number: int) -> int:
        return number * self._each

    def size(self, number: int) -> int:
        return min(self._each, self._total - number * self._each)


@contextmanager
def _claimed(ledger: Path) -> Iterator[int]:
    """The record of chunks, opened, and locked against other runs."""
    with opened(ledger, os.O_RDWR | os.O_CREAT) as record:
        try:
            fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{ledger}: another run is downloading this file", fix="Wait for it to end") from error
        yield record


def _resume(record: int, file: int, chunks: _Chunks, heading: bytes) -> set[int]:
    """The chunks of an earlier run that are as they were recorded; the record keeps no others. Of a record
    of another object nothing is left."""
    data = bytearray(os.fstat(record).st_size)
    read_exactly(record, memoryview(data), 0)
    done: dict[int, bytes] = {}
    if data.startswith(heading):
        for line in bytes(data[len(heading) :]).splitlines():
            fields = line.split()
            if len(fields) == 2 and all(field.isdigit() for field in fields):
                number, crc = int(fields[0]), int(fields[1])
                if number < chunks.count and _crc32(file, chunks, number) == crc:
                    done[number] = b"%d %d\n" % (number, crc)
    kept = heading + b"".join(done.values())
    os.ftruncate(record, 0)
    write_exactly(record, memoryview(kept), 0)
    os.lseek(record, 0, os.SEEK_END)
    return set(done)


def _crc32(file: int, chunks: _Chunks, number: int) -> int | None:
    buffer = bytearray(chunks.size(number))
    whole = read_exactly(file, memoryview(buffer), chunks.offset(number)) == len(buffer)
    return zlib.crc32(buffer) if whole else None


def _check_space(target: Path, size: int, there: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if size - there > free:
        raise UnavailableError(
            f"{target}: {size - there:,} bytes are to come, and the disk has {free:,} free",
            fix="Free some space, or give another folder with --to",
        )


def _fetch(
    store: Store,
    info: ObjectInfo,
    file: int,
    record: int,
    chunks: _Chunks,
    missing: list[int],
    connections: int,
    on_bytes: OnBytes,
) -> None:
    """Bring the missing chunks. The first failure stops the rest."""
    writing = threading.Lock()

    def bring(number: int) -> int:
        buffer = bytearray(chunks.size(number))
        view = memoryview(buffer)
        store.read_into(info.name, chunks.offset(number), view, etag=info.etag)
        write_exactly(file, view, chunks.offset(number))
        with writing:
            os.write(record, b"%d %d\n" % (number, zlib.crc32(view)))
        return len(buffer)

    with ThreadPoolExecutor(connections, thread_name_prefix="fetch") as pool:
        try:
            for brought in as_completed([pool.submit(bring, number) for number in missing]):
                on_bytes(brought.result())
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _hash(file: int, size: int) -> str:
    sha, buffer = hashlib.sha256(), bytearray(min(CHUNK_BYTES, max(size, 1)))
    for at in range(0, size, len(buffer)):
        view = memoryview(buffer)[: min(len(buffer), size - at)]
        if read_exactly(file, view, at) < len(view):
            raise OSError(errno.EIO, "the file was cut while it was read")
        sha.update(view)
    return sha.hexdigest()

"""Reading and writing files so that a crash at any moment leaves either the old or the new content,
and errors of the file system in the words of the user."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ggufactory.errors import GgufactoryError, InputError, TransientStoreError, UnavailableError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_PASSING = {errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY, errno.EIO, errno.ENFILE, errno.EMFILE}
_REFUSED = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
    errno.ELOOP, errno.EFBIG, errno.EXDEV, errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST,
}  # fmt: skip
_ATTEMPTS = 1000
"""To make the folder of a lock that others remove: far more than there are holders to do so."""


@contextmanager
def folder_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into the error class that says what the user can do about it."""
    try:
        yield
    except OSError as error:
        raise _explain(error, path) from error


def _explain(error: OSError, path: Path) -> GgufactoryError:
    message = f"{path}: {error.strerror or error}"
    if error.filename is not None and os.fsdecode(error.filename) != str(path):
        message += f" ({os.fsdecode(error.filename)})"
    if error.errno in _FULL:
        return UnavailableError(message, fix="Free some space and run the same command again")
    if error.errno in _REFUSED:
        return InputError(message, fix="Check the path and its permissions")
    if error.errno in _PASSING:
        return TransientStoreError(message)
    return UnavailableError(message)


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_regular(path: Path) -> Iterator[tuple[int, os.stat_result]]:
    """Open for reading. Not blocking, because a stranger's folder may hold a pipe that nobody writes."""
    with opened(path, os.O_RDONLY | os.O_NONBLOCK) as descriptor:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: not a regular file")
        yield descriptor, status


def read_exactly(descriptor: int, buffer: memoryview, offset: int) -> int:
    """Fill `buffer` from byte `offset`; returns the bytes read, fewer only where the file ends."""
    done = 0
    while done < len(buffer):
        count = os.preadv(descriptor, [buffer[done:]], offset + done)
        if count == 0:
            break
        done += count
    return done


def write_exactly(descriptor: int, data: memoryview, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], offset + done)


def make_directory(path: Path) -> None:
    """Make `path` and what is missing above it, for good."""
    if not path.is_dir():
        make_directory(path.parent)
        path.mkdir(exist_ok=True)
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a folder durable: a file's own fsync does not."""
    with opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        os.fsync(descriptor)


def write_durably(path: Path, data: bytes) -> os.stat_result:
    """Write a new file at `path` and force it to the disk; its name is the caller's to make durable."""
    with opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as descriptor:
        write_exactly(descriptor, memoryview(data), 0)
        os.fsync(descriptor)
        return os.fstat(descriptor)


def replace_durably(source: Path, target: Path) -> None:
    """Give `source` the name `target`, atomically and for good."""
    source.replace(target)
    sync_directory(target.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the exclusive lock that is the file `path`, made with its folder where missing.

    The kernel drops it when its holder dies. Whoever holds it may remove it: the next one notices that
    its descriptor is no longer the named file, and takes the new one.
    """
    missing = 0
    while True:
        try:
            make_directory(path.parent)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            # A holder of the lock has removed the folder again; or nothing can be made there, as in /proc.
            missing += 1
            if missing == _ATTEMPTS:
                raise
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if is_named(descriptor, path):
                yield
                return
        finally:
            os.close(descriptor)


def is_named(descriptor: int, path: Path) -> bool:
    """Whether `path` still names the file that was opened."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False

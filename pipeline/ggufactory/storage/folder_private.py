"""The hidden folder `.ggufactory` of a folder store: its lock, the temporary file behind every small
write, and what it remembers of finished objects (a file system keeps no metadata).

    .ggufactory/lock                          held while a name in the store changes
    .ggufactory/new                           the next content of some name; only the lock's holder has one
    .ggufactory/objects/NAME-HASH/ETAG.json   the record of the object that has this name and this tag
    .ggufactory/uploads/ID/                   see folder_uploads.py
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ggufactory.errors import InputError
from ggufactory.storage.folder_files import (
    locked,
    make_directory,
    opened_regular,
    read_exactly,
    replace_durably,
    sync_directory,
    write_durably,
)

PRIVATE_NAME = ".ggufactory"
_MAX_RECORD_BYTES = 1 << 16


def entity_tag(status: os.stat_result) -> str:
    """A file's tag. Renaming keeps it; writing, also of the same bytes, changes it."""
    return f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """What the store knows of a finished object besides its bytes: the upload that made it, its CRC-32
    and its metadata."""

    upload: str
    crc32: int
    metadata: Mapping[str, str]


class PrivateFolder:
    def __init__(self, root: Path) -> None:
        self.path = root / PRIVATE_NAME
        self.uploads = self.path / "uploads"
        self._lock = self.path / "lock"
        self._new = self.path / "new"

    def lock(self) -> AbstractContextManager[None]:
        """Exclusive over threads and processes. Hold it for renames, not for data."""
        return locked(self._lock)

    def write_object(self, target: Path, data: bytes) -> os.stat_result:
        """Replace `target` by a file of `data`, atomically. The caller holds the lock."""
        status = write_durably(self._new, data)
        replace_durably(self._new, target)
        return status

    def record(self, name: str, etag: str) -> ObjectRecord | None:
        """The record of `name` as long as the file is the one that was recorded.

        The folder may be a stranger's: a record that is not well formed counts as none.
        """
        try:
            with opened_regular(self._record_path(name, etag)) as (descriptor, status):
                buffer = bytearray(min(status.st_size, _MAX_RECORD_BYTES))
                read_exactly(descriptor, memoryview(buffer), 0)
            return _parse_record(buffer)
        except (FileNotFoundError, NotADirectoryError, InputError, ValueError, RecursionError):
            return None

    def write_record(self, name: str, etag: str, record: ObjectRecord) -> None:
        """The caller holds the lock."""
        path = self._record_path(name, etag)
        make_directory(path.parent)
        self.write_object(path, json.dumps(asdict(record)).encode())

    def forget(self, name: str, keep: str | None = None) -> None:
        """Drop the records of what `name` was before, all but the one of tag `keep`. Holder of the lock."""
        directory = self._record_path(name, "").parent
        with suppress(FileNotFoundError):
            for path in list(directory.iterdir()):
                if keep is None or path != self._record_path(name, keep):
                    path.unlink()
            if keep is None:
                directory.rmdir()

    def remove_if_unused(self) -> None:
        """Remove the folder when it holds nothing but its lock."""
        with self.lock():
            self._new.unlink(missing_ok=True)  # of a write that failed
            for name in ("uploads", "objects"):
                with suppress(OSError):  # it is missing, or in use
                    (self.path / name).rmdir()
            if [entry.name for entry in self.path.iterdir()] == [self._lock.name]:
                self._lock.unlink()
                self.path.rmdir()
                sync_directory(self.path.parent)

    def _record_path(self, name: str, etag: str) -> Path:
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        return self.path / "objects" / digest / f"{etag}.json"


def _parse_record(data: bytearray) -> ObjectRecord | None:
    fields = json.loads(data)
    if not isinstance(fields, dict) or set(fields) != {"upload", "crc32", "metadata"}:
        return None
    upload, crc32, metadata = fields["upload"], fields["crc32"], fields["metadata"]
    if not isinstance(upload, str) or not isinstance(crc32, int) or not 0 <= crc32 < 1 << 32:
        return None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        return None
    return ObjectRecord(upload, crc32, metadata)

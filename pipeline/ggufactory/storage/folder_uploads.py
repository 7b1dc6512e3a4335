"""Uploads into a folder: a file of the final size that parts are written into at their places, and
beside it one receipt per part, written after the part's bytes are on the disk.

    .ggufactory/uploads/ID/upload.json   the name, size and metadata of the object to be
    .ggufactory/uploads/ID/content       the object to be; renamed to its name by `complete`
    .ggufactory/uploads/ID/receipts      see folder_receipts.py; also the upload's lock

Whoever writes a part holds the lock shared, whoever ends the upload holds it alone. So a finished object
is never written to, also not by a process that was late.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ggufactory.errors import UnavailableError, UploadGoneError
from ggufactory.storage import crc32, folder_receipts
from ggufactory.storage.folder_files import (
    is_named,
    make_directory,
    opened,
    replace_durably,
    sync_directory,
    write_durably,
    write_exactly,
)
from ggufactory.storage.folder_private import ObjectRecord, PrivateFolder, entity_tag
from ggufactory.storage.folder_receipts import MAX_PARTS, Receipt
from ggufactory.storage.names import check_metadata
from ggufactory.storage.protocol import ObjectInfo, OpenUpload, Part, Upload

_ID = re.compile(r"[0-9a-f]{32}")


class FolderUploads:
    """The uploads of one folder store. The methods are those of `Store`, but raise OSError as it comes."""

    def __init__(self, private: PrivateFolder) -> None:
        self._private = private

    def create(self, name: str, size: int, metadata: Mapping[str, str]) -> Upload:
        """Claims the space at once: a disk that is too small is found here and not after hours."""
        assert size > 0
        check_metadata(name, metadata)
        upload = Upload(name, uuid.uuid4().hex, size)
        directory = self._directory(upload)
        with self._private.lock():
            make_directory(directory)
        try:
            _preallocate(directory / "content", upload, self._private.path.parent)
            write_durably(directory / "receipts", b"")
            described = {"name": name, "size": size, "metadata": dict(metadata)}
            write_durably(directory / "upload.json", json.dumps(described).encode())
            sync_directory(directory)
        except BaseException:
            _remove(directory)
            raise
        return upload

    def write_part(self, upload: Upload, number: int, offset: int, data: memoryview) -> Part:
        data = data.cast("B")
        assert 1 <= number <= MAX_PARTS
        assert 0 <= offset < offset + len(data) <= upload.size
        receipt = Receipt(number, offset, len(data), zlib.crc32(data), time.time())
        with self._held(upload, fcntl.LOCK_SH) as (directory, receipts):
            if folder_receipts.read(receipts, number) not in (None, receipt):
                folder_receipts.erase(receipts, number)
            with opened(directory / "content", os.O_WRONLY) as content:
                write_exactly(content, data, offset)
                os.fdatasync(content)
            folder_receipts.write(receipts, receipt)
        return receipt.part()

    def list_parts(self, upload: Upload) -> dict[int, Part]:
        with self._held(upload, fcntl.LOCK_SH) as (_, receipts):
            return {receipt.number: receipt.part() for receipt in folder_receipts.read_all(receipts)}

    def complete(self, upload: Upload, parts: Sequence[Part], target: Path) -> ObjectInfo:
        try:
            with self._held(upload, fcntl.LOCK_EX) as (directory, receipts):
                checksum = _check_parts(upload, parts, receipts)
                return self._finish(upload, directory, target, checksum)
        except UploadGoneError:
            info = self._finished_before(upload, target)
            if info is None:
                raise
        # The run that finished it may have been killed before it could clear up.
        with self._private.lock():
            self._private.forget(upload.name, keep=info.etag)
        _remove(self._directory(upload))
        return info

    def list_open(self, prefix: str) -> list[OpenUpload]:
        """Also what a process that was killed left of an upload that it was beginning or ending: its name
        may not be known any more, and is its id then."""
        with suppress(FileNotFoundError):
            entries = [entry for entry in os.scandir(self._private.uploads) if _ID.fullmatch(entry.name)]
            found = [_open_upload(Path(entry.path), entry.stat().st_mtime) for entry in entries]
            named = [entry for entry in found if entry.upload.name.startswith(prefix)]
            return sorted(named, key=lambda entry: (entry.upload.name, entry.began))
        return []

    def abort(self, upload: Upload) -> None:
        try:
            with self._held(upload, fcntl.LOCK_EX) as (directory, _):
                _remove(directory)
        except UploadGoneError:
            if _ID.fullmatch(upload.id):
                _remove(self._directory(upload))  # what is left of it, if anything is

    def _finish(self, upload: Upload, directory: Path, target: Path, checksum: int) -> ObjectInfo:
        with opened(directory / "content", os.O_RDONLY) as content:
            os.fsync(content)
            etag = entity_tag(os.fstat(content))
        metadata = json.loads((directory / "upload.json").read_bytes())["metadata"]
        with self._private.lock():
            make_directory(target.parent)
            # The record comes first: as soon as the name is there, it tells which upload made the object.
            self._private.write_record(upload.name, etag, ObjectRecord(upload.id, checksum, metadata))
            replace_durably(directory / "content", target)
            self._private.forget(upload.name, keep=etag)
        _remove(directory)
        return ObjectInfo(upload.name, upload.size, etag, checksum, metadata)

    def _finished_before(self, upload: Upload, target: Path) -> ObjectInfo | None:
        """The object when this upload made it, by another process or by a run that was killed."""
        try:
            status = target.stat()
        except FileNotFoundError:
            return None
        etag = entity_tag(status)
        record = self._private.record(upload.name, etag)
        if record is None or record.upload != upload.id:
            return None
        return ObjectInfo(upload.name, status.st_size, etag, record.crc32, record.metadata)

    def _directory(self, upload: Upload) -> Path:
        if not _ID.fullmatch(upload.id):
            raise UploadGoneError(f"{upload.name}: no upload has the id {upload.id!r}")
        return self._private.uploads / upload.id

    @contextmanager
    def _held(self, upload: Upload, how: int) -> Iterator[tuple[Path, int]]:
        """The upload's folder and the descriptor of its receipts, locked (fcntl.LOCK_SH or LOCK_EX)."""
        directory = self._directory(upload)
        gone = UploadGoneError(f"{upload.name}: its upload {upload.id} was completed or aborted")
        try:
            receipts = os.open(directory / "receipts", os.O_RDWR)
        except FileNotFoundError:
            raise gone from None
        try:
            fcntl.flock(receipts, how)
            if not is_named(receipts, directory / "receipts") or not (directory / "content").exists():
                raise gone
            yield directory, receipts
        finally:
            os.close(receipts)


def _open_upload(directory: Path, began: float) -> OpenUpload:
    """`began` is the folder's own time, which is that of the first moment: its files are made once."""
    try:
        described = json.loads((directory / "upload.json").read_bytes())
        upload = Upload(str(described["name"]), directory.name, int(described["size"]))
    except (OSError, ValueError, KeyError, TypeError):
        upload = Upload(directory.name, directory.name, 0)
    return OpenUpload(upload, began, certainly_ours=True)


def _preallocate(path: Path, upload: Upload, store: Path) -> None:
    space = os.statvfs(path.parent)
    free = space.f_bavail * space.f_frsize
    full = UnavailableError(
        f"{upload.name}: needs {upload.size:,} bytes on the disk of {store}, {free:,} are free",
        fix="Free some space or choose another target",
    )
    if upload.size > free:
        raise full
    with opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
        try:
            os.posix_fallocate(descriptor, 0, upload.size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise full from error
            raise


def _check_parts(upload: Upload, parts: Sequence[Part], receipts: int) -> int:
    """The CRC-32 of the object, whose parts are stored as `parts` say and lie end to end over all of it."""
    stored = {receipt.number: receipt for receipt in folder_receipts.read_all(receipts)}
    end = 0
    for part in parts:
        receipt = stored.get(part.number)
        if receipt is None or receipt.offset != end or not _agree(receipt.part(), part):
            found = "nothing" if receipt is None else f"{receipt.part()} at byte {receipt.offset}"
            raise _not_whole(upload, f"wanted {part} at byte {end}, found {found}")
        end += part.size
    if end != upload.size:
        raise _not_whole(upload, f"the parts end at byte {end} of {upload.size}")
    return crc32.combine((stored[part.number].crc32, part.size) for part in parts)


def _agree(stored: Part, wanted: Part) -> bool:
    return (stored.size, stored.etag) == (wanted.size, wanted.etag) and wanted.crc32 in (None, stored.crc32)


def _not_whole(upload: Upload, found: str) -> UnavailableError:
    return UnavailableError(
        f"{upload.name}: the parts of upload {upload.id} do not make the object: {found}",
        fix="Run the same command again: parts that are not as planned are made again",
    )


def _remove(directory: Path) -> None:
    """Content first: without it the upload is gone, wherever this is interrupted."""
    for name in ("content", "upload.json", "receipts"):
        (directory / name).unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        directory.rmdir()

"""A folder as a store: objects are files, and whatever is not one lies in its `.ggufactory`."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ggufactory.errors import GgufactoryError, InputError, SourceChangedError
from ggufactory.storage.folder_files import folder_errors, make_directory, opened_regular, read_exactly
from ggufactory.storage.folder_private import PRIVATE_NAME, PrivateFolder, entity_tag
from ggufactory.storage.folder_receipts import MAX_PARTS
from ggufactory.storage.folder_uploads import FolderUploads
from ggufactory.storage.names import check_name
from ggufactory.storage.protocol import ObjectInfo, OpenUpload, Part, PartLimits, Upload


class FolderStore:
    """`Store` over the local folder `root`, which is made by the first write. See protocol.py."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._private = PrivateFolder(root)
        self._uploads = FolderUploads(self._private)

    @property
    def uri(self) -> str:
        return str(self._root)

    @property
    def limits(self) -> PartLimits:
        return PartLimits(min_part_bytes=1, max_part_bytes=1 << 40, max_parts=MAX_PARTS)

    def stat(self, name: str) -> ObjectInfo | None:
        path = self._readable(name)
        with folder_errors(path):
            return self._stat(name, path)

    def list(self, prefix: str = "") -> list[ObjectInfo]:
        with folder_errors(self._root):
            return sorted(self._walk("", prefix), key=lambda info: info.name)

    def read(self, name: str, *, limit: int) -> tuple[bytes, ObjectInfo] | None:
        path = self._readable(name)
        with folder_errors(path):
            try:
                with opened_regular(path) as (descriptor, status):
                    if status.st_size > limit:
                        raise InputError(f"{path}: {status.st_size} bytes, of which {limit} are allowed")
                    data = bytearray(status.st_size)
                    read_exactly(descriptor, memoryview(data), 0)
            except FileNotFoundError:
                return None
        return bytes(data), ObjectInfo(name, len(data), entity_tag(status))

    def read_into(self, name: str, offset: int, buffer: memoryview, *, etag: str | None = None) -> None:
        path = self._readable(name)
        with folder_errors(path):
            try:
                with opened_regular(path) as (descriptor, status):
                    _check_unchanged(path, status, etag)
                    count = read_exactly(descriptor, buffer.cast("B"), offset)
                    # A file that was replaced stays as it was under its descriptor; one written in place
                    # shows here.
                    _check_unchanged(path, os.fstat(descriptor), etag)
            except FileNotFoundError as error:
                kind = InputError if etag is None else SourceChangedError
                raise kind(f"{path}: there is no such file") from error
        if count < buffer.nbytes:
            raise InputError(
                f"{path}: wanted the bytes {offset} to {offset + buffer.nbytes}, but the file ends at {status.st_size}"
            )

    def put(
        self, name: str, data: bytes, *, create_only: bool = False, if_match: str | None = None
    ) -> ObjectInfo | None:
        with self._changing(name) as path:
            present = self._stat(name, path)
            if create_only and os.path.lexists(path):
                return None
            if if_match is not None and (present is None or present.etag != if_match):
                return None
            status = self._private.write_object(path, data)
            self._private.forget(name)
        return ObjectInfo(name, len(data), entity_tag(status))

    def delete(self, name: str) -> bool:
        if self.stat(name) is None:
            return True
        with self._changing(name) as path:
            path.unlink(missing_ok=True)
            self._private.forget(name)
            # Names have folders only because file systems do: the last object takes its folders with it.
            with suppress(OSError):
                for folder in path.parents[: name.count("/")]:
                    folder.rmdir()
        return True

    def check_writable(self) -> None:
        with folder_errors(self._root):
            made = [path for path in (self._root, *self._root.parents) if not path.exists()]
            had_private = self._private.path.exists()
        try:
            self._probe(f".ggufactory-probe-{uuid.uuid4().hex}")
        except GgufactoryError:
            with suppress(OSError):
                self._forget_probe(had_private)
                for path in made:
                    path.rmdir()
            raise
        with folder_errors(self._root):
            self._forget_probe(had_private)

    def create_upload(self, name: str, size: int, metadata: Mapping[str, str]) -> Upload:
        path = self._writable(name)
        with folder_errors(path):
            return self._uploads.create(name, size, metadata)

    def upload_part(self, upload: Upload, number: int, offset: int, data: memoryview) -> Part:
        with folder_errors(self._writable(upload.name)):
            return self._uploads.write_part(upload, number, offset, data)

    def list_parts(self, upload: Upload) -> dict[int, Part]:
        with folder_errors(self._writable(upload.name)):
            return self._uploads.list_parts(upload)

    def list_uploads(self, prefix: str = "") -> Sequence[OpenUpload]:
        with folder_errors(self._root):
            return self._uploads.list_open(prefix)

    def complete(self, upload: Upload, parts: Sequence[Part]) -> ObjectInfo:
        path = self._writable(upload.name)
        with folder_errors(path):
            return self._uploads.complete(upload, parts, path)

    def abort(self, upload: Upload) -> None:
        with folder_errors(self._writable(upload.name)):
            self._uploads.abort(upload)

    def _probe(self, name: str) -> None:
        first = self.put(name, b"1", create_only=True)
        second = self.put(name, b"2", create_only=True)
        self.delete(name)
        if first is None or second is not None:
            raise InputError(f"{self._root}: a file that may only be created was replaced")

    def _forget_probe(self, had_private: bool) -> None:
        if not had_private:
            self._private.remove_if_unused()

    @contextmanager
    def _changing(self, name: str) -> Iterator[Path]:
        """The path of `name`, with its folder in place and no one else changing a name."""
        path = self._writable(name)
        with folder_errors(path), self._private.lock():
            make_directory(path.parent)
            yield path

    def _stat(self, name: str, path: Path) -> ObjectInfo | None:
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        etag = entity_tag(status)
        record = self._private.record(name, etag)
        if record is None:
            return ObjectInfo(name, status.st_size, etag)
        return ObjectInfo(name, status.st_size, etag, record.crc32, record.metadata)

    def _walk(self, directory: str, prefix: str) -> Iterator[ObjectInfo]:
        """The files below `directory` ("" or "a/b/") whose names start with `prefix`. Not entered are
        folders that are links (they may form rings) or that we may not read (`lost+found`)."""
        try:
            entries = list(os.scandir(self._root / directory))
        except FileNotFoundError:
            return
        except PermissionError:
            if directory:
                return
            raise
        for entry in entries:
            name = directory + entry.name
            if entry.name == PRIVATE_NAME:
                continue
            if entry.is_dir(follow_symlinks=False):
                inside = name + "/"
                if inside.startswith(prefix) or prefix.startswith(inside):
                    yield from self._walk(inside, prefix)
            elif name.startswith(prefix) and (status := _regular(entry)) is not None:
                yield ObjectInfo(name, status.st_size, entity_tag(status))

    def _readable(self, name: str) -> Path:
        """The file of `name`. It may be a link, but only to within the store, or from a revision to the
        blobs of the same Hugging Face cache folder, which consists of such links."""
        path = self._path(name)
        real, root = Path(os.path.realpath(path)), Path(os.path.realpath(self._root))
        if real.is_relative_to(root) or any(real.is_relative_to(blobs) for blobs in _blob_folders(root)):
            return path
        raise InputError(
            f"{path}: links to {real}, outside of the store",
            fix="Put the file itself there, or name the folder that holds it",
        )

    def _writable(self, name: str) -> Path:
        """Where `name` is written: a link there would be replaced, one on the way is followed."""
        path = self._path(name)
        if not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(self._root)):
            raise InputError(f"{path}: leads outside of the store {self._root}")
        return path

    def _path(self, name: str) -> Path:
        check_name(name, self.uri)
        if PRIVATE_NAME in name.split("/"):
            raise InputError(f"{self.uri}: {name!r} cannot be the name of an object: the store keeps it")
        return self._root / name


def _regular(entry: os.DirEntry[str]) -> os.stat_result | None:
    """The status of a regular file, or of the one that a link leads to."""
    try:
        status = entry.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):  # removed just now, or a link to nothing
            return None
        raise
    return status if stat.S_ISREG(status.st_mode) else None


def _check_unchanged(path: Path, status: os.stat_result, etag: str | None) -> None:
    if etag is not None and entity_tag(status) != etag:
        raise SourceChangedError(
            f"{path}: the file was changed since this run first looked at it (tag {etag}, now {entity_tag(status)})",
            fix="Start again, so that the new content is planned for",
        )


def _blob_folders(root: Path) -> Iterator[Path]:
    for path in (root, *root.parents):
        if path.parent.name == "snapshots":
            yield path.parent.parent / "blobs"

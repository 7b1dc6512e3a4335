"""What a store can do: the one interface to folders and S3, in words that both can keep, and to the hub,
which can only be read.

A store is one prefix (a folder, `s3://bucket/prefix`, or a commit of a repository); names are relative
to it and separated by "/". It reads byte ranges of objects that are pinned by their entity tag, and it
writes objects that appear whole or not at all: small ones by `put`, large ones as numbered parts of an
upload.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One finished object: `name` relative to the store, `size` in bytes."""

    name: str
    size: int
    etag: str
    """Opaque; equal as long as the object is unchanged."""
    crc32: int | None = None
    """CRC-32 (IEEE) of the whole object where the store keeps one."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What `create_upload` was given; only `stat` and `complete` fill it."""


@dataclass(frozen=True, slots=True)
class PartLimits:
    """What the parts of one upload must keep to. Inputs of the layout."""

    min_part_bytes: int
    """Every part but the last is at least this large."""
    max_part_bytes: int
    max_parts: int


@dataclass(frozen=True, slots=True)
class Upload:
    """An unfinished object: `size` is the exact size it will have. `id` is the store's own word."""

    name: str
    id: str
    size: int


@dataclass(frozen=True, slots=True)
class Part:
    """Receipt of one stored part. `crc32` is None where the store does not tell it (a resumed run)."""

    number: int
    size: int
    etag: str
    crc32: int | None
    stored_at: float | None = field(default=None, compare=False)
    """When, in seconds of Unix time by the store's clock; only `list_parts` tells it."""


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """An upload that is neither completed nor aborted. `upload.size` is 0 where the store does not tell it."""

    upload: Upload
    began: float
    """In seconds of Unix time, by the store's clock."""
    certainly_ours: bool = False
    """No other program can have begun it; anybody may begin uploads in a bucket."""


class Store(Protocol):
    """One prefix of a folder or bucket.

    Errors of every method: `InputError` for a request that cannot work (missing bucket, refused
    credentials, a name outside the prefix), `UnavailableError` when the store cannot be reached or
    is full, `TransientStoreError` when trying again may help.
    """

    @property
    def uri(self) -> str:
        """What `open_store` was given, normalized; opens the same store in another process."""

    @property
    def limits(self) -> PartLimits: ...

    def stat(self, name: str) -> ObjectInfo | None:
        """The object's size, tag and metadata; None when there is none."""

    def list(self, prefix: str = "") -> list[ObjectInfo]:
        """The finished objects whose names start with `prefix`, sorted by name (metadata not filled)."""

    def read(self, name: str, *, limit: int) -> tuple[bytes, ObjectInfo] | None:
        """A small object whole, or None. InputError when it is larger than `limit` bytes."""

    def read_into(self, name: str, offset: int, buffer: memoryview, *, etag: str | None = None) -> None:
        """Fill `buffer` from byte `offset`. SourceChangedError when the object's tag is not `etag`;
        InputError when the object ends before the range does."""

    def put(
        self, name: str, data: bytes, *, create_only: bool = False, if_match: str | None = None
    ) -> ObjectInfo | None:
        """Write a small object atomically. With `create_only` (or `if_match`, a tag) nothing is written
        and None returned when the object exists (or is no longer the one with that tag)."""

    def delete(self, name: str) -> bool:
        """Remove a finished object; nothing happens when there is none. False when these credentials may not
        delete, which is no fault: no job needs to."""

    def check_writable(self) -> None:
        """Prove before any work that this store takes objects and keeps `create_only`. Leaves nothing that may
        be deleted."""

    def create_upload(self, name: str, size: int, metadata: Mapping[str, str]) -> Upload:
        """Begin an object of exactly `size` bytes. Nothing is visible under `name` until `complete`."""

    def upload_part(self, upload: Upload, number: int, offset: int, data: memoryview) -> Part:
        """Store part `number` (from 1), which begins at byte `offset` of the object. Safe to repeat, also
        at the same time from several processes, with the same bytes. UploadGoneError when the upload
        was completed or aborted."""

    def list_parts(self, upload: Upload) -> dict[int, Part]:
        """The parts that are stored for good, by number. A number of which the store holds differing
        copies is left out: it must be uploaded again. UploadGoneError as above."""

    def list_uploads(self, prefix: str = "") -> Sequence[OpenUpload]:
        """The open uploads of objects whose names start with `prefix`, by name; also those of which
        nobody remembers the id."""

    def complete(self, upload: Upload, parts: Sequence[Part]) -> ObjectInfo:
        """Make the object visible, atomically, replacing an older one of that name. `parts` are all of
        its parts in order. When every part has a CRC, the store verifies the combined CRC of the whole.
        Safe to repeat. UploadGoneError when the upload is gone and `name` is not what it would have made."""

    def abort(self, upload: Upload) -> None:
        """Drop an upload and its parts; nothing happens when it is gone."""

"""A prefix of an S3 bucket as a store. The calls themselves are in s3_bucket.py, multipart uploads in
s3_uploads.py."""

from __future__ import annotations

import posixpath
import random
import time
import uuid
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError

from ggufactory.errors import InputError, SourceChangedError, TransientStoreError, UnavailableError
from ggufactory.storage.names import check_name
from ggufactory.storage.protocol import ObjectInfo, OpenUpload, Part, PartLimits, Upload
from ggufactory.storage.s3_bucket import MISSING, RefusedError, S3Bucket, encode_crc32
from ggufactory.storage.s3_read import fill
from ggufactory.storage.s3_uploads import S3Uploads

_UNMET = ("412", "PreconditionFailed")
_CONFLICT = ("409", "ConditionalRequestConflict", "OperationAborted")
_FORBIDDEN = ("403", "AccessDenied")
_CONFLICT_ATTEMPTS = 6
_PROBE_ATTEMPTS = 4

_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
"""By suffix, so that a browser shows what it is given a link to."""


class S3Store:
    """`Store` over `s3://bucket/prefix`. Holds no connection, so it may be sent to another process."""

    def __init__(self, bucket: str, prefix: str) -> None:
        if prefix:
            check_name(prefix, f"s3://{bucket}")
        self._prefix = f"{prefix}/" if prefix else ""
        self._bucket = S3Bucket(bucket)
        self._uploads = S3Uploads(self._bucket)

    @property
    def uri(self) -> str:
        return f"s3://{self._bucket.name}/{self._prefix}".rstrip("/")

    @property
    def limits(self) -> PartLimits:
        return PartLimits(min_part_bytes=5 << 20, max_part_bytes=5 << 30, max_parts=10_000)

    def stat(self, name: str) -> ObjectInfo | None:
        return self._bucket.stat(name, self._key(name))

    def list(self, prefix: str = "") -> list[ObjectInfo]:
        found: list[ObjectInfo] = []
        following: dict[str, Any] = {}
        while True:
            page = self._bucket.call("list_objects_v2", Prefix=self._prefix + prefix, **following)
            for entry in page.get("Contents", []):
                name = entry["Key"].removeprefix(self._prefix)
                if name and not name.endswith("/"):  # an empty object that stands for a folder
                    found.append(ObjectInfo(name, entry["Size"], entry["ETag"]))
            if not page.get("IsTruncated"):
                return sorted(found, key=lambda info: info.name)
            following = {"ContinuationToken": page["NextContinuationToken"]}

    def read(self, name: str, *, limit: int) -> tuple[bytes, ObjectInfo] | None:
        key = self._key(name)
        try:
            answer = self._bucket.call("get_object", key, expect=MISSING)
        except RefusedError:
            return None
        size = answer["ContentLength"]
        if size > limit:
            answer["Body"].close()
            raise InputError(f"{self.uri}/{name}: {size} bytes, of which {limit} are allowed")
        data = bytearray(size)
        self._fill(key, 0, memoryview(data), answer["ETag"], answer["Body"])
        return bytes(data), ObjectInfo(name, size, answer["ETag"])

    def read_into(self, name: str, offset: int, buffer: memoryview, *, etag: str | None = None) -> None:
        self._fill(self._key(name), offset, buffer.cast("B"), etag)

    def put(
        self, name: str, data: bytes, *, create_only: bool = False, if_match: str | None = None
    ) -> ObjectInfo | None:
        arguments: dict[str, Any] = {}
        if create_only:
            arguments = {"IfNoneMatch": "*"}
        elif if_match is not None:
            arguments = {"IfMatch": if_match}
        if kind := _CONTENT_TYPES.get(posixpath.splitext(name)[1]):
            arguments["ContentType"] = kind
        checksum = zlib.crc32(data)
        try:
            answer = self._put(self._key(name), Body=data, ChecksumCRC32=encode_crc32(checksum), **arguments)
        except RefusedError as refusal:
            # The condition may have failed on our own object: sent, stored, the answer lost, sent again.
            if refusal.repeated and (found := self.read(name, limit=1 << 30)) and found[0] == data:
                return found[1]
            return None
        return ObjectInfo(name, len(data), answer["ETag"], checksum)

    def delete(self, name: str) -> bool:
        try:
            self._bucket.call("delete_object", self._key(name), expect=(*MISSING, *_FORBIDDEN))
        except RefusedError as refusal:
            return refusal.code not in _FORBIDDEN
        return True

    def check_writable(self) -> None:
        self._bucket.require()
        # Always the same name, so that there is one at most where it may not be deleted.
        name = ".ggufactory-probe"
        try:
            # The first that finds one there is refused. More than two are tried, because another run may delete
            # its probe, which is ours as well, at any moment.
            kept = any(self.put(name, uuid.uuid4().bytes, create_only=True) is None for _ in range(_PROBE_ATTEMPTS))
        finally:
            self.delete(name)
        if not kept:
            raise InputError(
                f"{self.uri}: the store ignores If-None-Match on PUT, which keeps two runs apart",
                fix="Use a store that does, such as AWS S3, MinIO or SeaweedFS",
            )

    def create_upload(self, name: str, size: int, metadata: Mapping[str, str]) -> Upload:
        return self._uploads.create(name, self._key(name), size, metadata)

    def upload_part(self, upload: Upload, number: int, offset: int, data: memoryview) -> Part:
        return self._uploads.write_part(upload, self._key(upload.name), number, data)

    def list_parts(self, upload: Upload) -> dict[int, Part]:
        return self._uploads.list_parts(upload, self._key(upload.name))

    def list_uploads(self, prefix: str = "") -> Sequence[OpenUpload]:
        return self._uploads.list_open(self._prefix, prefix)

    def complete(self, upload: Upload, parts: Sequence[Part]) -> ObjectInfo:
        return self._uploads.complete(upload, self._key(upload.name), parts)

    def abort(self, upload: Upload) -> None:
        self._uploads.abort(upload, self._key(upload.name))

    def location(self, name: str) -> tuple[str, str]:
        """The bucket, and the object's key in it."""
        return self._bucket.name, self._key(name)

    def _key(self, name: str) -> str:
        check_name(name, self.uri)
        return self._prefix + name

    def _put(self, key: str, **arguments: Any) -> Any:
        """PUT; `RefusedError` when its condition is not met. AWS answers 409 to writers of the same moment,
        which decides nothing: ask again."""
        for attempt in range(_CONFLICT_ATTEMPTS):
            try:
                return self._bucket.call("put_object", key, expect=(*_UNMET, *_CONFLICT, *MISSING), **arguments)
            except RefusedError as refusal:
                if refusal.code not in _CONFLICT:
                    raise
            time.sleep(random.uniform(0, 0.05 * 2**attempt))
        raise TransientStoreError(f"s3://{self._bucket.name}/{key}: other writers kept getting in the way")

    def _fill(self, key: str, offset: int, buffer: memoryview, etag: str | None, body: Any | None = None) -> None:
        """Fill `buffer` from one version of the object: that of tag `etag`, or the one found first."""

        def open_body(start: int, size: int) -> Any:
            nonlocal etag, body
            if body is None:
                answer = self._open_range(key, start, size, etag)
                etag, body = answer["ETag"], answer["Body"]
            opened, body = body, None
            return opened

        try:
            fill(buffer, offset, open_body)
        except (BotoCoreError, OSError) as error:
            raise self._bucket.explain(error, key) from error

    def _open_range(self, key: str, start: int, size: int, etag: str | None) -> Any:
        """The answer to a GET of exactly these bytes, its body not yet read."""
        where = f"s3://{self._bucket.name}/{key}"
        pin: dict[str, Any] = {} if etag is None else {"IfMatch": etag}
        expect = (*_UNMET, *MISSING, "InvalidRange", "416")
        short = f"{where}: wanted the bytes {start} to {start + size}, but the object ends before"
        try:
            answer = self._bucket.call(
                "get_object", key, expect=expect, Range=f"bytes={start}-{start + size - 1}", **pin
            )
        except RefusedError as refusal:
            if refusal.code in _UNMET or (refusal.code in MISSING and etag is not None):
                raise SourceChangedError(
                    f"{where}: the object was changed since this run first looked at it (tag {etag})",
                    fix="Start again, so that the new content is planned for",
                ) from refusal
            raise InputError(f"{where}: there is no such object" if refusal.code in MISSING else short) from refusal
        if not answer.get("ContentRange", "").startswith(f"bytes {start}-"):
            raise UnavailableError(f"{where}: the store does not answer requests for a range of bytes")
        if answer["ContentLength"] < size:
            answer["Body"].close()
            raise InputError(short)
        return answer

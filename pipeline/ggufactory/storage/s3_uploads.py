"""Multipart uploads: parts with their CRC-32, the server's list of them as the ledger, and an end that
may be repeated."""

from __future__ import annotations

import hashlib
import re
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ggufactory.errors import TransientStoreError, UnavailableError, UploadGoneError
from ggufactory.storage import crc32
from ggufactory.storage.names import check_metadata
from ggufactory.storage.protocol import ObjectInfo, OpenUpload, Part, Upload
from ggufactory.storage.s3_bucket import RefusedError, S3Bucket, decode_crc32, encode_crc32
from ggufactory.storage.s3_client import PartBody

_MD5 = re.compile(r"[0-9a-f]{32}")


class S3Uploads:
    """The multipart uploads of one bucket, by key. The methods are those of `Store`."""

    def __init__(self, bucket: S3Bucket) -> None:
        self._bucket = bucket

    def create(self, name: str, key: str, size: int, metadata: Mapping[str, str]) -> Upload:
        check_metadata(name, metadata)
        # The algorithm is named here because AWS refuses parts whose checksum the upload did not announce.
        answer = self._bucket.call(
            "create_multipart_upload",
            key,
            Metadata=dict(metadata),
            ChecksumAlgorithm="CRC32",
            ChecksumType="FULL_OBJECT",
        )
        return Upload(name, answer["UploadId"], size)

    def write_part(self, upload: Upload, key: str, number: int, data: memoryview) -> Part:
        checksum = zlib.crc32(data)
        answer = self._call(
            "upload_part",
            upload,
            key,
            PartNumber=number,
            Body=PartBody(data),
            ContentLength=data.nbytes,
            ChecksumCRC32=encode_crc32(checksum),
        )
        return Part(number, data.nbytes, answer["ETag"], checksum)

    def list_parts(self, upload: Upload, key: str) -> dict[int, Part]:
        """A server may list every copy of a part that was sent twice (SeaweedFS does). Copies that agree
        are one part; of copies that do not, `complete` could take the wrong one, so there is no such part.
        """
        copies: dict[int, set[Part]] = {}
        for listed in self._listed(upload, key):
            part = Part(
                listed["PartNumber"],
                listed["Size"],
                listed["ETag"],
                decode_crc32(listed.get("ChecksumCRC32")),
                listed["LastModified"].timestamp() if "LastModified" in listed else None,
            )
            copies.setdefault(part.number, set()).add(part)
        return {number: found.pop() for number, found in sorted(copies.items()) if len(found) == 1}

    def list_open(self, folder: str, prefix: str) -> list[OpenUpload]:
        """Of the keys that start with `folder` and then `prefix`; names are what follows `folder`."""
        found: list[OpenUpload] = []
        following: dict[str, Any] = {}
        while True:
            page = self._bucket.call("list_multipart_uploads", Prefix=folder + prefix, **following)
            uploads = page.get("Uploads", [])
            for listed in uploads:
                upload = Upload(listed["Key"].removeprefix(folder), listed["UploadId"], 0)
                # Of an unknown age, it counts as new.
                began = listed["Initiated"].timestamp() if "Initiated" in listed else time.time()
                found.append(OpenUpload(upload, began))
            if not page.get("IsTruncated") or not uploads:
                return sorted(found, key=lambda entry: (entry.upload.name, entry.began))
            following = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def complete(self, upload: Upload, key: str, parts: Sequence[Part]) -> ObjectInfo:
        checksum = _combined(parts)
        arguments: dict[str, Any] = {}
        if checksum is not None:
            arguments = {"ChecksumCRC32": encode_crc32(checksum), "ChecksumType": "FULL_OBJECT"}
        listed = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        try:
            answer = self._call(
                "complete_multipart_upload", upload, key, MultipartUpload={"Parts": listed}, **arguments
            )
        except (UploadGoneError, TransientStoreError):
            # Another process may have completed it, or our own request whose answer was lost.
            found = self._bucket.stat(upload.name, key)
            if found is not None and _is_made_of(found, upload.size, parts, checksum):
                return found
            raise
        found = self._bucket.stat(upload.name, key)
        if found is None or found.etag != answer["ETag"]:
            # A server may answer a repeated completion as it did the first, whatever came after.
            raise self._gone(upload, key)
        if found.size != upload.size or not _same_if_known(found.crc32, checksum):
            raise UnavailableError(
                f"s3://{self._bucket.name}/{key}: completed with {upload.size} bytes and CRC-32 {checksum}, "
                f"but the store has {found}"
            )
        return found

    def abort(self, upload: Upload, key: str) -> None:
        with suppress(UploadGoneError):
            self._call("abort_multipart_upload", upload, key)

    def _listed(self, upload: Upload, key: str) -> Iterator[dict[str, Any]]:
        """Every entry of the server's list. A page may end between two copies of a part, and the marker of
        the next one is a part number: so each page begins with the last number of the one before."""
        marker = 0
        while True:
            page = self._call("list_parts", upload, key, PartNumberMarker=marker)
            listed = page.get("Parts", [])
            yield from listed
            if not page.get("IsTruncated") or not listed:
                return
            last = max(entry["PartNumber"] for entry in listed)
            marker = max(last - 1, marker + 1)

    def _call(self, operation: str, upload: Upload, key: str, **arguments: Any) -> Any:
        try:
            return self._bucket.call(operation, key, expect=("NoSuchUpload",), UploadId=upload.id, **arguments)
        except RefusedError as refusal:
            raise self._gone(upload, key) from refusal

    def _gone(self, upload: Upload, key: str) -> UploadGoneError:
        return UploadGoneError(f"s3://{self._bucket.name}/{key}: its upload {upload.id} was completed or aborted")


def _combined(parts: Sequence[Part]) -> int | None:
    """The object's CRC-32; None where that of a part is not known (the server does not list it)."""
    checksums = [(part.crc32, part.size) for part in parts if part.crc32 is not None]
    return crc32.combine(checksums) if len(checksums) == len(parts) else None


def _is_made_of(found: ObjectInfo, size: int, parts: Sequence[Part], checksum: int | None) -> bool:
    """Whether the object has the content of these parts: by the tag that S3 makes of its parts' MD5, or,
    where tags are something else (encryption with KMS), by the CRC-32."""
    if found.size != size:
        return False
    digests = [part.etag.strip('"') for part in parts]
    if all(_MD5.fullmatch(digest) for digest in digests):
        whole = hashlib.md5(bytes.fromhex("".join(digests)), usedforsecurity=False).hexdigest()
        return found.etag.strip('"') == f"{whole}-{len(digests)}"
    return checksum is not None and found.crc32 == checksum


def _same_if_known(found: int | None, wanted: int | None) -> bool:
    return found is None or wanted is None or found == wanted

"""Calls to one bucket: the errors that a caller expects come back as `RefusedError`, all others in the words
of the user."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ggufactory.errors import InputError
from ggufactory.storage.protocol import ObjectInfo
from ggufactory.storage.s3_client import endpoint, s3_client
from ggufactory.storage.s3_errors import error_code, explain

MISSING = ("404", "NoSuchKey", "NotFound")


class RefusedError(Exception):
    """The server answered with an error code that the caller named."""

    def __init__(self, code: str, *, repeated: bool) -> None:
        super().__init__(code)
        self.code = code
        self.repeated = repeated
        """The request was sent more than once, so an earlier copy of it may have been carried out."""


class S3Bucket:
    """The bucket `name` at the endpoint of the environment. Holds no connection."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._seen = False

    def call(self, operation: str, key: str | None = None, *, expect: tuple[str, ...] = (), **arguments: Any) -> Any:
        """Call a method of the boto3 client on this bucket, and `key` where given. Raises `RefusedError` for
        the error codes in `expect`, and an error of ggufactory.errors for every other failure."""
        client = s3_client()
        if key is not None:
            arguments["Key"] = key
        try:
            answer = getattr(client, operation)(Bucket=self.name, **arguments)
        except ClientError as error:
            if error_code(error) in expect:
                attempts = error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0)
                raise RefusedError(error_code(error), repeated=attempts > 0) from error
            raise self.explain(error, key) from error
        except (BotoCoreError, OSError) as error:
            raise self.explain(error, key) from error
        self._seen = True
        return answer

    def explain(self, error: Exception, key: str | None) -> Exception:
        uri = f"s3://{self.name}" if key is None else f"s3://{self.name}/{key}"
        return explain(error, f"{uri} at {endpoint(s3_client())}")

    def require(self) -> None:
        """InputError unless the bucket exists: the answer to a HEAD does not tell a missing bucket from a
        missing object. A bucket that we may not look at counts as there."""
        if self._seen:
            return
        try:
            self.call("head_bucket", expect=(*MISSING, "NoSuchBucket", "403"))
        except RefusedError as refusal:
            if refusal.code != "403":
                raise InputError(
                    f"s3://{self.name} at {endpoint(s3_client())}: there is no such bucket",
                    fix="Create the bucket, or check the endpoint",
                ) from refusal

    def stat(self, name: str, key: str) -> ObjectInfo | None:
        """The object at `key`, described under the store's `name` for it."""
        try:
            head = self.call("head_object", key, expect=MISSING, ChecksumMode="ENABLED")
        except RefusedError:
            self.require()
            return None
        return ObjectInfo(
            name,
            head["ContentLength"],
            head["ETag"],
            decode_crc32(head.get("ChecksumCRC32")),
            head["Metadata"],
        )


def encode_crc32(crc: int) -> str:
    """As S3 writes it: base64 of the big-endian bytes."""
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


def decode_crc32(text: str | None) -> int | None:
    """None where the server gives none, or one of the parts' checksums ("…-3") and not of the bytes."""
    try:
        digest = base64.b64decode(text or "", validate=True)
    except binascii.Error:
        return None
    return int.from_bytes(digest, "big") if len(digest) == 4 else None

"""Links to objects on S3 that anyone may follow for a while, without credentials of their own."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError

from ggufactory.errors import InputError
from ggufactory.storage.protocol import Store
from ggufactory.storage.s3 import S3Store
from ggufactory.storage.s3_client import s3_client
from ggufactory.storage.s3_errors import explain

LONGEST_SECONDS = 7 * 24 * 3600
"""Of signature version 4. With temporary credentials a link ends when they do."""


def presigned_link(store: Store, name: str, seconds: int) -> str:
    """A link to download the object with. It is a key to it. InputError for a store that is not S3, or more
    than a week; nothing is asked of the server."""
    if not isinstance(store, S3Store):
        raise InputError(f"{store.uri}: links are made for targets on S3 only", fix="Give s3://bucket/prefix")
    if not 1 <= seconds <= LONGEST_SECONDS:
        raise InputError(f"a link is good for 1 second to 7 days, not for {seconds} seconds")
    bucket, key = store.location(name)
    try:
        link = s3_client().generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=seconds
        )
    except BotoCoreError as error:
        raise explain(error, f"{store.uri}/{name}") from error
    return str(link)

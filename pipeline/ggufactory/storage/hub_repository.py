"""A model repository of the Hugging Face hub as a place to publish to: files come out of a store, over
huggingface_hub's own upload, and appear together in one commit.

It is the hub's LFS protocol (batch, parts, completion), because that one takes files that are nowhere on
this machine. What was sent and not yet committed, the hub keeps: it is not sent again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO, cast

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.lfs import UploadInfo

from ggufactory import __version__
from ggufactory.errors import GgufactoryError, InputError, UnavailableError
from ggufactory.storage.hub_client import endpoint, is_hub, request_headers, shown_endpoint
from ggufactory.storage.hub_errors import MissingError, explain, explain_answer
from ggufactory.storage.hub_listing import list_files, pin
from ggufactory.storage.hub_uri import DEFAULT_REVISION, HubFolder, parse_hub_uri
from ggufactory.storage.protocol import ObjectInfo, Store
from ggufactory.storage.stored_file import StoredFile

_SAMPLE_BYTES = 512
"""By the beginning of a file the hub decides whether it is a large one."""
_LONGEST_MESSAGE = 500
_TOKEN = "Set HF_TOKEN to a token that may write to it"


class StoredAddition(CommitOperationAdd):
    """A file of a store to be committed. Its SHA-256 is known, so it is read once, to be sent."""

    def __init__(self, store: Store, info: ObjectInfo, sha256: str) -> None:
        self._sample = bytearray(min(_SAMPLE_BYTES, info.size))
        store.read_into(info.name, 0, memoryview(self._sample), etag=info.etag)
        self._size, self._known = info.size, bytes.fromhex(sha256)
        super().__init__(info.name, cast(BinaryIO, StoredFile(store, info, sha256)))

    def __post_init__(self) -> None:
        """In place of reading the whole file for its size and hash."""
        self.upload_info = UploadInfo(size=self._size, sample=bytes(self._sample), sha256=self._known)


class HubRepository:
    """The `main` branch of `org/name`. InputError on construction when that names no model repository."""

    def __init__(self, name: str) -> None:
        place = parse_hub_uri(f"hf://{name}")
        if place != HubFolder(name, DEFAULT_REVISION, ""):
            raise InputError(f"{name!r} is no repository", fix="Give org/name")
        self._place = place
        request_headers(httpx2.URL(endpoint()))  # a token that cannot be used is found out before any work
        self._sent: dict[str, CommitOperationAdd] = {}
        self._api = HfApi(endpoint=endpoint(), library_name="ggufactory", library_version=__version__)
        # It warns at each file that it cannot use its other protocol for files that are not on disk.
        logging.getLogger("huggingface_hub._commit_api").setLevel(logging.ERROR)

    @property
    def name(self) -> str:
        return self._place.repository

    @property
    def uri(self) -> str:
        return f"hf://{self.name}"

    def files(self) -> Mapping[str, ObjectInfo] | None:
        """By name; None when there is no such repository, or none that the token may see."""
        try:
            return list_files(pin(self._place))
        except MissingError as missing:
            if missing.code == "RevisionNotFound":
                return {}
            return None

    def create(self, *, private: bool) -> None:
        """Make the repository; nothing happens when it is there."""
        with self._errors("create"):
            self._api.create_repo(self.name, repo_type="model", private=private or None, exist_ok=True)

    def send(self, store: Store, info: ObjectInfo, sha256: str) -> None:
        """Upload a file's bytes, unless the hub has them. It is not to be seen before `commit`. May be called
        from several threads. InputError when the bytes are not those of `sha256`."""
        with self._errors(info.name):
            addition = StoredAddition(store, info, sha256)
            self._api.preupload_lfs_files(self.name, additions=[addition])
        self._sent[info.name] = addition

    def commit(self, small: Mapping[str, bytes], message: str) -> str:
        """Make what was sent, and files given whole, appear together; the commit's hash."""
        operations = {**self._sent, **{name: CommitOperationAdd(name, data) for name, data in small.items()}}
        with self._errors("commit"):
            made = self._api.create_commit(
                self.name, operations=[operations[name] for name in sorted(operations)], commit_message=message
            )
        self._sent.clear()
        return str(made.oid)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """The library's errors in our words. Theirs have URLs in them, which are keys to the upload."""
        where = f"{self.uri} at {shown_endpoint()}: {what}"
        try:
            yield
        except (HfHubHTTPError, httpx2.HTTPError, OfflineModeIsEnabled, RuntimeError, ValueError) as error:
            raise _explain(error, where) from None


def holds(files: Mapping[str, ObjectInfo], name: str, size: int, sha256: str, data: bytes | None = None) -> bool:
    """Whether a repository has this very file. `data`: of a small one, which the hub names by Git's hash."""
    found = files.get(name)
    if found is None or found.size != size:
        return False
    git = None if data is None else hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()
    return found.etag in (sha256, git)


def _explain(error: BaseException, where: str) -> GgufactoryError:
    """By the first cause that says more: the library wraps what happens to a file."""
    said = " ".join(str(error).split())[:_LONGEST_MESSAGE]
    if type(error) is ValueError and "://" not in said:  # the card's front matter, the size of an account
        return InputError(f"{where}: {said}", fix="Correct what the hub complains about: what was sent is kept")
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, GgufactoryError):
            return cause
        if isinstance(cause, HfHubHTTPError):
            from_hub = is_hub(cause.response.url)
            if from_hub and cause.response.status_code in (401, 403):
                return InputError(f"{where}: the hub answered {cause.response.status_code}", fix=_TOKEN)
            return explain_answer(cause.response, where, from_hub=from_hub)
        if isinstance(cause, httpx2.HTTPError | OfflineModeIsEnabled):
            return explain(cause, where)
        cause = cause.__cause__
    return UnavailableError(f"{where}: the hub's answer makes no sense ({type(error).__name__})", fix="Try again later")

"""A model repository of the Hugging Face hub as a store to read from: `hf://org/name@revision`."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import NoReturn

from huggingface_hub import hf_hub_url

from ggufactory.errors import InputError
from ggufactory.storage.hub_client import endpoint, shown_endpoint
from ggufactory.storage.hub_listing import list_files, pin
from ggufactory.storage.hub_read import fill
from ggufactory.storage.hub_uri import HubFolder
from ggufactory.storage.names import check_name
from ggufactory.storage.protocol import ObjectInfo, OpenUpload, Part, PartLimits, Upload

_pin_lock = threading.Lock()


class HubStore:
    """`Store` over one commit of a repository, or a folder of it, without the methods that write.

    A branch or tag becomes the commit that it is when the store is first used, its `uri` included: whoever
    opens that `uri` reads the same files. Holds no connection, so it may be sent to another process.
    """

    def __init__(self, place: HubFolder) -> None:
        self._place = place
        self._files: Mapping[str, ObjectInfo] | None = None

    @property
    def uri(self) -> str:
        """With the commit; asks the hub for it when it is not known yet."""
        return self._pinned().uri

    @property
    def limits(self) -> PartLimits:
        self._refuse()

    def stat(self, name: str) -> ObjectInfo | None:
        check_name(name, self._place.uri)
        return self._listed().get(name)

    def list(self, prefix: str = "") -> list[ObjectInfo]:
        return [info for name, info in sorted(self._listed().items()) if name.startswith(prefix)]

    def read(self, name: str, *, limit: int) -> tuple[bytes, ObjectInfo] | None:
        info = self.stat(name)
        if info is None:
            return None
        if info.size > limit:
            raise InputError(f"{self.uri}/{name}: {info.size} bytes, of which {limit} are allowed")
        data = bytearray(info.size)
        self.read_into(name, 0, memoryview(data), etag=info.etag)
        return bytes(data), info

    def read_into(self, name: str, offset: int, buffer: memoryview, *, etag: str | None = None) -> None:
        check_name(name, self._place.uri)
        place = self._pinned()
        url = hf_hub_url(place.repository, place.path(name), revision=place.revision, endpoint=endpoint())
        fill(url, f"{place.uri}/{name} at {shown_endpoint()}", offset, buffer.cast("B"), etag)

    def put(
        self, name: str, data: bytes, *, create_only: bool = False, if_match: str | None = None
    ) -> ObjectInfo | None:
        self._refuse()

    def delete(self, name: str) -> bool:
        self._refuse()

    def check_writable(self) -> None:
        self._refuse()

    def create_upload(self, name: str, size: int, metadata: Mapping[str, str]) -> Upload:
        self._refuse()

    def upload_part(self, upload: Upload, number: int, offset: int, data: memoryview) -> Part:
        self._refuse()

    def list_parts(self, upload: Upload) -> dict[int, Part]:
        self._refuse()

    def list_uploads(self, prefix: str = "") -> Sequence[OpenUpload]:
        self._refuse()

    def complete(self, upload: Upload, parts: Sequence[Part]) -> ObjectInfo:
        self._refuse()

    def abort(self, upload: Upload) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise InputError(
            f"{self._place.uri}: the hub is a source only, nothing is written to it",
            fix="Write to a folder or to s3://bucket/prefix",
        )

    def _pinned(self) -> HubFolder:
        if not self._place.pinned:
            found = pin(self._place)
            with _pin_lock:  # a branch may move while two threads ask what it is: the first answer counts
                if not self._place.pinned:
                    self._place = found
        return self._place

    def _listed(self) -> Mapping[str, ObjectInfo]:
        """Asked for once: a commit does not change."""
        if self._files is None:
            place = self._pinned()
            files = list_files(place)
            if not files and not place.folder:
                raise InputError(f"{place.uri}: the repository has no files")
            self._files = files
        return self._files

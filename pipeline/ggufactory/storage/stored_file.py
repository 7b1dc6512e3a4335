"""A store's object as a binary file that can be read and sought, for libraries that take files."""

from __future__ import annotations

import hashlib
import io

from ggufactory.errors import InputError
from ggufactory.storage.protocol import ObjectInfo, Store

_WINDOW_BYTES = 16 << 20


class StoredFile(io.BufferedIOBase):
    """Object `info` of `store`, of which one window is in memory.

    What is read from beginning to end (going back in between is allowed) is hashed on the way: the read
    that completes it raises InputError when its SHA-256 is not `sha256`.
    """

    def __init__(self, store: Store, info: ObjectInfo, sha256: str, window_bytes: int = _WINDOW_BYTES) -> None:
        super().__init__()
        self._store = store
        self._info = info
        self._sha256 = sha256
        self._window_bytes = window_bytes
        self._window = b""
        self._window_start = 0
        self._position = 0
        self._hash = hashlib.sha256()
        self._hashed = 0

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes, fewer only at the end; all that is left when it is negative or None."""
        left = self._info.size - self._position
        wanted = left if size is None or size < 0 else min(size, left)
        pieces = []
        while wanted > 0:
            at = self._position - self._window_start
            if not 0 <= at < len(self._window):
                self._fetch()
                at = 0
            piece = self._window[at : at + wanted]
            pieces.append(piece)
            self._position += len(piece)
            wanted -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._info.size}[whence]
        self._position = min(max(base + offset, 0), self._info.size)
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def _fetch(self) -> None:
        """The window that begins at the position."""
        data = bytearray(min(self._window_bytes, self._info.size - self._position))
        self._store.read_into(self._info.name, self._position, memoryview(data), etag=self._info.etag)
        self._window, self._window_start = bytes(data), self._position
        if self._window_start <= self._hashed < self._window_start + len(data):
            self._hash.update(data[self._hashed - self._window_start :])
            self._hashed = self._window_start + len(data)
            if self._hashed == self._info.size and (found := self._hash.hexdigest()) != self._sha256:
                raise InputError(
                    f"{self._store.uri}/{self._info.name}: wanted SHA-256 {self._sha256}, found {found}",
                    fix="Look at it with `ggufactory verify`",
                )

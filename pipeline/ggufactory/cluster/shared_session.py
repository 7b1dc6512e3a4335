"""One Ray for several jobs, begun by the first that needs it. Importing this does not import Ray."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from types import TracebackType
from typing import TYPE_CHECKING

from ggufactory.errors import IncompleteError

if TYPE_CHECKING:
    from ggufactory.cluster.session import Session


_SPARE_BYTES = 64 << 20
"""Of the object store of an embedded Ray: what a job may place there beyond what it was made for."""


class SharedSession:
    """Use as a context manager, and `use` within it once per job. Arguments as of `open_session`."""

    def __init__(self, address: str | None, workers: int | None, *, dashboard: bool = False) -> None:
        self.address = address
        """Of the cluster that it joins; None: it starts a Ray on this machine."""
        self._workers = workers
        self._dashboard = dashboard
        self._opened = ExitStack()
        self._session: Session | None = None
        self._room = 0

    def __enter__(self) -> SharedSession:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._close()

    @contextmanager
    def use(self, shared_bytes: int, metadata: Mapping[str, str]) -> Iterator[Session]:
        """A session whose object store has room for `shared_bytes`: the one that is open, if it has. `metadata`: what
        Ray's dashboard says of one that is opened for it.

        A job that ends early leaves tasks behind in Ray's queues: then the next one gets another session.
        """
        if self._session is not None and shared_bytes > self._room:
            self._close()
        try:
            yield self._session or self._open(shared_bytes, metadata)
        except IncompleteError:  # every task has ended
            raise
        except BaseException:
            self._close()
            raise

    def _open(self, shared_bytes: int, metadata: Mapping[str, str]) -> Session:
        from ggufactory.cluster.session import open_session  # Ray takes seconds to import

        # Ray tells of retries on standard output, which is for results.
        self._opened.enter_context(redirect_stdout(sys.stderr))
        self._session = self._opened.enter_context(
            open_session(self.address, self._workers, shared_bytes, dashboard=self._dashboard, metadata=metadata)
        )
        self._room = shared_bytes + _SPARE_BYTES
        return self._session

    def _close(self) -> None:
        self._session = None
        self._opened.close()

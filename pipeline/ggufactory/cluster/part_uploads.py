"""Finished parts on their way to the store, while the next ones are made."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait

from ggufactory.checkpoint.rows import Bytes
from ggufactory.cluster.descriptor import PartWork
from ggufactory.cluster.stage_clock import StageClock
from ggufactory.plan.memory import UPLOADS_IN_FLIGHT
from ggufactory.storage.protocol import Part, Store, Upload


class PartUploads:
    """At most `UPLOADS_IN_FLIGHT` parts at once, of whatever spans; the memory bound of the plan rests on it.

    Use as a context manager.
    """

    def __init__(self, target: Store) -> None:
        self._target = target
        self._pool = ThreadPoolExecutor(UPLOADS_IN_FLIGHT, thread_name_prefix="upload")
        self._sent: deque[Future[Part]] = deque()

    def __enter__(self) -> PartUploads:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def wait_for_room(self) -> None:
        """Until only `UPLOADS_IN_FLIGHT` parts are on their way. What an upload raised is its span's."""
        while len(self._sent) > UPLOADS_IN_FLIGHT:
            wait([self._sent.popleft()])

    def start(self, part: PartWork, data: Bytes, clock: StageClock) -> Future[Part]:
        """`clock`: of the part's span. Raises nothing; the result does."""
        assert data.nbytes == part.size
        sent = self._pool.submit(self._upload, part.upload, part.number, part.offset, data.data, clock)
        self._sent.append(sent)
        return sent

    def _upload(self, upload: Upload, number: int, offset: int, data: memoryview, clock: StageClock) -> Part:
        with clock.inside("upload"):
            return self._target.upload_part(upload, number, offset, data)

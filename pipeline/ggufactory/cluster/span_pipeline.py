"""The spans of one task, one after another, so that nothing waits: while one is made, the next one's rows are
read, and the parts of the one before are uploaded.

At most two spans are held, and `UPLOADS_IN_FLIGHT` parts are on their way, of whichever span.
"""

from __future__ import annotations

import resource
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from ggufactory.cluster.descriptor import SpanReceipt, SpanWork
from ggufactory.cluster.part_uploads import PartUploads
from ggufactory.cluster.piece_rows import Importance
from ggufactory.cluster.span_task import Made, SpanTask, Workplace, receipt_of
from ggufactory.errors import GgufactoryError
from ggufactory.plan.memory import READERS
from ggufactory.storage import open_store

_OF_ONE_SPAN = (GgufactoryError, ConnectionError, MemoryError)
"""What becomes of one span, and leaves the others as they are."""


def make_span(
    work: SpanWork,
    headers: Mapping[str, bytes],
    importance: Mapping[str, Importance],
    *,
    threads: int = 1,
    device: str = "cpu",
) -> SpanReceipt:
    """Make and store every part of `work`.

    `headers`: by file name, for the parts that begin a file; `importance`: by tensor name, float32
    [matrices, columns], for the tensors that have one. `device`: what quantizes, "cpu" or "cuda"; the bytes
    are the same. Safe to repeat. Raises what the stores raise, DamagedSourceError for weights that cannot be
    quantized, and MemoryError where a GPU is full.
    """
    (receipt,) = make_spans([work], headers, importance, threads=threads, device=device)
    return receipt


def make_spans(
    works: Sequence[SpanWork],
    headers: Mapping[str, bytes],
    importance: Mapping[str, Importance],
    *,
    threads: int = 1,
    device: str = "cpu",
    stopped: Callable[[], bool] = lambda: False,
) -> list[SpanReceipt]:
    """As `make_span` of each, which all have one source and one target; the receipts of those that were made.

    Of several, one that fails is left out, and whoever tries it again by itself learns why; where none was made,
    what failed last is raised. No further one begins once `stopped` says so.
    """
    source, target = open_store(works[0].source), open_store(works[0].target)
    with ThreadPoolExecutor(READERS, thread_name_prefix="read") as reads, PartUploads(target) as uploads:
        at = Workplace(source, reads, uploads, threads, device)
        pipeline = _Pipeline(works, at, headers, importance, stopped)
        try:
            pipeline.run()
        finally:
            pipeline.close()
    if pipeline.error is not None and not pipeline.receipts:
        raise pipeline.error
    return pipeline.receipts


class _Pipeline:
    def __init__(
        self,
        works: Sequence[SpanWork],
        at: Workplace,
        headers: Mapping[str, bytes],
        importance: Mapping[str, Importance],
        stopped: Callable[[], bool],
    ) -> None:
        self._works = works
        self._at = at
        self._headers = headers
        self._importance = importance
        self._stopped = stopped
        self._began, self._cpu_began = time.monotonic(), time.process_time()
        self._begun: deque[SpanTask] = deque()
        """Whose rows are being read."""
        self._made: list[tuple[SpanTask, Made]] = []
        """Whose parts are on their way."""
        self.error: Exception | None = None
        """What failed last."""
        self.receipts: list[SpanReceipt] = []

    def run(self) -> None:
        self._begun.append(SpanTask(self._works[0], self._at))
        for number in range(len(self._works)):
            if number and self._stopped():
                break
            span = self._begun.popleft()
            self._begun.extend(SpanTask(work, self._at) for work in self._works[number + 1 : number + 2])
            with self._alone(), _closing(span):
                self._made.append((span, span.make(self._headers, self._importance)))
            self._collect(wait=False)
        self._collect(wait=True)

    def close(self) -> None:
        for span in self._begun:
            span.close()

    def _collect(self, *, wait: bool) -> None:
        """The receipts of the spans that are stored; of all, if there is nothing else to do."""
        for span, made in [(span, made) for span, made in self._made if wait or span.is_stored()]:
            self._made.remove((span, made))
            with self._alone():
                span.stored()
                self.receipts.append(self._receipt(span, made))

    def _receipt(self, span: SpanTask, made: Made) -> SpanReceipt:
        """Time is counted from receipt to receipt, so that no second of the task counts twice."""
        now, cpu_now = time.monotonic(), time.process_time()
        receipt = receipt_of(
            span,
            made,
            backend=self._at.backend,
            seconds=now - self._began,
            cpu_seconds=cpu_now - self._cpu_began,
            peak_rss=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        )
        self._began, self._cpu_began = now, cpu_now
        return receipt

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """What one span raises does not end the others."""
        try:
            yield
        except _OF_ONE_SPAN as error:
            _let_go(error)
            self.error = error


def _let_go(error: Exception) -> None:
    """What an exception came through and came from holds rows and parts; what it says is enough."""
    error.__traceback__ = error.__cause__ = error.__context__ = None


@contextmanager
def _closing(span: SpanTask) -> Iterator[None]:
    try:
        yield
    finally:
        span.close()

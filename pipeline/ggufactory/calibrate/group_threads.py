"""Groups of chunks through a layer by several threads, each group by one.

PyTorch's own threads would divide a product among them, and how it is divided decides the last bits of its result;
a group that goes through by one thread gives the same, however many others there are.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from types import TracebackType
from typing import TypeVar

import torch

T = TypeVar("T")


class GroupThreads:
    """Use as a context manager. Inside, PyTorch's own threads rest, except between two `each`."""

    def __init__(self, threads: int) -> None:
        self._idle = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))

    def __enter__(self) -> GroupThreads:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._idle)

    def each(self, groups: int, work: Callable[[int], T], on_result: Callable[[T], None]) -> None:
        """`work` on the number of each group; results are handed over by this thread, as they come. The first error
        ends it, once what had begun has ended."""
        torch.set_num_threads(1)
        waiting = {self._pool.submit(work, group) for group in range(groups)}
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    on_result(future.result())
        finally:
            for future in waiting:
                future.cancel()
            wait(waiting)
            torch.set_num_threads(self._idle)

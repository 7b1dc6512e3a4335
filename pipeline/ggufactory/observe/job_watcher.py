"""Who is shown how a job goes: a person at a terminal, or a log."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ggufactory.observe.log_watcher import LogWatcher
from ggufactory.observe.terminal_watcher import TerminalWatcher


@contextmanager
def job_watcher() -> Iterator[TerminalWatcher | LogWatcher]:
    """The one that suits standard error; what it shows ends with the block."""
    if sys.stderr.isatty():
        with TerminalWatcher() as shown:
            yield shown
    else:
        yield LogWatcher()

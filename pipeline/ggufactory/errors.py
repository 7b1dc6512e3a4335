"""The error classes. Each carries the exit code that `ggufactory` ends with when it reaches the user.

A message is one line that says what is wrong and where, what was wanted and what was found; `fix`
says what to do about it. Bad input never shows a traceback: `cli.main` prints `str(error)`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class GgufactoryError(Exception):
    """Base of every error that is meant for the user. Exit code 1 unless a subclass says otherwise."""

    exit_code = 1

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}. {self.fix}" if self.fix else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (a worker raises, the driver reports), and exceptions with
        # keyword-only arguments do not survive the default pickling.
        return (_rebuild, (type(self), self.__dict__.copy()))


def did_you_mean(given: str, known: Iterable[str], listed: str = "") -> str:
    """The `fix` for a name that is none: those of `known` that look like it, else all of them, or `listed` instead.

    Case and separators do not count: Q4KM is near to Q4_K_M.
    """
    names = {_folded(name): name for name in known}
    near = difflib.get_close_matches(_folded(given), names, n=3, cutoff=0.7)
    if not near:
        return f"Known: {listed or ', '.join(names.values())}"
    exact = [match for match in near if match == _folded(given)]
    return f"Did you mean {' or '.join(names[match] for match in exact or near)}?"


def _folded(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").strip()


def _rebuild(kind: type[GgufactoryError], state: dict[str, object]) -> GgufactoryError:
    error = kind.__new__(kind)
    error.__dict__.update(state)
    error.args = (state["message"],)
    return error


class InputError(GgufactoryError):
    """The input or the request is wrong; running it again will not help. Exit code 2."""

    exit_code = 2


class PlanError(InputError):
    """Everything that keeps a plan from being made, found together. Exit code 2."""

    def __init__(self, faults: Sequence[str], *, fix: str = "") -> None:
        self.faults = tuple(faults)
        if len(self.faults) == 1:
            message = self.faults[0]
        else:
            message = f"{len(self.faults)} faults in the request:\n" + "\n".join(f"  - {f}" for f in self.faults)
        super().__init__(message, fix=fix)


class SourceChangedError(InputError):
    """A source object is no longer the one that the plan was made from. Exit code 2."""


class DamagedSourceError(InputError):
    """Some weights of the source are not what they are said to be: no finite numbers, scales that cannot
    be. Only the spans that hold them are concerned. Exit code 2 where nothing else can go on."""


class IncompleteError(GgufactoryError):
    """The job ended with failed spans; the same command resumes it. Exit code 3."""

    exit_code = 3


class LeaseHeldError(GgufactoryError):
    """Another run holds the lease of the target. Exit code 5."""

    exit_code = 5


class LeaseLostError(GgufactoryError):
    """Another run has taken our lease over, because it was not renewed in time. Exit code 5."""

    exit_code = 5


class UnavailableError(GgufactoryError):
    """The store or the cluster cannot be reached, or cannot take more. Exit code 4."""

    exit_code = 4


class GpuFailedError(UnavailableError):
    """A GPU fails again and again, and only a GPU may do the work. Exit code 4."""


class TransientStoreError(UnavailableError):
    """A store call failed in a way that may pass; the span is retried on any worker. Exit code 4."""


class UploadGoneError(GgufactoryError):
    """The upload that a part belongs to was completed or aborted by someone else.

    Not a failure by itself: another run of the same plan may have finished the file. The driver
    looks at the store and decides.
    """

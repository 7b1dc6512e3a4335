"""What goes wrong between us and the Hugging Face hub, in the error classes that say what can be done about it.

Messages never hold a URL: that of a file's bytes is signed, which makes it a key to them.
"""

from __future__ import annotations

import httpx2
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import parse_ratelimit_headers

from ggufactory.errors import GgufactoryError, InputError, TransientStoreError, UnavailableError

_ACCESS = "Accept the model's terms on its page, and set HF_TOKEN to a token that may read it"
_MISSING = {
    "RepoNotFound": "there is no such repository, or it is private and HF_TOKEN may not read it",
    "RevisionNotFound": "there is no such branch, tag or commit",
    "EntryNotFound": "there is no such file or folder",
}
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_LONGEST_MESSAGE = 300


class BusyError(TransientStoreError):
    """Asking again may help. `wait`: the seconds that the server asks for, None when it names none."""

    def __init__(self, message: str, *, wait: float | None = None, fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.wait = wait


class MissingError(InputError):
    """The hub knows no such repository, revision or file. `code` is its own word for which."""

    def __init__(self, message: str, *, code: str, fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.code = code


class RangeError(InputError):
    """The file ends before the range that was asked for does."""


def explain_answer(answer: httpx2.Response, where: str, *, from_hub: bool) -> GgufactoryError:
    """The error for an answer of status 400 or more to a request about `where`, which is no URL.

    `from_hub` is False for the host of the bytes, to which the hub redirects: what it refuses is a
    signature that has expired, and asking the hub again gives another.
    """
    status = answer.status_code
    code = answer.headers.get("X-Error-Code", "")
    said = _one_line(answer.headers.get("X-Error-Message") or answer.reason_phrase)
    message = f"{where}: answered {status}{f' {code}' if code else ''}: {said}"
    if status == 416:
        return RangeError(message)
    if status in _PASSING or not from_hub:
        return BusyError(message, wait=_asked_wait(answer))
    if status == 404 or code in _MISSING:
        return MissingError(f"{where}: {_MISSING.get(code, 'nothing is there')}", code=code, fix=_missing_fix(code))
    if status in (401, 403):
        return InputError(message, fix=_ACCESS)
    return InputError(message) if status in (400, 414, 451) else UnavailableError(message)


def explain(error: Exception, where: str) -> GgufactoryError:
    """The error for `error`, which a request about `where` has raised."""
    if isinstance(error, OfflineModeIsEnabled):
        return InputError(f"{where}: HF_HUB_OFFLINE forbids to ask the hub", fix="Unset it, or give a local folder")
    message = f"{where}: {_one_line(str(error)) or type(error).__name__}"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return UnavailableError(message, fix="Check HF_ENDPOINT's certificate and SSL_CERT_FILE")
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.TooManyRedirects | httpx2.InvalidURL):
        return UnavailableError(f"{where}: the hub redirects to where nobody can follow", fix="Check HF_ENDPOINT")
    return BusyError(message, fix="Check HF_ENDPOINT and the network")


def _missing_fix(code: str) -> str:
    if code in ("", "RepoNotFound"):
        return "Check the name, and HF_TOKEN when the repository is private"
    return "Look at the repository's page for what it has"


def _asked_wait(answer: httpx2.Response) -> float | None:
    """Seconds: of `Retry-After`, or of the hub's own `RateLimit` header when its budget is used up."""
    asked = answer.headers.get("Retry-After", "").strip()
    if asked.isascii() and asked.isdecimal():
        return float(asked[:9])
    limit = parse_ratelimit_headers(answer.headers)
    return float(limit.reset_in_seconds) if limit is not None and limit.remaining == 0 else None


def _one_line(text: str) -> str:
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "…"

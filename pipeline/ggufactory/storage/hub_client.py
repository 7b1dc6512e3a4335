"""Requests to the Hugging Face hub: over the session, the token and the settings of huggingface_hub.

`HfApi` itself is not asked: it reads answers of any length, sends the token wherever a page's link
leads, waits as long as a server says, and takes a branch's commit from a cache when the hub fails.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
from huggingface_hub.errors import OfflineModeIsEnabled, OIDCError
from huggingface_hub.utils import build_hf_headers, get_session

from ggufactory import __version__
from ggufactory.errors import InputError, UnavailableError
from ggufactory.storage.hub_errors import BusyError, explain, explain_answer

ATTEMPTS = 8
"""In a row without any progress."""
LONGEST_WAIT = 300.0
"""Seconds. The hub counts requests over windows of five minutes."""
MAX_JSON_BYTES = 32 << 20
"""Of one answer. A page of a listing has a thousand files in less than a megabyte."""

_DEFAULT_ENDPOINT = "https://huggingface.co"
_TIMEOUT = httpx2.Timeout(60.0, connect=10.0, pool=None)
_BEARER = re.compile(r"Bearer [!-~]+")

T = TypeVar("T")


def endpoint() -> str:
    """The hub's URL without a slash at its end: `HF_ENDPOINT`, or the public hub. Read at every call, while
    huggingface_hub keeps what it was when it was imported."""
    found = (os.environ.get("HF_ENDPOINT") or _DEFAULT_ENDPOINT).rstrip("/")
    try:
        url, host = httpx2.URL(found), urlsplit(found).hostname
    except (httpx2.InvalidURL, ValueError):
        url, host = httpx2.URL(""), None
    if url.scheme not in ("http", "https") or not host or url.query or url.fragment:
        raise InputError("HF_ENDPOINT: wanted a URL such as https://huggingface.co, found another kind of text")
    return found


def shown_endpoint() -> str:
    """Scheme, host and port of the hub: its URL less what may be secret in it."""
    url = urlsplit(endpoint())
    return f"{url.scheme}://{url.hostname}" + (f":{url.port}" if url.port else "")


def is_hub(url: httpx2.URL) -> bool:
    """Whether the hub itself is at `url`, and not a host to which it redirects."""
    return url.origin == httpx2.URL(endpoint()).origin


@contextmanager
def open_answer(url: str, where: str, **headers: str) -> Iterator[httpx2.Response]:
    """The answer to a GET, redirects followed, its body not yet read. The token goes to the hub alone.

    `where` names what is asked for, in messages. BusyError when the request, or reading the body,
    failed in a way that may pass.
    """
    sent = {**request_headers(httpx2.URL(url)), "Accept-Encoding": "identity", **headers}
    try:
        with get_session().stream("GET", url, headers=sent, timeout=_TIMEOUT, follow_redirects=True) as answer:
            if answer.status_code >= 400:
                raise explain_answer(answer, where, from_hub=is_hub(answer.url))
            yield answer
    except (httpx2.HTTPError, httpx2.InvalidURL, OfflineModeIsEnabled) as error:
        raise explain(error, where) from error


def get_json(url: str, where: str) -> tuple[object, str | None]:
    """What the hub's API answers, and the query of the next page where it names one."""
    return persist(lambda: _get_json(url, where))


def persist(ask: Callable[[], T]) -> T:
    """`ask`, up to `ATTEMPTS` times, as long as it raises BusyError."""
    for attempt in range(1, ATTEMPTS):
        try:
            return ask()
        except BusyError as busy:
            pause(attempt, busy.wait)
    return ask()


def pause(attempt: int, asked: float | None) -> None:
    """Before the attempt after number `attempt`: as long as the server asks for, within limits; else longer
    each time. By chance within bounds, so that workers that failed together do not come back together."""
    if asked is None:
        time.sleep(random.uniform(0, min(0.25 * 2**attempt, 30)))
    else:
        time.sleep(min(asked, LONGEST_WAIT) + random.uniform(0, 1))


def _get_json(url: str, where: str) -> tuple[object, str | None]:
    data = bytearray()
    with open_answer(url, where) as answer:
        for chunk in answer.iter_bytes():
            data += chunk
            if len(data) > MAX_JSON_BYTES:
                raise UnavailableError(f"{where}: the hub answers more than {MAX_JSON_BYTES:,} bytes")
        following = answer.links.get("next", {}).get("url")
    try:
        return json.loads(data), urlsplit(following).query if following else None
    except (ValueError, RecursionError) as error:
        raise UnavailableError(f"{where}: what is answered is no JSON", fix="Check HF_ENDPOINT") from error


def request_headers(url: httpx2.URL) -> dict[str, str]:
    """Who asks, and for the hub itself the token, found where the hub's own tools find it."""
    asked = None if is_hub(url) else False
    try:
        headers = build_hf_headers(token=asked, library_name="ggufactory", library_version=__version__)
    except (OSError, ValueError, OIDCError) as error:
        raise InputError(
            f"the Hugging Face token cannot be read ({type(error).__name__})",
            fix="Check HF_TOKEN, HF_TOKEN_PATH and HF_OIDC_RESOURCE",
        ) from error
    # The HTTP library shows in its error what it cannot send.
    if (bearer := headers.get("authorization")) is not None and not _BEARER.fullmatch(bearer):
        raise InputError("the Hugging Face token holds characters that no token has", fix="Check HF_TOKEN")
    return headers

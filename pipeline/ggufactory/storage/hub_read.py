"""Reading a byte range of a hub's file into a buffer, over as many connections as break on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from ggufactory.errors import InputError, SourceChangedError, UnavailableError
from ggufactory.storage.hub_client import ATTEMPTS, is_hub, open_answer, pause
from ggufactory.storage.hub_errors import BusyError, MissingError, RangeError
from ggufactory.storage.hub_locations import Location, Locations

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_FIX_CHANGED = "Start again, so that the new content is planned for"
_locations = Locations()


def fill(url: str, where: str, offset: int, buffer: memoryview, etag: str | None) -> None:
    """Fill `buffer` with the bytes from `offset` on of the file whose URL at the hub is `url`.

    A broken body is asked for again from the first byte that is missing; after `ATTEMPTS` in a row
    without one byte, BusyError. SourceChangedError when the file's tag is not `etag`; InputError when
    the file ends before the range does, or is not there.
    """
    done = fruitless = 0
    while done < len(buffer):
        before = done
        try:
            for chunk in _read_body(url, where, offset + done, len(buffer) - done, etag):
                buffer[done : done + len(chunk)] = chunk
                done += len(chunk)
        except BusyError as busy:
            fruitless = fruitless + 1 if done == before else 0
            if fruitless == ATTEMPTS:
                raise
            pause(fruitless, busy.wait)
        except RangeError as error:
            raise InputError(f"{where}: {_short(offset, len(buffer))}") from error
        except MissingError as error:
            if etag is None:
                raise
            raise SourceChangedError(f"{error.message}, which was read before", fix=_FIX_CHANGED) from error


def _read_body(url: str, where: str, start: int, size: int, etag: str | None) -> Iterator[bytes]:
    """The bytes [start, start + size), as they come in; BusyError when fewer come."""
    with _open_range(url, where, start, size, etag) as answer:
        for chunk in answer.iter_raw():
            yield chunk[:size]
            if len(chunk) > size:
                return  # all of the file, of which its beginning was asked for
            size -= len(chunk)
    if size:
        raise BusyError(f"{where}: the answer ended {size:,} bytes early")


@contextmanager
def _open_range(url: str, where: str, start: int, size: int, etag: str | None) -> Iterator[httpx2.Response]:
    """The answer whose body begins with byte `start` of that version of the file."""
    kept = _locations.get(url)
    asked = {"Range": f"bytes={start}-{start + size - 1}"}
    try:
        with open_answer(kept.url if kept else url, where, **asked) as answer:
            tag = kept.tag if kept else _tag(answer)
            if etag is not None and tag is not None and tag != etag:
                raise SourceChangedError(
                    f"{where}: the file was changed since this run first looked at it (tag {etag})", fix=_FIX_CHANGED
                )
            _check_range(answer, where, start, size)
            if kept is None and not is_hub(answer.url):
                _locations.keep(url, Location(str(answer.url), tag))
            yield answer
    except BusyError:
        _locations.forget(url)
        raise


def _check_range(answer: httpx2.Response, where: str, start: int, size: int) -> None:
    """That the body is what was asked for, or its beginning."""
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise UnavailableError(f"{where}: the bytes are answered encoded, which was not asked for")
    if answer.status_code == 206 and (found := _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))):
        first, last, total = int(found[1]), int(found[2]), found[3]
        if first == start <= last:
            if total != "*" and int(total) < start + size:
                raise RangeError(f"{where}: {_short(start, size)}")
            return
    # Servers may answer all of a file instead; of one that is read from its beginning, that will do.
    if answer.status_code == 200 and start == 0:
        length = answer.headers.get("Content-Length", "")
        if length.isascii() and length.isdecimal() and int(length[:19]) < size:
            raise RangeError(f"{where}: {_short(start, size)}")
        return
    raise UnavailableError(f"{where}: what is answered is not the range of bytes that was asked for")


def _tag(answer: httpx2.Response) -> str | None:
    """The file's tag as the hub tells it: with the redirect to its bytes, or with the bytes themselves."""
    for hop in (answer, *reversed(answer.history)):
        if is_hub(hop.url):
            tag = hop.headers.get("X-Linked-ETag") or (hop.headers.get("ETag") if hop is answer else None)
            if tag:
                return str(tag).removeprefix("W/").strip('"')
    return None


def _short(offset: int, size: int) -> str:
    return f"wanted the bytes {offset} to {offset + size}, but the file ends before"

"""What lies beside the artifacts, made from the manifest: pictures, report, card, checksums, signatures, and last
the pointer that says which manifest all of them belong to.

Everything here follows from the manifest's bytes (and the key), so it may be done again at any time, by
several jobs at once: whoever wrote from a manifest that has been replaced in the meantime does it over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial

from ggufactory.errors import InputError, UnavailableError
from ggufactory.publish import card, figures_beside, sums
from ggufactory.publish.card import CARD
from ggufactory.publish.figures_beside import digests, draw_figures, figure_files, figure_names
from ggufactory.publish.manifest import MANIFEST, Manifest, load, require
from ggufactory.publish.place import place_of
from ggufactory.publish.signing import SUFFIX, Signer, signed_sha256
from ggufactory.publish.sums import SUMS
from ggufactory.storage.protocol import Store

LATEST = "latest.json"
_LATEST_FORMAT = 1
_LIMIT = 16 << 20
_ATTEMPTS = 20

Warn = Callable[[str], None]


def release(store: Store, signer: Signer | None, warn: Warn) -> tuple[str, ...]:
    """Bring what lies beside the artifacts in line with the manifest; the names of it, signatures left out. Writes
    nothing that is right already.

    A README.md or SHA256SUMS that was not made here is left alone, with a warning, and so are pictures and a report.
    Without `signer`, signatures of something else than what is there now are removed.
    """
    for _ in range(_ATTEMPTS):
        manifest = require(store)
        _write(store, manifest, signer, warn)
        now = store.stat(MANIFEST)
        if now and now.etag == manifest.etag:
            return names_beside(manifest)
    raise UnavailableError(
        f"{store.uri}/{MANIFEST} is rewritten by other jobs all the time", fix="Start the same command again"
    )


def names_beside(manifest: Manifest) -> tuple[str, ...]:
    """What lies beside the artifacts of this manifest, in the order in which it is written; signatures left out."""
    return (MANIFEST, *(file.name for file in figure_files(manifest)), CARD, SUMS, LATEST)


def is_released(store: Store) -> bool:
    """Whether `release` came to its end with the manifest that is there."""
    manifest = load(store)
    return manifest is not None and read_small(store, LATEST) == render_latest(manifest)


def render_latest(manifest: Manifest) -> bytes:
    """Which manifest the target has, and the plan and time of its newest artifact."""
    newest = max(manifest.entries.values(), key=lambda e: (str(e["made_by"].get("at")), e["plan"]), default=None)
    content = {
        "format": _LATEST_FORMAT,
        "manifest": MANIFEST,
        "manifest_sha256": manifest.sha256,
        "plan": newest["plan"] if newest else None,
        "at": newest["made_by"].get("at") if newest else None,
    }
    return json.dumps(content, indent=1).encode() + b"\n"


def read_small(store: Store, name: str) -> bytes | None:
    """An object beside the artifacts; None when there is none, or one that is far too large to be it."""
    info = store.stat(name)
    if info is None or info.size > _LIMIT:
        return None
    found = store.read(name, limit=_LIMIT)
    return found[0] if found else None


def _write(store: Store, manifest: Manifest, signer: Signer | None, warn: Warn) -> None:
    drawn = _put_figures(store, manifest, warn)
    _put_own(store, CARD, card.render(manifest, place_of(store)), card.is_ours, warn)
    listed = sums.render_sums(manifest, digests(drawn))
    if _put_own(store, SUMS, listed, sums.is_ours, warn):
        _sign(store, SUMS, listed, signer, warn)
    _sign(store, MANIFEST, manifest.data, signer, warn)
    _put(store, LATEST, render_latest(manifest))


def _put_figures(store: Store, manifest: Manifest, warn: Warn) -> dict[str, bytes]:
    """Those that are there now, by name. Figures of an earlier manifest that this one has not are removed."""
    drawn = dict(draw_figures(manifest, partial(read_small, store), read_small(store, SUMS) or b""))
    for name in sorted(figure_names(manifest) - drawn.keys()):
        present = read_small(store, name)
        if present is not None and figures_beside.is_ours(present):
            _remove(store, name, f"{store.uri}/{name} shows figures that the manifest no longer has", "", warn)
    return {name: data for name, data in drawn.items() if _put_own(store, name, data, figures_beside.is_ours, warn)}


def _put_own(store: Store, name: str, data: bytes, is_ours: Callable[[bytes], bool], warn: Warn) -> bool:
    """Write unless something else has the name; whether it is ours now."""
    info = store.stat(name)
    present = read_small(store, name) if info else None
    if info and (present is None or not is_ours(present)):
        warn(f"{store.uri}/{name} was not made by ggufactory and is left as it is; move it away to have one made")
        return False
    if present != data:
        store.put(name, data)
    return True


def _sign(store: Store, name: str, data: bytes, signer: Signer | None, warn: Warn) -> None:
    if signer is not None:
        _put(store, name + SUFFIX, signer.sign(name, data))
        return
    present = read_small(store, name + SUFFIX)
    signed = signed_sha256(present) if present else None
    if signed is not None and signed != hashlib.sha256(data).hexdigest():
        told = f"{store.uri}/{name}{SUFFIX} signed an earlier {name}"
        _remove(store, name + SUFFIX, told, ": sign again with --sign-key", warn)


def _remove(store: Store, name: str, why: str, fix: str, warn: Warn) -> None:
    """With a warning, also where it cannot be done: a job need not have the right to delete."""
    try:
        done = "was removed" if store.delete(name) else "cannot be removed with these credentials"
    except InputError as error:
        done = f"cannot be removed ({error.message})"
    warn(f"{why} and {done}{fix}")


def _put(store: Store, name: str, data: bytes) -> None:
    if read_small(store, name) != data:
        store.put(name, data)

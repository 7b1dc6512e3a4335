"""What lies beside the artifacts, made from the manifest: card, checksums, signatures, and last the
pointer that says which manifest all of them belong to.

Everything here follows from the manifest's bytes (and the key), so it may be done again at any time, by
several jobs at once: whoever wrote from a manifest that has been replaced in the meantime does it over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from ggufactory.errors import InputError, UnavailableError
from ggufactory.publish import card, sums
from ggufactory.publish.card import CARD
from ggufactory.publish.manifest import MANIFEST, Manifest, load, require
from ggufactory.publish.place import place_of
from ggufactory.publish.signing import SUFFIX, Signer, signed_sha256
from ggufactory.publish.sums import SUMS
from ggufactory.storage.protocol import Store

LATEST = "latest.json"
BESIDE = (MANIFEST, CARD, SUMS, LATEST)
"""In the order in which they are written; signed are the manifest and the checksums."""
_LATEST_FORMAT = 1
_LIMIT = 16 << 20
_ATTEMPTS = 20

Warn = Callable[[str], None]


def release(store: Store, signer: Signer | None, warn: Warn) -> None:
    """Bring what lies beside the artifacts in line with the manifest. Writes nothing that is right already.

    A README.md or SHA256SUMS that was not made here is left alone, with a warning. Without `signer`,
    signatures of something else than what is there now are removed.
    """
    for _ in range(_ATTEMPTS):
        manifest = require(store)
        _write(store, manifest, signer, warn)
        now = store.stat(MANIFEST)
        if now and now.etag == manifest.etag:
            return
    raise UnavailableError(
        f"{store.uri}/{MANIFEST} is rewritten by other jobs all the time", fix="Start the same command again"
    )


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
    _put_own(store, CARD, card.render(manifest, place_of(store)), card.is_ours, warn)
    listed = sums.render_sums(manifest)
    if _put_own(store, SUMS, listed, sums.is_ours, warn):
        _sign(store, SUMS, listed, signer, warn)
    _sign(store, MANIFEST, manifest.data, signer, warn)
    _put(store, LATEST, render_latest(manifest))


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
        try:
            store.delete(name + SUFFIX)
            done = "was removed"
        except InputError as error:  # a job need not have the right to delete
            done = f"cannot be removed ({error.message})"
        warn(f"{store.uri}/{name}{SUFFIX} signed an earlier {name} and {done}: sign again with --sign-key")


def _put(store: Store, name: str, data: bytes) -> None:
    if read_small(store, name) != data:
        store.put(name, data)

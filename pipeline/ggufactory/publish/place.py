"""Where a target lies, as its model card says it: commands to download differ by it."""

from __future__ import annotations

import re

from ggufactory.storage.protocol import Store

_COMMIT = re.compile(r"@[0-9a-f]{40}(?=/|$)")


def place_of(store: Store) -> str:
    """The store's URI; of a repository on the hub without the commit, so that the card is the same at each."""
    return _COMMIT.sub("", store.uri, count=1) if store.uri.startswith("hf://") else store.uri

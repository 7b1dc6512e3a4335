"""What a source is called, before it is opened."""

from __future__ import annotations

import posixpath
from pathlib import Path

from ggufactory.checkpoint.gguf_names import SUFFIX, model_name


def source_name(uri: str) -> str:
    """The `name` that the opened source has, from its URI alone: what a run that fails to open it is known by."""
    path = uri if "://" in uri else str(Path(uri).absolute())
    last = posixpath.basename(posixpath.normpath(path))
    if last.endswith(SUFFIX):
        return model_name(last)
    return last.partition("@")[0] if uri.startswith("hf://") else last

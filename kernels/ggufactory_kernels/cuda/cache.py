"""Cubins on disk, each compiled once on a machine, however many processes ask for it at once."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ggufactory_kernels.cuda.compiler import compile_kernel, fingerprint
from ggufactory_kernels.cuda.kernels import Kernel


def cubin(kernel: Kernel, architecture: str) -> bytes:
    """The kernel's cubin: from the cache, or compiled and put there. CompilerError as of compile_kernel."""
    path = folder() / f"{kernel.name}-{architecture}-{fingerprint(kernel, architecture)[:32]}.cubin"
    try:
        return path.read_bytes()
    except OSError:
        pass
    compiled = compile_kernel(kernel, architecture).cubin
    _keep(path, compiled)
    return compiled


def folder() -> Path:
    """`GGUFACTORY_CUBIN_CACHE`, or a folder of the user's cache."""
    chosen = os.environ.get("GGUFACTORY_CUBIN_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ggufactory" / "cubins"


def _keep(path: Path, content: bytes) -> None:
    """Whole or not at all: a file appears under its name when it is complete. Where nothing can be written,
    the kernel is compiled again the next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    except OSError:
        return
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)

"""`SHA256SUMS`, as `sha256sum` writes it and `sha256sum --check` reads it."""

from __future__ import annotations

from collections.abc import Mapping

from ggufactory.publish.manifest import MANIFEST, Manifest

SUMS = "SHA256SUMS"


def render_sums(manifest: Manifest, drawn: Mapping[str, str] | None = None) -> bytes:
    """A line for each artifact, one for the manifest, and one for each of `drawn`, SHA-256 by name; sorted by name, in
    UTF-8."""
    sums = {name: entry["sha256"] for name, entry in manifest.entries.items()}
    all_sums = {**sums, MANIFEST: manifest.sha256, **(drawn or {})}
    return "".join(_line(name, sha) for name, sha in sorted(all_sums.items())).encode()


def lists(sums: bytes, name: str, sha256: str) -> bool:
    """Whether a list says that the file `name` has this SHA-256."""
    return _line(name, sha256).rstrip("\n").encode() in sums.splitlines()


def is_ours(sums: bytes) -> bool:
    """Whether a list was made here, and may be replaced: it has a line for the manifest."""
    return any(line.endswith(f"  {MANIFEST}".encode()) for line in sums.splitlines())


def _line(name: str, sha256: str) -> str:
    """A name with a backslash is escaped, and its line says so by beginning with one."""
    escaped = name.replace("\\", "\\\\")
    return f"{'' if escaped == name else chr(92)}{sha256}  {escaped}\n"

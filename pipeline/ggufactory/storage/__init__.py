"""Where bytes come from and go to: one small protocol, kept by a local folder, by S3 and, to read
from, by the Hugging Face hub."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ggufactory.errors import InputError
from ggufactory.storage.folder import FolderStore
from ggufactory.storage.protocol import ObjectInfo, OpenUpload, Part, PartLimits, Store, Upload

__all__ = [
    "ObjectInfo",
    "OpenUpload",
    "Part",
    "PartLimits",
    "Store",
    "Upload",
    "folder_name",
    "open_file",
    "open_store",
]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")
_SUPPORTED = (
    "Supported are s3://bucket/prefix, file:///folder, a plain folder path and, as a source, hf://org/name@revision"
)
_COMMIT = re.compile(r"@[0-9a-f]{40}$")


def open_store(uri: str) -> Store:
    """The store that `uri` names: `s3://bucket/prefix`, `file:///folder`, a folder path, or
    `hf://org/name@revision`, which can only be read.

    Nothing is read or written, so the store need not exist yet. InputError when `uri` names no store.
    """
    scheme = _SCHEME.match(uri)
    if scheme is None:
        return _open_folder(uri, uri)
    if uri.startswith("s3://"):
        return _open_s3(uri)
    if uri.startswith("hf://"):
        return _open_hub(uri)
    if uri.startswith("file://"):
        location = urlsplit(uri)
        if location.netloc not in ("", "localhost"):
            raise InputError(f"{uri}: the file is on another host, {location.netloc}", fix=_SUPPORTED)
        return _open_folder(unquote(uri.removeprefix(f"file://{location.netloc}")), uri)
    raise InputError(f"{uri}: cannot open a store of the kind {scheme[1]!r}", fix=_SUPPORTED)


def open_file(uri: str) -> tuple[Store, str]:
    """The store of the folder or prefix that holds the file, and the file's name in it."""
    folder, _, name = uri.rpartition("/")
    if uri.startswith("file://"):
        name = unquote(name)
    return open_store(folder or ("/" if uri.startswith("/") else ".")), name


def folder_name(store: Store) -> str:
    """What the store's folder is called: the last part of its URI, without the commit of a repository."""
    name = posixpath.basename(posixpath.normpath(store.uri))
    return _COMMIT.sub("", name) if store.uri.startswith("hf://") else name


def _open_folder(path: str, uri: str) -> Store:
    if not path or "\0" in path:
        raise InputError(f"{uri!r}: no folder is named", fix=_SUPPORTED)
    try:
        return FolderStore(Path(path).expanduser().absolute())
    except RuntimeError as error:  # "~name" of a user who does not exist
        raise InputError(f"{uri}: {error}", fix=_SUPPORTED) from error


def _open_s3(uri: str) -> Store:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if not _BUCKET.fullmatch(bucket):
        found = f"the bucket's name is {bucket!r}" if bucket else "no bucket is named"
        raise InputError(f"{uri}: {found}", fix=_SUPPORTED)
    # Here and not above: boto3 takes a second to import, and a job on folders needs none of it.
    from ggufactory.storage.s3 import S3Store

    return S3Store(bucket, prefix.strip("/"))


def _open_hub(uri: str) -> Store:
    # Here and not above: only a job that reads from the hub needs its library.
    from ggufactory.storage.hub import HubStore
    from ggufactory.storage.hub_uri import parse_hub_uri

    return HubStore(parse_hub_uri(uri))

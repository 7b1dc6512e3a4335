"""Which commit a revision is, and which files a commit has, by the hub's API."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from ggufactory.errors import UnavailableError
from ggufactory.storage.hub_client import endpoint, get_json, shown_endpoint
from ggufactory.storage.hub_errors import MissingError
from ggufactory.storage.hub_uri import HubFolder, is_commit
from ggufactory.storage.names import check_name
from ggufactory.storage.protocol import ObjectInfo

MAX_FILES = 200_000
"""The hub advises against more than half as many in one repository."""

MAX_PAGES = 2_000
_OID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def pin(place: HubFolder) -> HubFolder:
    """The same at the commit that its revision is now. MissingError when there is no such revision."""
    where = f"{place.uri} at {shown_endpoint()}"
    revision = quote(place.revision, safe="")
    # `expand` names the only field that is wanted: the whole answer has all files, and the model card.
    found, _ = get_json(f"{endpoint()}/api/models/{place.repository}/revision/{revision}?expand=sha", where)
    commit = found.get("sha") if isinstance(found, dict) else None
    if not isinstance(commit, str) or not is_commit(commit):
        raise UnavailableError(f"{where}: the hub does not say which commit this is", fix="Check HF_ENDPOINT")
    return replace(place, revision=commit)


def list_files(place: HubFolder) -> dict[str, ObjectInfo]:
    """The files below the folder, by their names in it; none when there is no such folder.

    A tag is the SHA-256 of a large file, and the Git object's name of any other.
    """
    where = f"{place.uri} at {shown_endpoint()}"
    folder = f"/{quote(place.folder)}" if place.folder else ""
    url = f"{endpoint()}/api/models/{place.repository}/tree/{place.revision}{folder}"
    query: str | None = "recursive=true&expand=false"
    files: dict[str, ObjectInfo] = {}
    seen: set[str] = set()
    while query is not None and query not in seen:
        seen.add(query)
        try:
            # Of the link only the query: with its host, it could send the token anywhere.
            entries, query = get_json(f"{url}?{query}", where)
        except MissingError as missing:
            if missing.code == "EntryNotFound" and place.folder:
                return {}
            raise
        if not isinstance(entries, list):
            raise UnavailableError(f"{where}: the hub's listing is no list", fix="Check HF_ENDPOINT")
        for info in (_file(entry, place, where) for entry in entries):
            if info is not None:
                files[info.name] = info
        if len(files) > MAX_FILES or len(seen) > MAX_PAGES:
            raise UnavailableError(f"{where}: the repository has more than {MAX_FILES:,} files")
    return files


def _file(entry: Any, place: HubFolder, where: str) -> ObjectInfo | None:
    """One entry of a listing; None when it is no file of the folder."""
    if not isinstance(entry, dict) or not isinstance(path := entry.get("path"), str):
        raise UnavailableError(f"{where}: the hub's listing has an entry without a path", fix="Check HF_ENDPOINT")
    if entry.get("type") != "file":
        return None
    check_name(path, f"hf://{place.repository}")
    if not path.startswith(place.path("")):
        return None
    large = entry.get("lfs")
    size, tag = (
        (large.get("size"), large.get("oid")) if isinstance(large, dict) else (entry.get("size"), entry.get("oid"))
    )
    if type(size) is not int or not 0 <= size < 1 << 63 or not isinstance(tag, str) or not _OID.fullmatch(tag):
        raise UnavailableError(f"{where}: the hub's listing gives no size and hash of {path}", fix="Check HF_ENDPOINT")
    return ObjectInfo(path.removeprefix(place.path("")), size, tag)

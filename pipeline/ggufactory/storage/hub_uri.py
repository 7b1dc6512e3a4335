"""What `hf://org/name@revision/folder` names. The grammar is that of huggingface_hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from huggingface_hub.errors import HfUriError
from huggingface_hub.utils import parse_hf_uri

from ggufactory.errors import InputError
from ggufactory.storage.names import check_name

DEFAULT_REVISION = "main"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MAX_REVISION = 255
_EXPECTED = "Give hf://org/name or hf://org/name@revision"


@dataclass(frozen=True, slots=True)
class HubFolder:
    """A model repository, or a folder of it, at a revision."""

    repository: str
    """`org/name`."""
    revision: str
    """A branch, a tag or a commit."""
    folder: str
    """Empty for the repository itself."""

    @property
    def uri(self) -> str:
        """Parses to the same; a "/" of the revision is written %2F."""
        return f"hf://{self.repository}@{quote(self.revision, safe='')}" + (f"/{self.folder}" if self.folder else "")

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return _COMMIT.fullmatch(self.revision) is not None

    def path(self, name: str) -> str:
        """In the repository, of what is called `name` in the folder."""
        return f"{self.folder}/{name}" if self.folder else name


def is_commit(value: object) -> bool:
    return isinstance(value, str) and _COMMIT.fullmatch(value) is not None


def parse_hub_uri(uri: str) -> HubFolder:
    """InputError when `uri` names no model repository."""
    try:
        found = parse_hf_uri(uri)
    except HfUriError as error:
        raise InputError(f"{uri!r}: {' '.join(error.msg.split()).rstrip('.')}", fix=_EXPECTED) from error
    if found.type != "model":
        raise InputError(f"{uri}: it names a {found.type}, wanted a model", fix=_EXPECTED)
    revision = DEFAULT_REVISION if found.revision is None else found.revision
    if len(revision) > _MAX_REVISION or not revision.isprintable() or revision != revision.strip():
        raise InputError(f"{uri!r}: the revision can be the name of no branch, tag or commit", fix=_EXPECTED)
    if found.path_in_repo:
        check_name(found.path_in_repo, f"hf://{found.id}")
    return HubFolder(found.id, revision, found.path_in_repo)

"""A hub of this machine: repositories of models, the parts of its API that a reader needs, and a second
host that has the bytes of large files. hub_writes.py has the parts that a publisher needs."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote

from hub_writes import HubWrites
from scripted_server import Answer, Request, ScriptedServer

Files = dict[str, bytes]


@dataclass
class Repository:
    """The commits of one repository. Who has no `token` may not see it; where `gated`, not even he may read."""

    token: str | None = None
    gated: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Files, ref: str = "main") -> str:
        """A new commit with these files, at the head of `ref`."""
        content = "".join(f"{name} {git_oid(data)}\n" for name, data in sorted(files.items()))
        self.refs[ref] = hashlib.sha1(content.encode()).hexdigest()
        self.commits[self.refs[ref]] = files
        return self.refs[ref]


def folder_files(folder: str) -> Files:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data)).hexdigest()


def is_large(name: str) -> bool:
    """Whether the hub keeps the file with its large ones."""
    return name.endswith((".safetensors", ".gguf", ".bin"))


class HubServer:
    """Both hosts. `alter` may put another answer in the place of any; `page` is the length of a listing's."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.page = 1000
        self.alter: Callable[[Request, Answer], Answer] = lambda request, answer: answer
        self.answers: list[Answer] = []
        """Of both hosts, as they were sent."""
        self.writes = HubWrites()
        self.write_token: str | None = None
        """Of whoever may publish; None: nobody may."""
        self._lock = threading.Lock()
        self._large: Files = {}
        self.hub = ScriptedServer(lambda request: self._send(request, self._answer(request)))
        self.bytes_host = ScriptedServer(lambda request: self._send(request, self._answer_bytes(request)))

    def __enter__(self) -> HubServer:
        self.hub.__enter__()
        self.bytes_host.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hub.__exit__(kind, error, trace)
        self.bytes_host.__exit__(kind, error, trace)

    @property
    def endpoint(self) -> str:
        return self.hub.endpoint

    def revoke(self) -> None:
        """The locations that were given out so far are good no more."""
        self._large.clear()

    def _send(self, request: Request, answer: Answer) -> Answer:
        answer = self.alter(request, answer)
        with self._lock:
            self.answers.append(answer)
        return answer

    def _answer(self, request: Request) -> Answer:
        if request.method == "POST":
            return self._answer_write(request)
        found = re.fullmatch(r"/(?:api/(?P<api>models|cache)/)?(?P<repo>[^/]+/[^/]+)/(?P<rest>.+)", request.path)
        if found is None:
            return Answer(404)
        repository = self.repositories.get(found["repo"])
        refusal = refuse(repository, request, reads=found["api"] != "models")
        if repository is None or refusal is not None:
            return refusal or Answer(404)
        kind, revision, *path = found["rest"].split("/", 2)
        commit = repository.refs.get(unquote(revision), unquote(revision))
        files = repository.commits.get(commit)
        if files is None:
            return refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        name = unquote(path[0]) if path else ""
        if kind == "revision":
            return as_json({"id": found["repo"], "sha": commit})
        if kind == "tree":
            return self._tree(request, files, name)
        if name not in files:
            return refused(404, "EntryNotFound", "Entry not found")
        return self._resolve(request, files[name], name, cached=found["api"] == "cache")

    def _answer_write(self, request: Request) -> Answer:
        completes = request.path.startswith("/api/complete/")  # its URL is signed
        if not completes and request.headers.get("authorization") != f"Bearer {self.write_token}":
            return refused(403 if "authorization" in request.headers else 401, "", "You may not write here")
        if request.path == "/api/repos/create":
            asked = json.loads(request.body)
            self.writes.created.append(asked)
            name = f"{asked['organization']}/{asked['name']}"
            self.repositories[name] = made = Repository(token=self.write_token)
            made.commit({".gitattributes": b"*.gguf filter=lfs\n"})
            return as_json({"url": f"{self.endpoint}/{name}"})
        return self.writes.answer(request, self._head, self._commit, self.endpoint, self.bytes_host.endpoint) or Answer(
            404
        )

    def _head(self, name: str) -> Files:
        repository = self.repositories[name]
        return repository.commits[repository.refs["main"]]

    def _commit(self, name: str, files: Files) -> str:
        return self.repositories[name].commit(files)

    def _tree(self, request: Request, files: Files, folder: str) -> Answer:
        inside = sorted(name for name in files if not folder or name.startswith(f"{folder}/"))
        if not inside:
            return refused(404, "EntryNotFound", f"{folder} does not exist")
        entries = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "/".join(n.split("/")[:-1])}
                   for n in inside if "/" in n]  # fmt: skip
        entries += [entry(name, files[name]) for name in inside]
        at = int(request.query.get("cursor", 0))
        headers = {}
        if at + self.page < len(entries):
            following = f"{self.endpoint}{request.path}?recursive=true&expand=false&cursor={at + self.page}"
            headers["Link"] = f'<{following}>; rel="next"'
        return as_json(entries[at : at + self.page], headers)

    def _resolve(self, request: Request, data: bytes, name: str, *, cached: bool) -> Answer:
        if is_large(name):
            tag = hashlib.sha256(data).hexdigest()
            key = f"/{tag}-{len(self.answers)}"
            self._large[key] = data
            location = f"{self.bytes_host.endpoint}{key}?signature=secret-of-the-location"
            return Answer(302, headers={"Location": location, "X-Linked-ETag": f'"{tag}"', "ETag": '"of the redirect"'})
        if not cached:
            return Answer(307, headers={"Location": "/api/cache" + request.path})
        return ranged(request, data, f'"{git_oid(data)}"')

    def _answer_bytes(self, request: Request) -> Answer:
        if request.method == "PUT":
            return self.writes.put(request)
        data = self._large.get(request.path)
        if data is None or request.query.get("signature") != "secret-of-the-location":
            return Answer(403, b"<Error>expired</Error>")
        return ranged(request, data, '"of another kind"')


def refuse(repository: Repository | None, request: Request, *, reads: bool) -> Answer | None:
    authorization = request.headers.get("authorization")
    if repository is None or (repository.token and authorization != f"Bearer {repository.token}"):
        return refused(404 if authorization else 401, "RepoNotFound", "Repository not found")
    if repository.gated and reads:
        return refused(403, "GatedRepo", "Access to this model is restricted. Ask for access.")
    return None


def refused(status: int, code: str, message: str) -> Answer:
    return Answer(status, json.dumps({"error": message}).encode(), {"X-Error-Code": code, "X-Error-Message": message})


def as_json(value: object, headers: dict[str, str] | None = None) -> Answer:
    return Answer(200, json.dumps(value).encode(), headers or {})


def entry(name: str, data: bytes) -> dict[str, object]:
    """As the hub lists it."""
    if not is_large(name):
        return {"type": "file", "oid": git_oid(data), "size": len(data), "path": name}
    lfs = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return {"type": "file", "oid": "f" * 40, "size": len(data), "path": name, "lfs": lfs, "xetHash": "e" * 64}


def ranged(request: Request, data: bytes, tag: str) -> Answer:
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
    if found is None:
        return Answer(200, data, {"ETag": tag})
    start, end = int(found[1]), min(int(found[2]) + 1, len(data))
    if start >= len(data):
        return Answer(416, headers={"Content-Range": f"bytes */{len(data)}"})
    return Answer(206, data[start:end], {"ETag": tag, "Content-Range": f"bytes {start}-{end - 1}/{len(data)}"})

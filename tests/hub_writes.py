"""The parts of a hub's API that a publisher needs: repositories that are made, files that are sent in parts to
the host of the bytes, commits."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

from scripted_server import Answer, Request

UPLOAD_SIGNATURE = "secret-of-the-upload"


class HubWrites:
    """What was sent, by SHA-256. `part_bytes` is what the hub asks parts to have; files up to as much come whole."""

    def __init__(self) -> None:
        self.part_bytes = 1 << 20
        self.sent: dict[str, bytes] = {}
        self.created: list[dict[str, Any]] = []
        self.commits: list[list[dict[str, Any]]] = []
        self.parts: dict[str, dict[int, bytes]] = {}
        self.complaint: str | None = None
        """About the front matter of a card."""

    def answer(
        self, request: Request, head: Callable[[str], dict[str, bytes]], commit: Callable[[str, dict[str, bytes]], str],
        hub: str, bytes_host: str,
    ) -> Answer | None:  # fmt: skip
        """To a POST to the hub; None when it is no request of a publisher. `head`: the files of a repository now;
        `commit`: gives it others."""
        if request.path == "/api/validate-yaml":
            wrong = [] if self.complaint is None else [{"message": self.complaint}]
            return Answer(400 if wrong else 200, json.dumps({"errors": wrong, "warnings": []}).encode())
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", request.path):
            return self._preupload(json.loads(request.body), head(found[1]))
        if found := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", request.path):
            return self._batch(json.loads(request.body), hub, bytes_host)
        if found := re.fullmatch(r"/api/complete/([0-9a-f]{64})", request.path):
            return self._complete(found[1], json.loads(request.body))
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", request.path):
            return self._commit(found[1], request.body, head(found[1]), commit)
        return None

    def put(self, request: Request) -> Answer:
        """A file, or a part of one, to the host of the bytes."""
        found = re.fullmatch(r"/upload/([0-9a-f]{64})(?:/(\d+))?", request.path)
        if found is None or request.query.get("signature") != UPLOAD_SIGNATURE:
            return Answer(403, b"<Error>expired</Error>")
        if "content-length" not in request.headers:
            return Answer(411)
        if found[2] is None:
            return self._keep(found[1], request.body)
        self.parts.setdefault(found[1], {})[int(found[2])] = request.body
        return Answer(200, headers={"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})

    def _preupload(self, asked: dict[str, Any], files: dict[str, bytes]) -> Answer:
        def told(file: dict[str, Any]) -> dict[str, Any]:
            name, data = file["path"], files.get(file["path"])
            large = name.endswith(".gguf")
            oid = None
            if data is not None:
                oid = (
                    hashlib.sha256(data).hexdigest()
                    if large
                    else hashlib.sha1(b"blob %d\0%b" % (len(data), data)).hexdigest()
                )
            assert len(base64.b64decode(file["sample"])) == min(512, file["size"])
            return {"path": name, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}

        return _json({"files": [told(file) for file in asked["files"]]})

    def _batch(self, asked: dict[str, Any], hub: str, bytes_host: str) -> Answer:
        objects = []
        for wanted in asked["objects"]:
            oid, size = wanted["oid"], wanted["size"]
            found: dict[str, Any] = {"oid": oid, "size": size}
            url = f"{bytes_host}/upload/{oid}"
            if oid not in self.sent and size <= self.part_bytes:
                found["actions"] = {"upload": {"href": f"{url}?signature={UPLOAD_SIGNATURE}"}}
            elif oid not in self.sent:
                count = -(-size // self.part_bytes)
                header = {str(n): f"{url}/{n}?signature={UPLOAD_SIGNATURE}" for n in range(1, count + 1)}
                header["chunk_size"] = str(self.part_bytes)
                found["actions"] = {"upload": {"href": f"{hub}/api/complete/{oid}", "header": header}}
            objects.append(found)
        return _json({"transfer": "multipart", "objects": objects})

    def _complete(self, oid: str, asked: dict[str, Any]) -> Answer:
        parts = self.parts.pop(oid, {})
        data = b""
        for wanted in asked["parts"]:
            part = parts.get(wanted["partNumber"])
            if part is None or wanted["etag"] != f'"{hashlib.md5(part).hexdigest()}"':
                return Answer(400)
            data += part
        return self._keep(oid, data)

    def _keep(self, oid: str, data: bytes) -> Answer:
        if hashlib.sha256(data).hexdigest() != oid:
            return Answer(400, b"another hash")
        self.sent[oid] = data
        return _json({})

    def _commit(
        self, repository: str, body: bytes, files: dict[str, bytes], commit: Callable[[str, dict[str, bytes]], str]
    ) -> Answer:
        lines = [json.loads(line) for line in body.splitlines()]
        new = dict(files)
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                new[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.sent:
                    return Answer(400, b"no such object")
                new[value["path"]] = self.sent[value["oid"]]
        self.commits.append(lines)
        oid = commit(repository, new)
        return _json({"commitUrl": f"/{repository}/commit/{oid}", "commitOid": oid, "pullRequestUrl": None})


def _json(value: object) -> Answer:
    return Answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

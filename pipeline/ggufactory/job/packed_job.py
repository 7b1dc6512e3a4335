"""A job file made ready to travel: a folder with the file and what it names on this machine.

A cluster sees nothing of this machine. Small files that only the driver reads travel along; a source or
a target of this machine cannot.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

from ggufactory.calibrate.text.default_text import DEFAULT
from ggufactory.errors import InputError, PlanError

JOB_FILE = "job.yaml"

_CARRIED = ("imatrix", "metadata_file", "card")
_WITH_TEXTS = ("calibrate", "evaluate")
_PLACES = ("source", "to")
_NOT_THERE = ("ray_address", "workers")
"""Where the job runs is what the submission decides."""

_CARRIED_BYTES = 100 << 20
"""Ray keeps them in the memory of the head."""

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def pack_job(path: str, folder: Path, *, shared_paths: bool) -> None:
    """Write `folder`/job.yaml from the job file at `path`, with the files that it names beside it.

    `path` must hold a job (`load_job` takes it). With `shared_paths`, paths mean the same on the cluster,
    and nothing is copied. InputError for what the cluster could not read, all faults together.
    """
    job: dict[str, Any] = dict(yaml.safe_load(Path(path).read_bytes()))
    for field in _NOT_THERE:
        job.pop(field, None)
    if shared_paths:
        for field in _PLACES:
            if field in job:
                job[field] = _each(job[field], _absolute)
        _change_files(job, _absolute)
    else:
        _refuse_local_places(job)
        _carry(job, folder)
    (folder / JOB_FILE).write_text(yaml.safe_dump(job, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _refuse_local_places(job: Mapping[str, Any]) -> None:
    if "sign_key" in job:
        raise InputError(
            "sign_key: a secret key does not travel with a job, where everyone on the cluster could read it",
            fix="Leave it out, and sign afterwards from here: ggufactory card TARGET --sign-key FILE",
        )
    faults = [f"{field}: {job[field]} is on this machine" for field in _PLACES if field in job and _local(job[field])]
    if faults:
        raise PlanError(
            faults,
            fix="Use s3:// (or hf:// for the source); if every node of the cluster sees the same paths, "
            "say so: --shared-paths",
        )


def _carry(job: dict[str, Any], folder: Path) -> None:
    """Copy the local files that the job reads; each keeps its name, because headers hold it."""
    carried: list[int] = []

    def carry(given: str) -> str:
        if not _local(given):
            return given
        file = _plain(given)
        kept = f"file{len(carried)}/{file.name}"
        try:
            carried.append(file.stat().st_size)
            if sum(carried) > _CARRIED_BYTES:
                raise InputError(
                    f"{given}: with it the job would take along more than {_CARRIED_BYTES >> 20} MiB of files",
                    fix="Put it on s3:// and name it there",
                )
            (folder / kept).parent.mkdir()
            shutil.copyfile(file, folder / kept)
        except OSError as error:
            raise InputError(f"{given} cannot be read: {error.strerror or error}") from error
        return kept

    _change_files(job, carry)


def _change_files(job: dict[str, Any], change: Callable[[str], str]) -> None:
    """The names of all files that the job reads beside its source."""
    for field in _CARRIED:
        if field in job:
            job[field] = _each(job[field], change)
    for field in _WITH_TEXTS:
        settings = job.get(field)
        if isinstance(settings, dict) and "text" in settings:
            texts = _each(settings["text"], lambda text: text if text == DEFAULT else change(text))
            job[field] = settings | {"text": texts}


def _each(value: Any, change: Callable[[str], str]) -> Any:
    return [change(item) for item in value] if isinstance(value, list) else change(value)


def _local(uri: str) -> bool:
    return uri.startswith("file://") or not _REMOTE.match(uri)


def _absolute(uri: str) -> str:
    return str(_plain(uri)) if _local(uri) else uri


def _plain(uri: str) -> Path:
    path = unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri
    return Path(path).expanduser().absolute()

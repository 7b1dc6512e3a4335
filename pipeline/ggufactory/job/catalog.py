"""Catalogues: YAML that names the models that are to be there, each with the fields of a job file.

    target: s3://gguf
    ladder: bartowski
    models:
      - {source: "hf://org/name", revision: latest, priority: 10}
      - {source: s3://models/other, ladder: [Q8_0, Q4_K_M], imatrix: other.gguf, target: s3://gguf/other}

Everything that is wrong with a catalogue by itself is found together, before a source is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from ggufactory.errors import InputError, PlanError, did_you_mean
from ggufactory.job.job_file import job_fields
from ggufactory.job.job_spec import JobSpec
from ggufactory.job.sync import Model
from ggufactory.job.yaml_file import load_mapping
from ggufactory.plan.ladder import resolve
from ggufactory.plan.options import NO_OPTIONS

_FOR_ALL = ("target", "ladder")
"""Fields of the catalogue that a model may have of its own."""
_FIELDS = (*_FOR_ALL, "models")
_ELSEWHERE = ("ray_address", "workers")
"""Fields of a job that every model of a catalogue shares."""
_MAX_MODELS = 10_000
_HUB = "hf://"
_LATEST = "latest"


def load_catalog(path: str) -> tuple[Model, ...]:
    """The models of the file, in its order. PlanError with every fault."""
    where = f"catalogue {path}"
    loaded = load_mapping(path, where)
    unknown = [str(key) for key in loaded if key not in _FIELDS]
    faults = [f"{where}: unknown field {key!r}. {did_you_mean(key, _FIELDS)}" for key in unknown]
    entries = loaded.get("models")
    if not isinstance(entries, list) or not entries or len(entries) > _MAX_MODELS:
        found = f"{len(entries)} of them" if isinstance(entries, list) else type(entries).__name__
        raise PlanError([*faults, f"{where}: models: wanted a list of 1 to {_MAX_MODELS} models, found {found}"])
    common = {name: loaded[name] for name in _FOR_ALL if name in loaded}
    models = []
    for number, entry in enumerate(entries, 1):
        named = f" ({entry['source']})" if isinstance(entry, Mapping) and isinstance(entry.get("source"), str) else ""
        try:
            models.append(_model(entry, common, f"{where}: model {number}{named}"))
        except PlanError as error:
            faults += error.faults
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise PlanError(faults, fix="Nothing was begun: correct the catalogue and start again")
    return tuple(models)


def _model(entry: object, common: Mapping[str, object], where: str) -> Model:
    if not isinstance(entry, Mapping):
        raise InputError(f"{where}: wanted fields such as `source:` and `ladder:`, found {type(entry).__name__}")
    own = dict(entry)
    priority, revision = own.pop("priority", 0), own.pop("revision", None)
    faults = [f"{where}: {name} is given on the command line, for all models" for name in _ELSEWHERE if name in own]
    if isinstance(priority, bool) or not isinstance(priority, int):
        faults.append(f"{where}: priority: wanted a whole number, found {priority!r}")
    given = {**_shared(common, own), **{name: value for name, value in own.items() if name not in _ELSEWHERE}}
    if "source" not in given:
        faults.append(f"{where}: has no source")
    elif revision is not None:
        given["source"] = _pinned(given["source"], revision, where, faults)
    if "to" not in given and "target" not in given:
        faults.append(f"{where}: has no target, and the catalogue has none for all")
    if "ladder" not in given:
        faults.append(f"{where}: has no ladder, and the catalogue has none for all")
    faults += _field_faults(given, where)
    if faults:
        raise PlanError(faults)
    try:
        return Model(spec=JobSpec(**job_fields(given, where)), priority=priority)
    except InputError as error:
        raise InputError(f"{where}: {error.message.removeprefix(f'{where}: ')}", fix=error.fix) from error


def _shared(common: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
    """What the catalogue gives for all and the model does not have of its own, under either name."""
    return {name: value for name, value in common.items() if not (name == "target" and "to" in given)}


def _field_faults(given: Mapping[str, object], where: str) -> list[str]:
    """One by one, so that each is found."""
    faults = []
    for name, value in given.items():
        try:
            fields = job_fields({name: value}, where)
        except InputError as error:
            faults.append(str(error))
            continue
        if "ladder" in fields:
            faults += [f"{where}: {fault}" for fault in resolve(fields["ladder"], NO_OPTIONS)[1]]
    return faults


def _pinned(source: object, revision: object, where: str, faults: list[str]) -> object:
    """The source at its revision; "latest" is what the hub's default branch is when a run begins."""
    place = source.removeprefix(_HUB).split("/", 2) if isinstance(source, str) and source.startswith(_HUB) else []
    if not isinstance(revision, str):
        faults.append(f"{where}: revision: wanted text, such as {_LATEST} or a commit in quotes, found {revision!r}")
    elif len(place) < 2 or "@" in place[1]:
        faults.append(f"{where}: revision: wanted a source {_HUB}org/name without one of its own, found {source!r}")
    elif revision != _LATEST:
        place[1] += f"@{quote(revision, safe='')}"
        return _HUB + "/".join(place)
    return source

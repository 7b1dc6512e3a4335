"""Job files: YAML with the fields of the command line, and options for every rung of its own.

Paths in it are as they would be on the command line: relative to where the command runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ggufactory.calibrate.coverage import Coverage
from ggufactory.calibrate.settings import CalibrationSettings
from ggufactory.container.metadata import KeyValue, ValueType
from ggufactory.errors import InputError, did_you_mean
from ggufactory.evaluate.settings import EvaluationSettings
from ggufactory.job.job_spec import parse_size
from ggufactory.job.yaml_file import load_mapping
from ggufactory.plan.ftypes import file_type
from ggufactory.plan.ladder import Rung
from ggufactory.plan.options import Options


def load_job(path: str) -> dict[str, Any]:
    """The fields of JobSpec that the file gives. InputError that names the field."""
    where = f"job file {path}"
    return job_fields(load_mapping(path, where), where)


def job_fields(loaded: Mapping[Any, object], where: str) -> dict[str, Any]:
    """The fields of JobSpec that a mapping gives. InputError that begins with `where` and names the field."""
    fields = _parse(loaded, {**_JOB_FIELDS, **_OPTION_FIELDS}, where)
    options = {name: fields.pop(name) for name in _OPTION_FIELDS if name in fields}
    if "calibrate" in fields:
        fields["calibrate"] = _calibration(fields["calibrate"], f"{where}: calibrate")
    if "evaluate" in fields:
        fields["evaluate"] = _evaluation(fields["evaluate"], where)
    if "ladder" in fields:
        fields["ladder"] = tuple(_rung(entry, where) for entry in fields["ladder"])
    for given, name in (
        ("span_size", "span_bytes"),
        ("split_max_size", "split_bytes"),
        ("target", "to"),
        ("calibrate", "calibration"),
        ("evaluate", "evaluation"),
    ):
        if given in fields and name in fields:
            raise InputError(f"{where}: {given} and {name} are the same field, wanted one of them")
        if given in fields:
            fields[name] = fields.pop(given)
    return {**fields, "options": Options(**options)}


def _rung(entry: object, where: str) -> str | Rung:
    """A name, or a mapping: `type` is the file type, `name` names the file, the rest are options."""
    if isinstance(entry, str):
        return entry.strip()
    if not isinstance(entry, Mapping) or not isinstance(entry.get("type"), str):
        raise InputError(f"{where}: ladder: wanted a rung's name or a mapping with its `type`, found {entry!r}")
    fields = _parse(entry, {"type": _text, "name": _text, **_OPTION_FIELDS}, f"{where}: ladder")
    kind = file_type(fields.pop("type"))
    return Rung(fields.pop("name", kind.name), kind, Options(**fields))


def _calibration(given: Mapping[Any, object], where: str) -> CalibrationSettings:
    """`text`: files, or "default"; `coverage`: a policy's name, or a mapping with it as `policy`."""
    fields = _parse(given, _CALIBRATION_FIELDS, where)
    if "coverage" in fields:
        coverage = fields["coverage"]
        asked = {"policy": coverage} if isinstance(coverage, str) else coverage
        parsed = _parse(asked, {"policy": _text, "tokens": _number, "chunks": _number}, f"{where}: coverage")
        fields["coverage"] = Coverage(**{_COVERAGE_NAMES.get(name, name): value for name, value in parsed.items()})
    return CalibrationSettings(**{_CALIBRATION_NAMES.get(name, name): value for name, value in fields.items()})


def _evaluation(given: Mapping[Any, object], where: str) -> EvaluationSettings:
    fields = _parse(given, _EVALUATION_FIELDS, f"{where}: evaluate")
    try:
        return EvaluationSettings(**{_CALIBRATION_NAMES.get(name, name): value for name, value in fields.items()})
    except InputError as error:
        raise InputError(f"{where}: {error.message}", fix=error.fix) from error


Parser = Callable[[object], Any]


def _parse(given: Mapping[Any, object], parsers: Mapping[str, Parser], where: str) -> dict[str, Any]:
    parsed = {}
    for key, value in given.items():
        if key not in parsers:
            raise InputError(f"{where}: unknown field {key!r}", fix=did_you_mean(str(key), parsers))
        try:
            parsed[str(key)] = parsers[key](value)
        except _WantedError as error:
            raise InputError(f"{where}: {key}: wanted {error}, found {value!r}") from error
    return parsed


class _WantedError(Exception):
    """The value is of another kind; the message says which was wanted."""


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _WantedError("text")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _WantedError("a whole number")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _WantedError("true or false")
    return value


def _binary_size(value: object) -> int:
    return parse_size(str(value))


def _decimal_size(value: object) -> int:
    return parse_size(str(value), unit=1000)


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _WantedError("text or a list of texts")
    return tuple(value)


def _numbers(value: object) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise _WantedError("a list of whole numbers")
    return tuple(_number(item) for item in value)


def _ladder(value: object) -> tuple[object, ...]:
    if isinstance(value, str):
        return tuple(rung.strip() for rung in value.split(",") if rung.strip())
    if not isinstance(value, list):
        raise _WantedError("a list of rungs")
    return tuple(value)


def _names(value: object) -> tuple[str, ...]:
    return tuple(_text(name).strip() for name in _ladder(value))


def _tensor_types(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        raise _WantedError("a mapping of regular expressions to tensor types")
    return tuple((_text(pattern).lower(), _text(kind).upper()) for pattern, kind in value.items())


def _upper(value: object) -> str:
    return _text(value).upper()


def _mapping(value: object) -> Mapping[Any, object]:
    if not isinstance(value, Mapping):
        raise _WantedError("a mapping of fields")
    return value


def _policy(value: object) -> str | Mapping[Any, object]:
    return value if isinstance(value, str) else _mapping(value)


def _metadata(value: object) -> tuple[KeyValue, ...]:
    if not isinstance(value, Mapping):
        raise _WantedError("a mapping of keys to values")
    return tuple(key_value(_text(key), item) for key, item in value.items())


def key_value(key: str, value: object) -> KeyValue:
    """A key to set, typed as llama-quantize's --override-kv does: whole numbers are UINT32."""
    if isinstance(value, bool):
        return KeyValue(key, ValueType.BOOL, value)
    if isinstance(value, int):
        return KeyValue(key, ValueType.UINT32, abs(value) & 0xFFFFFFFF)
    if isinstance(value, float):
        return KeyValue(key, ValueType.FLOAT32, value)
    return KeyValue(key, ValueType.STRING, _text(value))


_OPTION_FIELDS: dict[str, Parser] = {
    "tensor_types": _tensor_types,
    "output_type": _upper,
    "token_embedding_type": _upper,
    "pure": _flag,
    "leave_output": _flag,
    "include_importance": _texts,
    "exclude_importance": _texts,
    "metadata": _metadata,
}

_CALIBRATION_FIELDS: dict[str, Parser] = {
    "text": _texts,
    "context": _number,
    "chunks": _number,
    "compute_dtype": _text,
    "hidden_memory": _binary_size,
    "coverage": _policy,
}
_EVALUATION_FIELDS: dict[str, Parser] = {
    "text": _texts,
    "ladder": _names,
    "context": _number,
    "chunks": _number,
    "compute_dtype": _text,
    "hidden_memory": _binary_size,
    "device": _text,
    "activations": _text,
}
_CALIBRATION_NAMES = {"text": "texts", "hidden_memory": "hidden_bytes"}
_COVERAGE_NAMES = {"chunks": "most_chunks"}

_JOB_FIELDS: dict[str, Parser] = {
    "source": _text,
    "to": _text,
    "target": _text,
    "ladder": _ladder,
    "imatrix": _texts,
    "calibrate": _mapping,
    "evaluate": _mapping,
    "name": _text,
    "ray_address": _text,
    "workers": _number,
    "device": _text,
    "span_size": _binary_size,
    "split_max_size": _decimal_size,
    "prune_layers": _numbers,
    "keep_split": _flag,
    "allow_requantize": _flag,
    "exact_source": _flag,
    "pre_tokenizer": _text,
    "metadata_file": _text,
    "card": _text,
    "sign_key": _text,
}

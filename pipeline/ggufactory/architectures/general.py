"""The `general.*` keys: what the model is called, where it comes from, how to sample from it.

They are derived from the model card's front matter, config.json, generation_config.json and the name of
the folder by the heuristics of gguf-py, which this calls; order and types are those of its
`Metadata.set_gguf_meta_model`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from gguf.metadata import Metadata

from ggufactory.architectures.key_values import KeyValues
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.json_object import clip, parse_json_object
from ggufactory.errors import InputError

MAX_CARD_BYTES = 16 << 20
MAX_FRONT_MATTER_BYTES = 512 << 10
MAX_SMALL_JSON_BYTES = 1 << 20

_SAMPLING_KEYS = (
    ("sequence", "text", ("sequence",)),
    ("top_k", "int32", ("top_k",)),
    ("top_p", "float32", ("top_p",)),
    ("min_p", "float32", ("min_p",)),
    ("xtc_probability", "float32", ("xtc_probability",)),
    ("xtc_threshold", "float32", ("xtc_threshold",)),
    ("temp", "float32", ("temperature",)),
    ("penalty_last_n", "int32", ("penalty_last_n",)),
    ("penalty_repeat", "float32", ("penalty_repeat", "repetition_penalty")),
    ("mirostat", "int32", ("mirostat",)),
    ("mirostat_tau", "float32", ("mirostat_tau",)),
    ("mirostat_eta", "float32", ("mirostat_eta",)),
)
"""Key, its type, and the names in generation_config.json of which the first that is there counts."""

_BEFORE_LICENSE = (
    "name",
    "author",
    "version",
    "organization",
    "finetune",
    "basename",
    "description",
    "quantized_by",
    "size_label",
)
_AFTER_LICENSE = (
    ("license.name", "license_name"),
    ("license.link", "license_link"),
    ("url", "url"),
    ("doi", "doi"),
    ("uuid", "uuid"),
    ("repo_url", "repo_url"),
    ("source.url", "source_url"),
    ("source.doi", "source_doi"),
    ("source.uuid", "source_uuid"),
    ("source.repo_url", "source_repo_url"),
)
_LISTS = ("base_models", "datasets", "tags", "languages")
_RELATED_FIELDS = (
    "name",
    "author",
    "version",
    "organization",
    "description",
    "url",
    "doi",
    "uuid",
    "repo_url",
)


def add_general(
    out: KeyValues,
    checkpoint: Checkpoint,
    parameters: int,
    size_label: str,
    overrides: Mapping[str, object],
) -> None:
    """Everything from `general.type` to `general.languages`.

    `parameters`: the model's weights; `size_label`: used where no name tells the size; `overrides`: by key.
    """
    found = _derive(checkpoint, parameters)
    _override(found, overrides)
    if found.size_label is None and parameters > 0:
        found.size_label = size_label
    out.text("general.type", "model")
    _add_sampling(out, _generation_config(checkpoint), overrides)
    for name in _BEFORE_LICENSE:
        _add_text(out, f"general.{name}", getattr(found, name))
    license_ = found.license
    if isinstance(license_, list) and all(isinstance(name, str) for name in license_):
        license_ = ",".join(license_)
    _add_text(out, "general.license", license_)
    for key, name in _AFTER_LICENSE:
        _add_text(out, f"general.{key}", getattr(found, name))
    _add_related(out, "base_model", found.base_models)
    _add_related(out, "dataset", found.datasets)
    out.texts("general.tags", found.tags or ())
    out.texts("general.languages", found.languages or ())


def _derive(checkpoint: Checkpoint, parameters: int) -> Metadata:
    card = model_card(checkpoint)
    config = checkpoint.read_json("config.json")
    try:
        found = Metadata.apply_metadata_heuristic(Metadata(), card, config, Path(checkpoint.name), parameters)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"README.md or config.json describe the model in an unknown way: {error}",
            fix="Correct the front matter of README.md, and _name_or_path in config.json",
        ) from error
    if found.name is None:
        found.name = checkpoint.name
    return found


def model_card(checkpoint: Checkpoint) -> dict[str, Any]:
    """The YAML front matter of README.md; empty where there is none. InputError when it is no YAML."""
    data = checkpoint.read_file("README.md", limit=MAX_CARD_BYTES)
    if data is None:
        return {}
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"README.md is not UTF-8 text: {error}", fix="Save it as UTF-8") from None
    if not lines or lines[0] != "---":
        return {}
    end = lines.index("---", 1) if "---" in lines[1:] else len(lines)
    # As the reference does: `no` is Norwegian where it stands alone, and tabs are no YAML.
    front = ("\n".join(lines[1:end]) + "\n").replace("- no\n", '- "no"\n').replace("\t", "  ")
    if len(front) > MAX_FRONT_MATTER_BYTES:
        raise InputError(f"README.md: front matter of {len(front):,} characters, at most {MAX_FRONT_MATTER_BYTES:,}")
    try:
        value = yaml.safe_load(front)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"README.md: the front matter is not valid YAML: {reason}", fix="Correct it") from None
    return value if isinstance(value, dict) else {}


def _generation_config(checkpoint: Checkpoint) -> dict[str, Any]:
    data = checkpoint.read_file("generation_config.json", limit=MAX_SMALL_JSON_BYTES)
    if data is None:
        return {}
    try:
        return parse_json_object(data, "generation_config.json")
    except InputError:
        # The reference goes on without a generation_config.json that it cannot parse.
        return {}


def _override(found: Metadata, overrides: Mapping[str, object]) -> None:
    """Source: `Metadata.load`, which takes a model's base models and datasets as arrays."""
    known = {f"general.{key}": name for key, name in _AFTER_LICENSE}
    known |= {f"general.{name}": name for name in (*_BEFORE_LICENSE, *_LISTS)}
    sampling = {f"general.sampling.{name}" for name, _, _ in _SAMPLING_KEYS}
    if unknown := overrides.keys() - known - sampling:
        raise InputError(f"metadata: {', '.join(sorted(unknown))}: no such key; known: {', '.join(sorted(known))}")
    for key in overrides.keys() & known:
        if known[key] in _LISTS and not isinstance(overrides[key], list):
            raise InputError(f"metadata: {key} is {clip(overrides[key])}, wanted an array")
        setattr(found, known[key], overrides[key])


def _add_sampling(out: KeyValues, config: dict[str, Any], overrides: Mapping[str, object]) -> None:
    for name, kind, sources in _SAMPLING_KEYS:
        key = f"general.sampling.{name}"
        value = next((config[source] for source in sources if source in config), None)
        value = overrides.get(key, value)
        if value is None:
            continue
        if kind == "text":
            out.text(key, value)
        elif kind == "int32":
            out.int32(key, value)
        else:
            out.float32(key, value)


def _add_text(out: KeyValues, key: str, value: object) -> None:
    if value is not None:
        out.text(key, value)


def _add_related(out: KeyValues, kind: str, entries: Sequence[dict[str, object]] | None) -> None:
    if entries is None:
        return
    out.uint32(f"general.{kind}.count", len(entries))
    for number, entry in enumerate(entries):
        for field in _RELATED_FIELDS:
            if field in entry:
                out.text(f"general.{kind}.{number}.{field}", entry[field])

"""The flags that describe a job, and the JobSpec that they and a job file make."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from ggufactory.calibrate.settings import CalibrationSettings
from ggufactory.cli.coverage_flags import add_coverage_flags, coverage_of
from ggufactory.container.metadata import KeyValue
from ggufactory.errors import InputError
from ggufactory.evaluate.settings import EvaluationSettings
from ggufactory.job.job_file import key_value, load_job
from ggufactory.job.job_spec import DEVICES, JobSpec, parse_size
from ggufactory.job.sync import IF_LOCKED
from ggufactory.plan.ladder import LADDERS
from ggufactory.plan.options import NO_OPTIONS, Options

_GRACE_SECONDS = 25.0
"""Less than the 30 that Kubernetes gives a pod to end."""
_LONGEST_GRACE_SECONDS = 86400


def add_job_flags(parser: argparse.ArgumentParser) -> None:
    """Every flag that `plan` and `quantize` share."""
    add = parser.add_argument
    add(
        "source",
        nargs="?",
        metavar="SOURCE",
        help="a folder of safetensors or a .gguf file, local, on s3:// or on hf://",
    )
    add("--to", metavar="TARGET", help="a folder or s3://bucket/prefix")
    named = ", ".join(LADDERS)
    add("--ladder", metavar="RUNGS", help=f"file types of llama-quantize: Q8_0,Q4_K_M; or a ladder: {named}")
    add("--imatrix", metavar="FILE", action="append", help="a file of llama-imatrix; several are merged")
    add("--name", help="of the files: NAME-RUNG.gguf (default: the last part of SOURCE)")
    add("--split-max-size", metavar="SIZE", help="split files with more tensor bytes than this, such as 45G")
    add("--keep-split", action="store_true", default=None, help="split files as the GGUF source is split")
    add("--span-size", metavar="SIZE", help="wished source bytes of a span, such as 64M (default: by the model)")
    add("--job", metavar="JOB.yaml", help="read these fields from a file; flags override it")
    _add_calibration_flags(parser)
    _add_evaluation_flags(parser)
    _add_conversion_flags(parser)
    _add_option_flags(parser)


def add_cluster_flags(parser: argparse.ArgumentParser) -> None:
    """Where a job runs."""
    add_run_flags(parser, if_locked=None)
    parser.add_argument("--device", choices=DEVICES, help="what quantizes (default: auto)")


def add_run_flags(parser: argparse.ArgumentParser, *, if_locked: str | None) -> None:
    """Of everything that runs jobs. `if_locked`: what to do when another run holds the target's lease, where
    nothing else is asked for; None: take no lease."""
    add = parser.add_argument_group("where and how it runs").add_argument
    add("--ray-address", metavar="ADDR", help="join this Ray cluster ('auto': the one on this machine)")
    add("--workers", type=int, metavar="N", help="spans at once on an embedded Ray (default: one per core)")
    add("--dashboard", action="store_true", default=None, help="serve Ray's dashboard while an embedded Ray runs")
    told = "none, take no lease" if if_locked is None else if_locked
    add(
        "--if-locked",
        choices=IF_LOCKED,
        default=if_locked,
        help=f"when another run holds the lease of the target: end with code 0 or with code 5 (default: {told})",
    )
    add(
        "--grace",
        type=_seconds,
        metavar="SECONDS",
        default=_GRACE_SECONDS,
        help="after SIGTERM, time for what has begun to end (default: %(default)g)",
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _LONGEST_GRACE_SECONDS:
        raise argparse.ArgumentTypeError(f"wanted 0 to {_LONGEST_GRACE_SECONDS}, found {text!r}")
    return seconds


def _add_calibration_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("an importance matrix that the job makes first (as `ggufactory calibrate`)")
    add = group.add_argument
    add(
        "--calibrate-text",
        metavar="FILE",
        action="append",
        help="calibration text in UTF-8, or 'default', which comes with the package; may be repeated",
    )
    add("--calibrate-context", type=int, metavar="N", help="tokens of a chunk (default: 512)")
    add("--calibrate-chunks", type=int, metavar="N", help="at most so many chunks (default: all)")
    add_coverage_flags(group)


def _add_evaluation_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group(
        "the quality of the rungs, once they are made (as `ggufactory evaluate`)"
    ).add_argument
    add("--evaluate-text", metavar="FILE", action="append", help="evaluation text in UTF-8; may be repeated")
    add("--evaluate-context", type=int, metavar="N", help="tokens of a chunk (default: 512)")
    add("--evaluate-chunks", type=int, metavar="N", help="at most so many chunks (default: all)")
    add("--no-evaluate", action="store_true", help="evaluate nothing, whatever the job file says")


def add_release_flags(parser: argparse.ArgumentParser) -> None:
    """What lies beside the artifacts."""
    add = parser.add_argument_group("what lies beside the artifacts").add_argument
    add("--card", metavar="FILE", help="Markdown that the model card begins with, with front matter or without")
    add("--sign-key", metavar="FILE", help="minisign's secret key, to sign the manifest and SHA256SUMS with")


def _add_conversion_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("how a checkpoint is converted").add_argument
    add("--exact-source", action="store_true", default=None, help="do not round FP8, F16 and F32 weights to BF16 first")
    add("--pre", metavar="NAME", dest="pre_tokenizer", help="llama.cpp's name of an unknown pre-tokenizer")
    add("--metadata", metavar="FILE", dest="metadata_file", help="JSON of general.* keys instead of the model card's")


def _add_option_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("llama-quantize's options, for every rung").add_argument
    add("--tensor-type", metavar="REGEX=TYPE", action="append", help="type of tensors by name; the first match decides")
    add("--output-tensor-type", metavar="TYPE", help="type of output.weight")
    add("--token-embedding-type", metavar="TYPE", help="type of the token embeddings")
    add("--pure", action="store_true", default=None, help="no mix: every tensor takes the file type's base type")
    add("--leave-output-tensor", action="store_true", default=None, help="leave output.weight as it is")
    add("--include-weights", metavar="TEXT", action="append", help="use importance only where the name holds this")
    add("--exclude-weights", metavar="TEXT", action="append", help="use no importance where the name holds this")
    add("--override-kv", metavar="KEY=TYPE:VALUE", action="append", help="set a metadata key (int, float, bool, str)")
    add("--allow-requantize", action="store_true", default=None, help="also from tensors that are already quantized")
    add("--prune-layers", metavar="N,N…", help="leave these layers out")


_AS_GIVEN = (
    "source",
    "to",
    "name",
    "ray_address",
    "workers",
    "dashboard",
    "device",
    "keep_split",
    "allow_requantize",
    "exact_source",
    "pre_tokenizer",
    "metadata_file",
    "card",
    "sign_key",
)
"""Flags that are fields of JobSpec as they are."""


def job_spec(flags: argparse.Namespace) -> JobSpec:
    """The job file's fields, and over them the flags that were given."""
    asked: dict[str, Any] = load_job(flags.job) if flags.job else {}
    for name in _AS_GIVEN:
        if getattr(flags, name, None) is not None:
            asked[name] = getattr(flags, name)
    if flags.ladder is not None:
        asked["ladder"] = tuple(r.strip() for r in flags.ladder.split(",") if r.strip())
    if flags.imatrix is not None:
        asked["imatrix"] = tuple(flags.imatrix)
    if flags.span_size is not None:
        asked["span_bytes"] = parse_size(flags.span_size)
    if flags.split_max_size is not None:
        asked["split_bytes"] = parse_size(flags.split_max_size, unit=1000)
    if flags.prune_layers is not None:
        asked["prune_layers"] = _numbers(flags.prune_layers)
    calibration = _calibration(flags, asked.get("calibration"))
    if calibration is not None:
        asked["calibration"] = calibration
    asked["evaluation"] = _evaluation(flags, asked.get("evaluation"))
    if "source" not in asked:
        raise InputError("no source", fix="Name a checkpoint: a folder or a .gguf file, local, on s3:// or on hf://")
    asked.setdefault("ladder", ())
    asked["options"] = _options(flags).over(asked.get("options", NO_OPTIONS))
    return JobSpec(**asked)


def _calibration(flags: argparse.Namespace, of_file: CalibrationSettings | None) -> CalibrationSettings | None:
    """The file's settings, and over them the flags that were given; a text asks for a calibration."""
    given = {"context": flags.calibrate_context, "chunks": flags.calibrate_chunks}
    asked: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if flags.calibrate_text is not None:
        asked["texts"] = tuple(flags.calibrate_text)
    settings = of_file or (CalibrationSettings() if flags.calibrate_text is not None else None)
    if settings is None:
        if asked or flags.coverage or flags.coverage_tokens is not None or flags.coverage_chunks is not None:
            raise InputError(
                "flags of a calibration are given, and no calibration text", fix="Add --calibrate-text FILE, or default"
            )
        return None
    return replace(settings, coverage=coverage_of(flags, settings.coverage), **asked)


def _evaluation(flags: argparse.Namespace, of_file: EvaluationSettings | None) -> EvaluationSettings | None:
    """The file's settings, and over them the flags that were given; a text asks for an evaluation."""
    given = {"texts": flags.evaluate_text, "context": flags.evaluate_context, "chunks": flags.evaluate_chunks}
    asked: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if flags.no_evaluate:
        if asked:
            raise InputError("--no-evaluate and flags of an evaluation are both given", fix="Leave one of them out")
        return None
    if "texts" in asked:
        asked["texts"] = tuple(asked["texts"])
    if of_file is None:
        if asked and "texts" not in asked:
            raise InputError("flags of an evaluation are given, and no evaluation text", fix="Add --evaluate-text FILE")
        return EvaluationSettings(**asked) if asked else None
    return replace(of_file, **asked)


def _options(flags: argparse.Namespace) -> Options:
    return Options(
        tensor_types=tuple(_tensor_type(text) for text in flags.tensor_type or ()),
        output_type=flags.output_tensor_type and flags.output_tensor_type.upper(),
        token_embedding_type=flags.token_embedding_type and flags.token_embedding_type.upper(),
        pure=bool(flags.pure),
        leave_output=bool(flags.leave_output_tensor),
        include_importance=tuple(flags.include_weights or ()),
        exclude_importance=tuple(flags.exclude_weights or ()),
        metadata=tuple(_override(text) for text in flags.override_kv or ()),
    )


def _tensor_type(text: str) -> tuple[str, str]:
    # The pattern itself may hold "=", a type never does.
    pattern, separator, kind = text.rpartition("=")
    if not separator or not pattern:
        raise InputError(f"--tensor-type {text!r}: wanted REGEX=TYPE, such as attn_v=Q8_0")
    return pattern.lower(), kind.upper()


def _override(text: str) -> KeyValue:
    key, _, typed = text.partition("=")
    kind, separator, value = typed.partition(":")
    try:
        if key and separator and kind == "int":
            return key_value(key, int(value))
        if key and separator and kind == "float":
            return key_value(key, float(value))
        if key and separator and kind == "bool":
            return key_value(key, {"true": True, "false": False}[value])
        if key and separator and kind == "str":
            return key_value(key, value)
    except (ValueError, KeyError) as error:
        raise InputError(f"--override-kv {text!r}: {value!r} is no {kind}") from error
    raise InputError(f"--override-kv {text!r}: wanted KEY=TYPE:VALUE with int, float, bool or str as type")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise InputError(f"--prune-layers {text!r}: wanted numbers such as 3,4,5") from error

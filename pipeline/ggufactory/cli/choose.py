"""`ggufactory choose`: the rung of a target to take for a memory, and why."""

from __future__ import annotations

import argparse
import json
import math

from ggufactory.choice.choose import Candidate, Choice, Where, choose, smallest
from ggufactory.choice.hyperparameters import Hyperparameters
from ggufactory.choice.need import GIB, KEPT_FREE, Need, layers_that_fit, need_of, usual_context
from ggufactory.cli.help_format import HelpFormatter
from ggufactory.cli.help_texts import CHOOSE, EXIT_CODES
from ggufactory.errors import InputError
from ggufactory.job.measured_target import MeasuredTarget, read_target
from ggufactory.publish.guide import in_gib, reason_of

_MOST_GB = 1 << 20
_MOST_CONTEXT = 1 << 24
_SHORTEST = 512
"""Tokens of the shortest context that is worth advising."""
_STEP = 256
"""Contexts that are advised are multiples of it, as llama.cpp rounds them."""


def add_choose_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "choose",
        help="say which rung to take for a memory",
        description=CHOOSE,
        epilog=EXIT_CODES,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add("target", metavar="TARGET", help="a folder, s3://bucket/prefix or hf://org/name with a manifest.json")
    add("--vram", type=float, metavar="GB", default=0.0, help="memory of the GPU or GPUs, in GB of 2**30 bytes")
    add("--ram", type=float, metavar="GB", default=0.0, help="memory of the machine, for what the GPU does not hold")
    add("--context", type=int, metavar="N", help="tokens (default: 8192, or what the model was trained with if less)")
    add("--name", help="of the model, where the target has several")
    add("--json", action="store_true", help="print the choice as JSON")
    parser.set_defaults(command=_choose)


def _choose(options: argparse.Namespace) -> int:
    vram, ram = (_bytes(flag, getattr(options, flag)) for flag in ("vram", "ram"))
    if not vram and not ram:
        raise InputError("no memory is given", fix="Give --vram GB, --ram GB, or both")
    target = read_target(options.target, options.name)
    model = target.hyperparameters
    context = usual_context(model) if options.context is None else options.context
    if not 0 < context <= _MOST_CONTEXT:
        raise InputError(f"--context {context}: wanted 1 to {_MOST_CONTEXT:,}")
    rungs = target.model.candidates()
    found = choose(rungs, model, context, vram=vram, ram=ram)
    if found is None:
        raise _nothing_fits(options.target, smallest(rungs), model, context, vram, ram)
    if options.json:
        print(json.dumps(_as_json(found, target, context), indent=1))
    else:
        _tell(found, target, context)
    return 0


def _bytes(flag: str, given: float) -> int:
    if not (math.isfinite(given) and 0 <= given <= _MOST_GB):
        raise InputError(f"--{flag} {given:g}: wanted a number of GB, such as 8")
    return int(given * GIB)


def _tell(found: Choice, target: MeasuredTarget, context: int) -> None:
    first = target.first_file(found.rung.name)
    print(f"{found.rung.name}  ({first})")
    print(f"  why     {reason_of(found)}")
    print(f"  needs   {_needs(found.need, context)}")
    print(f"  memory  {in_gib(found.memory)} of {found.where} may be used; {in_gib(KEPT_FREE)} of each stays free")
    layers = "" if found.where is Where.RAM else f" -ngl {found.gpu_layers}"
    print(f"  run     llama-server -m {first} -c {context}{layers}")
    if left_out := target.not_comparable:
        print(f"  note    not measured, or not as the others were: {', '.join(left_out)}")


def _needs(need: Need, context: int) -> str:
    parts = f"files {in_gib(need.weights)}, context of {context:,} tokens {in_gib(need.cache)}"
    return f"{in_gib(need.total)}: {parts}, compute buffers {in_gib(need.compute)}"


def _nothing_fits(
    target: str, rung: Candidate, model: Hyperparameters, context: int, vram: int, ram: int
) -> InputError:
    need = need_of(rung.bytes, model, context)
    given = " and ".join(f"{in_gib(size)} of {kind}" for kind, size in (("VRAM", vram), ("RAM", ram)) if size)
    usable = sum(max(size - KEPT_FREE, 0) for size in (vram, ram))
    missing = _in_tenths(need.total - usable + (0 if ram else KEPT_FREE))
    fixes = [f"With {missing} more of RAM it fits (--ram)"]
    if vram and not ram:
        layers = layers_that_fit(need, model, vram - KEPT_FREE)
        fixes = [
            f"With {missing} of RAM besides (--ram), llama.cpp runs it with {layers} of {model.layers + 1} layers on "
            f"the GPU (-ngl {layers})"
        ]
    if shorter := _context_that_fits(rung, model, context, usable):
        fixes.append(f"with --context {shorter} it fits as it is")
    return InputError(
        f"{target}: no rung fits into {given}: the smallest, {rung.name}, needs {_needs(need, context)}, and "
        f"{in_gib(KEPT_FREE)} of each memory stays free",
        fix="; ".join(fixes),
    )


def _in_tenths(count: int) -> str:
    """As `in_gib`, and never less than `count`: what is advised has to be enough."""
    return f"{math.ceil(10 * count / GIB) / 10:.1f} GiB"


def _context_that_fits(rung: Candidate, model: Hyperparameters, context: int, memory: int) -> int | None:
    """The longest of a half, a quarter, … of `context`; None where even a short one is too much."""
    halves = ((context >> times) // _STEP * _STEP for times in range(1, context.bit_length()))
    fitting = (half for half in halves if half >= _SHORTEST and need_of(rung.bytes, model, half).total <= memory)
    return next(fitting, None)


def _as_json(found: Choice, target: MeasuredTarget, context: int) -> dict[str, object]:
    need = found.need
    return {
        "name": target.model.name,
        "rung": found.rung.name,
        "files": target.files(found.rung.name),
        "why": reason_of(found),
        "divergence": found.rung.divergence,
        "divergence_error": found.rung.error if found.rung.divergence is not None else None,
        "bits_per_weight": found.rung.bits_per_weight,
        "context": context,
        "needs": {"weights": need.weights, "cache": need.cache, "compute": need.compute, "total": need.total},
        "where": found.where.value,
        "may_use": found.memory,
        "gpu_layers": found.gpu_layers,
        "not_comparable": target.not_comparable,
    }

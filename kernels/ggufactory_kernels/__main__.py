"""What the kernels can do here: `explain`, and `compile`, which needs no GPU."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Iterator

from ggufactory_kernels import backends, cpu, triton_check
from ggufactory_kernels.cuda import compiler
from ggufactory_kernels.cuda.kernels import KERNELS
from ggufactory_kernels.cuda.report import KernelReport, report
from ggufactory_kernels.types import TENSOR_TYPES


def explain() -> str:
    """One line for each instruction set, for the GPU, and for what decodes packed sources there; then one for each
    tensor type."""
    best = cpu.best_instruction_set()
    lines = ["cpu: instruction sets of this build, best first"]
    for name, supported in cpu.INSTRUCTION_SETS.items():
        reason = "used: the best that this machine has" if name == best else "available"
        lines.append(f"  {name:<10} {reason if supported else 'not available: this machine lacks it'}")
    missing = backends.missing("cuda", "Q8_0")
    lines.append(f"cuda: {'available, compiled at first use' if missing is None else f'not available: {missing}'}")
    lines.append(f"triton: {_decoding(on_gpu=missing is None)}")
    lines.append("types:")
    for name in TENSOR_TYPES:
        lines.append(f"  {name:<8} {', '.join(_serving(name, best)) or 'none: no kernel in this build'}")
    return "\n".join(lines)


def _decoding(*, on_gpu: bool) -> str:
    reason = triton_check.missing() if on_gpu else "without cuda nothing is decoded there"
    if reason is None:
        return "available: FP8, int8, GPTQ and AWQ weights are decoded on the GPU"
    return f"not available: {reason}; the CPU decodes packed weights"


def _serving(type_: str, best: str) -> Iterator[str]:
    if backends.missing("cpu", type_) is None:
        yield f"cpu/{best}: compiled kernel"
    if backends.missing("cuda", type_) is None:
        yield "cuda: compiled at first use"


def compile_all(architecture: str, names: list[str], *, as_json: bool) -> int:
    """Compile kernels and print what came out; 1 where the compiler is missing or refuses one."""
    missing = compiler.missing()
    if missing is not None:
        print(f"kernels cannot be compiled: {missing}", file=sys.stderr)
        return 1
    reports = []
    try:
        for found in report([KERNELS[name] for name in names or KERNELS], architecture):
            reports.append(found)
            if not as_json:
                print(_line(found), flush=True)
    except compiler.CompilerError as error:
        print(error, file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps({"kernels": [dataclasses.asdict(found) for found in reports]}))
    return 0


def _line(found: KernelReport) -> str:
    return (
        f"{found.name:<28} {found.registers:>3} registers, {found.spill_bytes} bytes spilled, "
        f"{found.stack_bytes} of stack, {found.shared_bytes} shared, {found.fma_instructions} fused multiply-adds"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m ggufactory_kernels", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    commands.add_parser("explain", help="which backend serves which tensor type here, and why")
    compiling = commands.add_parser("compile", help="compile the CUDA kernels, and say what registers they use")
    compiling.add_argument("--arch", choices=compiler.ARCHITECTURES, default="sm_90")
    compiling.add_argument("--json", action="store_true", help="one object instead of lines")
    compiling.add_argument(
        "--kernel", action="append", default=[], choices=KERNELS, metavar="NAME", help="only this one (repeatable)"
    )
    options = parser.parse_args()
    if options.command == "compile":
        return compile_all(options.arch, options.kernel, as_json=options.json)
    print(explain())
    return 0


def _main_until_enough() -> int:
    """`| head` has read enough: nothing is wrong, and Python's last flush shall not fail either."""
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


if __name__ == "__main__":
    sys.exit(_main_until_enough())

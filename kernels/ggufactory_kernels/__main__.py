"""`python -m ggufactory_kernels explain`: which backend serves which tensor type here, and why."""

from __future__ import annotations

import argparse

from ggufactory_kernels import cpu
from ggufactory_kernels.types import TENSOR_TYPES


def explain() -> str:
    """One line for each instruction set of the build, then one for each tensor type."""
    best = cpu.best_instruction_set()
    lines = ["cpu: instruction sets of this build, best first"]
    for name, supported in cpu.INSTRUCTION_SETS.items():
        reason = "used: the best that this machine has" if name == best else "available"
        lines.append(f"  {name:<10} {reason if supported else 'not available: this machine lacks it'}")
    lines.append("cuda: not in this build")
    lines.append("types:")
    for name in TENSOR_TYPES:
        if name in cpu.KERNEL_TYPES:
            lines.append(f"  {name:<8} cpu/{best}: compiled kernel")
        else:
            lines.append(f"  {name:<8} none: no kernel in this build")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ggufactory_kernels", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("explain", help="which backend serves which tensor type here, and why")
    parser.parse_args()
    print(explain())


if __name__ == "__main__":
    main()

"""What the compiler says of each kernel: registers, spills, stack, shared memory, fused operations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ggufactory_kernels.cuda.compiler import Compiled, CompilerError, compile_kernel
from ggufactory_kernels.cuda.kernels import Kernel

_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")
_FUSED = re.compile(r"^\s*fma\.[a-z.]*f(?:16|32|64|16x2|32x2)\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class KernelReport:
    """One kernel for one architecture."""

    name: str
    registers: int
    """Of a thread."""
    spill_bytes: int
    """Of a thread: registers that did not fit, stored and loaded again."""
    stack_bytes: int
    """Of a thread: its spills, and the arrays that are too long for registers."""
    shared_bytes: int
    """Of a thread block."""
    fma_instructions: int
    """Fused multiply-adds of floats in the PTX: each would round once where the reference rounds twice."""


def report(kernels: Iterable[Kernel], architecture: str) -> Iterator[KernelReport]:
    """Compile each kernel and say what came out, one after the other. CompilerError as of compile_kernel."""
    for kernel in kernels:
        yield describe(kernel.name, compile_kernel(kernel, architecture))


def describe(name: str, compiled: Compiled) -> KernelReport:
    """From the assembler's account in the compiler's log, and from the PTX."""
    # A kernel that uses functions of its own has an account for each; what counts is the most.
    stacks = [tuple(map(int, numbers)) for numbers in _STACK.findall(compiled.log)]
    registers = [int(number) for number in _REGISTERS.findall(compiled.log)]
    if not stacks or not registers:
        raise CompilerError(f"{name}: the compiler did not say what registers it uses: {compiled.log.strip()}")
    shared = [int(number) for number in _SHARED.findall(compiled.log)]
    return KernelReport(
        name,
        registers=max(registers),
        spill_bytes=max(max(stores, loads) for _, stores, loads in stacks),
        stack_bytes=max(stack for stack, _, _ in stacks),
        shared_bytes=max(shared, default=0),
        fma_instructions=len(_FUSED.findall(compiled.ptx)),
    )

"""NVRTC, NVIDIA's compiler of CUDA code at run time: a kernel's cubin, with no GPU and no driver."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ggufactory_kernels.cuda.kernels import THREADS, Kernel

CSRC = Path(__file__).parents[1] / "csrc"
ARCHITECTURES = ("sm_80", "sm_89", "sm_90", "sm_100", "sm_120")
"""What kernels are compiled for: A100, L4 and L40, H100 and H200, B200, RTX 50 and RTX PRO 6000."""

_EXACT_ARITHMETIC = ("-fmad=false", "-prec-div=true", "-prec-sqrt=true", "-ftz=false")
"""Parity is defined in plain IEEE arithmetic, one operation at a time: as in CMakeLists.txt for the CPU."""
_FLAGS = ("-std=c++17", *_EXACT_ARITHMETIC, f"-DGK_THREADS={THREADS}", "-default-device", "-diag-suppress=177")


@dataclass(frozen=True, slots=True)
class Compiled:
    """What one compilation gives."""

    cubin: bytes
    ptx: str
    log: str
    """With the assembler's account of registers, stack and spills."""


class CompilerError(RuntimeError):
    """NVRTC is there, and refused a kernel."""


def missing() -> str | None:
    """What is missing for compiling, and how to get it; None where nothing is."""
    if importlib.util.find_spec("cuda") is None or importlib.util.find_spec("cuda.bindings") is None:
        return "the extra is not installed: pip install 'ggufactory[cuda]'"
    try:
        compiler_version()
    except (ImportError, RuntimeError, CompilerError) as error:
        return f"NVRTC cannot be loaded ({error}): pip install 'ggufactory[cuda]'"
    return None


@cache
def compiler_version() -> str:
    """NVRTC's, such as "13.5"."""
    major, minor = _call("nvrtcVersion")
    return f"{major}.{minor}"


def compile_kernel(kernel: Kernel, architecture: str) -> Compiled:
    """Compile one kernel for one of ARCHITECTURES. CompilerError with the compiler's words."""
    return compile_source(kernel.name, kernel.source, architecture)


def compile_source(name: str, source: str, architecture: str) -> Compiled:
    """The same of any text, with the headers in `csrc/`."""
    program = _call("nvrtcCreateProgram", source.encode(), f"{name}.cu".encode(), 0, [], [])
    try:
        flags = [flag.encode() for flag in _flags(architecture)]
        (result,) = _nvrtc().nvrtcCompileProgram(program, len(flags), flags)
        log = _text("nvrtcGetProgramLog", program)
        if int(result) != 0:
            raise CompilerError(f"{name} for {architecture}: {log.strip()}")
        return Compiled(_output("nvrtcGetCUBIN", program), _text("nvrtcGetPTX", program), log)
    finally:
        _nvrtc().nvrtcDestroyProgram(program)


def fingerprint(kernel: Kernel, architecture: str) -> str:
    """Of everything that a cubin depends on: source, headers, flags, compiler and architecture."""
    parts = (kernel.source, _headers_digest(), *_flags(architecture), compiler_version())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@cache
def _headers_digest() -> str:
    digest = hashlib.sha256()
    for header in sorted(CSRC.rglob("*.h")):
        digest.update(f"{header.relative_to(CSRC)}\0".encode())
        digest.update(header.read_bytes() + b"\0")
    return digest.hexdigest()


def _flags(architecture: str) -> tuple[str, ...]:
    return (f"-arch={architecture}", *_FLAGS, "--ptxas-options=-v", f"-I{CSRC}")


def _nvrtc() -> Any:
    from cuda.bindings import nvrtc

    return nvrtc


def _call(name: str, *arguments: Any) -> Any:
    """One call of NVRTC, with its error as CompilerError."""
    result, *values = getattr(_nvrtc(), name)(*arguments)
    if int(result) != 0:
        raise CompilerError(f"{name}: {result.name}")
    return values[0] if len(values) == 1 else tuple(values)


def _output(name: str, program: Any) -> bytes:
    size = _call(f"{name}Size", program)
    buffer = bytes(size)
    _call(name, program, buffer)
    return buffer


def _text(name: str, program: Any) -> str:
    return _output(name, program).rstrip(b"\0").decode(errors="replace")

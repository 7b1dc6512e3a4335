"""The CUDA kernels' own source, compiled for the CPU: every thread of a launch runs, one after the other, and where
the threads of a warp meet, they take turns (emulated_warp.cc)."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

from ggufactory_kernels.cuda.compiler import CSRC
from ggufactory_kernels.cuda.kernels import KERNELS, THREADS, Kernel
from ggufactory_kernels.cuda.launch import Launch

_MAIN = """
template <class Kernel>
void run(const Launch& launch, int64_t thread_blocks, bool backwards) {
    typename Kernel::Shared shared;
    for (int64_t i = 0; i < thread_blocks; ++i) {
        Kernel::run(launch, ThreadBlock{backwards ? thread_blocks - 1 - i : i, backwards}, shared);
    }
}
"""


def _compile() -> list[str]:
    cmake = (CSRC.parents[1] / "CMakeLists.txt").read_text()
    switches = re.search(r"set\(exact_arithmetic ([^)]*)\)", cmake)
    assert switches is not None
    command = ["c++", "-std=c++17", "-O1", *switches[1].split(), "-shared", "-fPIC", "-DGK_SCALAR"]
    # The checked longjmp() knows one stack only.
    return [*command, "-U_FORTIFY_SOURCE", f"-DGK_THREADS={THREADS}", f"-I{CSRC}"]


COMPILE = _compile()
"""The compiler, and the CPU kernels' switches, for a shared library of what `csrc/` has for GPUs."""


def build(folder: Path) -> Path:
    """One shared library of all kernels, each under its own name, compiled with the CPU kernels' switches; where it
    is in `folder` already, that one."""
    source, library = folder / "emulated_cuda.cc", folder / "emulated_cuda.so"
    if library.exists():
        return library
    headers = sorted({header for kernel in KERNELS.values() for header in kernel.headers})
    lines = [f'#include "{header}"' for header in headers]
    lines += ["using namespace ggufactory;", _MAIN]
    for kernel in KERNELS.values():
        lines.append(
            f'extern "C" void {kernel.name}(const Launch* launch, int64_t thread_blocks, bool backwards) '
            f"{{ run<{kernel.spelling}>(*launch, thread_blocks, backwards); }}"
        )
    # The class, the linkage and the entry point are what NVRTC's source adds; the rest is the same text.
    source.write_text("\n".join(lines) + "\n")
    sources = [source, Path(__file__).with_name("emulated_warp.cc"), CSRC / "codebooks.cc"]
    unfinished = folder / "emulated_cuda.unfinished"
    subprocess.run([*COMPILE, *map(str, sources), "-o", str(unfinished)], check=True)
    return unfinished.replace(library)


class EmulatedGpu:
    """Runs launches on tensors in main memory."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self.backwards = False
        self.launched: list[str] = []

    def launch(self, kernel: Kernel, thread_blocks: int, arguments: Launch) -> None:
        self.launched.append(kernel.name)
        function = self._library[kernel.name]
        function.argtypes = [ctypes.POINTER(Launch), ctypes.c_int64, ctypes.c_bool]
        function.restype = None
        function(ctypes.byref(arguments), thread_blocks, self.backwards)

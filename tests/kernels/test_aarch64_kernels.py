"""The aarch64 kernels give the same bytes: cross-compiled, and run by QEMU's user-mode emulator."""

from __future__ import annotations

import platform
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from weight_families import WEIGHTS, make_importance, make_weights, oracle_differs

import ggufactory_kernels as gk
from ggufactory_kernels.mismatch import first_mismatch

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "kernels"
COMPILER = shutil.which("aarch64-linux-gnu-g++")
EMULATOR = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
BACKENDS = {"backend_aarch64": (), "backend_scalar": ("-DGK_SCALAR",)}

pytestmark = pytest.mark.skipif(
    platform.machine() == "aarch64" or not (COMPILER and EMULATOR),
    reason="needs a machine of another architecture with aarch64-linux-gnu-g++ and qemu-aarch64",
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cross_main.cc with the kernels, compiled with the build's own switches."""
    switches = re.search(r"set\(exact_arithmetic ([^)]*)\)", (KERNELS / "CMakeLists.txt").read_text())
    assert switches is not None
    csrc, out = KERNELS / "ggufactory_kernels" / "csrc", tmp_path_factory.mktemp("aarch64")
    compile_ = [str(COMPILER), "-std=c++17", "-O3", *switches[1].split(), f"-I{csrc}"]
    objects, compilers = [], []
    for name, defines in BACKENDS.items():
        objects.append(str(out / f"{name}.o"))
        source = str(csrc / "cpu_backend.cc")
        options = [f"-DGK_BACKEND={name}", f'-DGK_ISA="{name}"', *defines]
        compilers.append(subprocess.Popen([*compile_, *options, "-c", source, "-o", objects[-1]]))
    assert [compiler.wait() for compiler in compilers] == [0] * len(BACKENDS)
    sources = [
        str(HERE / "cross_main.cc"),
        *(str(csrc / name) for name in ("backends.cc", "codebooks.cc", "parallel.cc")),
    ]
    subprocess.run([*compile_, "-static", "-pthread", *sources, *objects, "-o", str(out / "main")], check=True)
    return out / "main"


def _modes(type_: str, number: int) -> tuple[str, ...]:
    """No importance, and some, where the type knows either; of one kind for every second family, as the emulator
    takes its time."""
    layout = gk.TENSOR_TYPES[type_]
    weighted = (("random", "some_zero")[number % 2],) if layout.uses_importance else ()
    return weighted if layout.needs_importance else ("none", *weighted)


def test_aarch64_gives_ggmls_x86_bytes(program: Path, kernel_type: str) -> None:
    columns, rows = 3 * max(gk.TENSOR_TYPES[kernel_type].block, 32), 5
    cases: list[tuple[str, Any]] = []
    request = b""
    for seed, family in enumerate(WEIGHTS):
        for mode in _modes(kernel_type, seed):
            if oracle_differs(kernel_type, family, mode):
                continue
            x, importance = make_weights(family, seed, rows, columns), make_importance(mode, seed, columns)
            wanted = oracle.quantize_unless_aborted(x, kernel_type, importance)
            cases.append((f"{family}, importance {mode}", wanted))
            number = gk.TENSOR_TYPES[kernel_type].number
            request += struct.pack("<iiiiq", number, 0, importance is not None, columns, rows) + x.tobytes()
            request += b"" if importance is None else importance.tobytes()
    answer = subprocess.run([str(EMULATOR), str(program)], input=request, capture_output=True, check=True).stdout
    size = rows * gk.TENSOR_TYPES[kernel_type].row_bytes(columns)
    for label, wanted in cases:
        for _ in BACKENDS:
            (fault,), answer = struct.unpack("<i", answer[:4]), answer[4:]
            packed, answer = np.frombuffer(answer[:size], np.uint8), answer[size:]
            if wanted is None:
                assert fault in (2, 3), label
            elif oracle.is_valid(wanted, kernel_type):
                assert fault == 0, label
                mismatch = first_mismatch(wanted, packed, kernel_type, columns)
                assert mismatch is None, f"{label}: {mismatch}"
            else:
                assert fault == 2, label
    assert not answer

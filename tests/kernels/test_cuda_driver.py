"""The calls of NVIDIA's driver, which a GPU alone takes: made of a library in its place, in a process of their own."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from emulated_cuda import COMPILE

from ggufactory_kernels.cuda import compiler, driver

FOLDER = Path(__file__).parent
NO_NVRTC = compiler.missing()


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what the loader takes for libcuda.so.1."""
    folder = tmp_path_factory.mktemp("stand_in_driver")
    source = str(FOLDER / "stand_in_driver.cc")
    subprocess.run([*COMPILE, source, "-ldl", "-o", str(folder / "libcuda.so.1")], check=True)
    return folder


def test_no_driver() -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        assert driver.missing() == (NO_NVRTC or "no driver: libcuda.so.1 cannot be loaded")
    else:
        pytest.skip("this machine has NVIDIA's driver")


@pytest.mark.skipif(NO_NVRTC is not None, reason=f"no NVRTC: {NO_NVRTC}")
def test_driver_cases(stand_in: Path, emulated_cuda_library: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider", str(FOLDER / "driver_cases.py")],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "LD_LIBRARY_PATH": os.pathsep.join([str(stand_in), os.environ.get("LD_LIBRARY_PATH", "")]),
            "EMULATED_CUDA_LIBRARY": str(emulated_cuda_library),
            "GGUFACTORY_CUBIN_CACHE": str(tmp_path / "cubins"),
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        cwd=FOLDER.parents[1],
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.fullmatch(r"\d+ passed in .*", done.stdout.splitlines()[-1]), done.stdout[-2000:]

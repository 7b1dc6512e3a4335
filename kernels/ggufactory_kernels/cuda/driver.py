"""NVIDIA's driver: loads cubins into a GPU that torch uses, and launches them on torch's current stream."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from ggufactory_kernels.cuda import compiler
from ggufactory_kernels.cuda.cache import cubin
from ggufactory_kernels.cuda.kernels import THREADS, Kernel
from ggufactory_kernels.cuda.launch import Launch


class DriverError(RuntimeError):
    """The driver refused a call."""


class Gpu:
    """One GPU of this process, by torch's number of it."""

    def __init__(self, index: int) -> None:
        self._index = index
        device = _call("cuDeviceGet", _ordinal(index))
        self._context = _call("cuDevicePrimaryCtxRetain", device)  # torch's own; kept until the process ends
        self._functions: dict[str, Any] = {}

    def launch(self, kernel: Kernel, thread_blocks: int, arguments: Launch) -> None:
        """On the current stream. The structure is copied by the driver before this returns."""
        import torch
        from cuda.bindings.driver import CUstream

        stream = CUstream(torch.cuda.current_stream(self._index).cuda_stream)
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))
        _call("cuCtxPushCurrent", self._context)
        try:
            function = self._functions.get(kernel.name) or self._load(kernel)
            grid, block = (thread_blocks, 1, 1), (THREADS, 1, 1)
            _call("cuLaunchKernel", function, *grid, *block, 0, stream, ctypes.addressof(parameters), 0)
        finally:
            _call("cuCtxPopCurrent")

    def _load(self, kernel: Kernel) -> Any:
        module = _call("cuModuleLoadData", cubin(kernel, architecture(self._index)))
        function = _call("cuModuleGetFunction", module, kernel.name.encode())
        self._functions[kernel.name] = function
        return function


@cache
def gpu(index: int) -> Gpu:
    """The one of that number, the same for all callers in the process."""
    return Gpu(index)


def architecture(index: int) -> str:
    """What to compile for: the newest of ARCHITECTURES that the GPU runs. DriverError where there is none."""
    import torch

    major, minor = torch.cuda.get_device_capability(index)
    usable = [name for name in compiler.ARCHITECTURES if _runs_on(name, major, minor)]
    if not usable:
        raise DriverError(
            f"the GPU is of sm_{major}{minor}; kernels are compiled for {', '.join(compiler.ARCHITECTURES)}"
        )
    return usable[-1]


def missing() -> str | None:
    """What is missing for running kernels here; None where nothing is."""
    reason = compiler.missing()
    if reason is not None:
        return reason
    try:
        _call("cuInit", 0)
    except (DriverError, MemoryError) as error:
        no_gpu = "NO_DEVICE" in str(error)
        return "no GPU: the driver finds none" if no_gpu else f"the driver cannot be used: {error}"
    except (RuntimeError, ImportError):  # the bindings have errors of their own for a library that is not there
        return "no driver: libcuda.so.1 cannot be loaded"
    return _missing_for_torch() or _too_old()


def _missing_for_torch() -> str | None:
    import torch

    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} was built without CUDA: install a build with it"
    if torch.cuda.device_count() == 0:
        return "no GPU: none is visible to this process (CUDA_VISIBLE_DEVICES)"
    return None


def _too_old() -> str | None:
    driver, compiled_by = int(_call("cuDriverGetVersion")) // 1000, int(compiler.compiler_version().split(".")[0])
    if driver < compiled_by:
        return f"the driver is of CUDA {driver}, the compiler of CUDA {compiled_by}: update the driver"
    try:
        architecture(0)
    except DriverError as error:
        return str(error)
    return None


def _runs_on(name: str, major: int, minor: int) -> bool:
    """Cubins run on GPUs of the same major and an equal or later minor number."""
    number = int(name.removeprefix("sm_"))
    return number // 10 == major and number % 10 <= minor


def _ordinal(index: int) -> int:
    """torch and the driver count the visible devices alike."""
    _call("cuInit", 0)
    return index


def _call(name: str, *arguments: Any) -> Any:
    """One call of the driver, with its error as DriverError; MemoryError where the GPU is full."""
    from cuda.bindings import driver

    try:
        result, *values = getattr(driver, name)(*arguments)
    except ValueError as error:  # of a result that is newer than the bindings
        raise DriverError(f"{name}: {error}") from error
    if int(result) != 0:
        kind = MemoryError if result.name == "CUDA_ERROR_OUT_OF_MEMORY" else DriverError
        raise kind(f"{name}: {result.name}")
    return values[0] if len(values) == 1 else tuple(values)

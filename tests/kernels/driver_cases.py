"""What driver.py does with the driver, which is stand_in_driver.cc here: run by test_cuda_driver.py, in a process that
the loader gives it to. Of torch, which has no CUDA in a build for CPUs, what it would say is put in its place."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from stand_in_torch_cuda import replace_torch_cuda
from weight_families import make_importance, make_weights

import ggufactory_kernels as gk
from ggufactory_kernels import backends, dequantizer, quantizer
from ggufactory_kernels.cuda import compiler, driver
from ggufactory_kernels.cuda.courier import Courier
from ggufactory_kernels.cuda.device import CudaDevice, _CudaQueue
from ggufactory_kernels.cuda.kernels import KERNELS, THREADS
from ggufactory_kernels.cuda.launch import Launch
from ggufactory_kernels.cuda.tensors import enqueue_quantize, no_fault, numbers, quantize_tensor

STREAM = 0x5EED
OUT_OF_MEMORY, NO_DEVICE, ILLEGAL_ADDRESS, DRIVER_MISMATCH = 2, 100, 700, 803
NOT_YET_KNOWN = 54321
MEASURED = 5
"""The call that takes longer."""


@pytest.fixture(autouse=True)
def libcuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[ctypes.CDLL]:
    """The stand-in, and a torch that sees one H100."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda index: SimpleNamespace(cuda_stream=STREAM))
    library = ctypes.CDLL("libcuda.so.1")
    library.stand_in_stream.restype = ctypes.c_void_p
    library.stand_in_launch_bytes.restype = ctypes.c_size_t
    driver.gpu.cache_clear()
    backends._missing_for_cuda.cache_clear()
    yield library
    library.stand_in_recover()
    library.stand_in_version(13000)
    assert library.stand_in_contexts() == 0, "every context that was pushed has been popped"


def counted(libcuda: ctypes.CDLL, name: str, call: Callable[[], object]) -> int:
    """How often `call` calls the function of that name."""
    before = libcuda.stand_in_calls(name.encode())
    call()
    return int(libcuda.stand_in_calls(name.encode())) - before


@pytest.mark.parametrize("type_", ["BF16", "Q8_0", "Q5_1", "Q4_0", "IQ4_NL", "IQ3_S"])
def test_bytes(libcuda: ctypes.CDLL, type_: str) -> None:
    """Of one kernel and of two for a call, with tables and without, of thread blocks that are full and that are not."""
    x = torch.from_numpy(make_weights("normal", 3, 67, 256)).bfloat16()
    importance = make_importance("random", 4, 256) if gk.TENSOR_TYPES[type_].uses_importance else None
    found = quantize_tensor(x, gk.TENSOR_TYPES[type_], importance, driver.gpu(0))
    assert torch.equal(found, gk.quantize(x, type_, importance))


def test_the_way_of_a_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the request to the bytes; what lies in main memory need not be sent to a GPU that works there."""
    assert backends.missing("cuda", "Q8_0") is None
    monkeypatch.setattr(quantizer, "on_gpu", lambda x, dtypes, what: torch.as_tensor(x))
    monkeypatch.setattr(dequantizer, "packed_on_gpu", lambda packed, row_bytes, what: torch.as_tensor(packed))
    x = make_weights("normal", 3, 5, 256)
    packed = gk.quantize(x, "Q8_0", device="cuda")
    assert np.array_equal(packed, gk.quantize(x, "Q8_0"))
    assert np.array_equal(gk.dequantize(packed, "Q8_0", 256, device="cuda"), gk.dequantize(packed, "Q8_0", 256))


def test_the_launch(libcuda: ctypes.CDLL) -> None:
    """Its grid, and the stream that is torch's current one; the structure is as long as that of C."""
    x = torch.zeros(67, 256)
    quantize_tensor(x, gk.TENSOR_TYPES["Q8_0"], None, driver.gpu(0))
    blocks = 67 * 256 // 32
    assert (libcuda.stand_in_grid(), libcuda.stand_in_block()) == (-(-blocks // THREADS), THREADS)
    assert libcuda.stand_in_stream() == STREAM
    assert ctypes.sizeof(Launch) == libcuda.stand_in_launch_bytes()


def test_what_is_wrong_with_weights_comes_back() -> None:
    x = torch.zeros(67, 256)
    x[66, 7] = torch.nan
    with pytest.raises(ValueError, match=r"found nan in row 66, column 7$"):
        quantize_tensor(x, gk.TENSOR_TYPES["Q8_0"], None, driver.gpu(0))


def test_a_kernel_is_loaded_once(libcuda: ctypes.CDLL) -> None:
    def quantize() -> None:
        quantize_tensor(torch.zeros(1, 32), gk.TENSOR_TYPES["Q8_0"], None, driver.gpu(0))

    assert driver.gpu(0) is driver.gpu(0)
    assert counted(libcuda, "cuModuleLoadData", quantize) == 1
    assert counted(libcuda, "cuModuleLoadData", quantize) == 0
    assert counted(libcuda, "cuLaunchKernel", quantize) == 1
    assert counted(libcuda, "cuDevicePrimaryCtxRetain", quantize) == 0


@pytest.mark.parametrize("failing", ["cuModuleLoadData", "cuModuleGetFunction", "cuLaunchKernel", "cuCtxPopCurrent"])
@pytest.mark.parametrize(
    ("result", "error", "told"),
    [
        (OUT_OF_MEMORY, MemoryError, "CUDA_ERROR_OUT_OF_MEMORY"),
        (ILLEGAL_ADDRESS, driver.DriverError, "CUDA_ERROR_ILLEGAL_ADDRESS"),
        (NOT_YET_KNOWN, driver.DriverError, f"{NOT_YET_KNOWN} is not a valid CUresult"),
    ],
    ids=["memory", "illegal address", "not yet known"],
)
def test_a_call_that_fails(libcuda: ctypes.CDLL, failing: str, result: int, error: type[Exception], told: str) -> None:
    """Is named, leaves no context behind, and the next one goes on."""
    gpu = driver.gpu(0)
    libcuda.stand_in_fail(failing.encode(), result)
    with pytest.raises(error, match=f"^{failing}: {told}$"):
        quantize_tensor(torch.zeros(1, 32), gk.TENSOR_TYPES["Q8_0"], None, gpu)
    assert libcuda.stand_in_contexts() == 0
    libcuda.stand_in_recover()
    quantize_tensor(torch.zeros(1, 32), gk.TENSOR_TYPES["Q8_0"], None, gpu)


def test_no_room_for_a_context(libcuda: ctypes.CDLL) -> None:
    """Is found out again by the next one who asks."""
    libcuda.stand_in_fail(b"cuDevicePrimaryCtxRetain", OUT_OF_MEMORY)
    with pytest.raises(MemoryError, match=r"^cuDevicePrimaryCtxRetain: CUDA_ERROR_OUT_OF_MEMORY$"):
        driver.gpu(0)
    libcuda.stand_in_recover()
    assert driver.gpu(0)


@pytest.fixture
def torch_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_torch_cuda(monkeypatch)


@pytest.mark.usefixtures("torch_cuda")
def test_a_workers_bytes(libcuda: ctypes.CDLL) -> None:
    """Sent, made, and fetched, with each kernel in the queue of its work, for which the queue of the way back waits."""
    courier = Courier(CudaDevice(0), buffer_bytes=1000)
    assert isinstance(courier.work, _CudaQueue)
    assert isinstance(courier._back, _CudaQueue)
    x, target = make_weights("normal", 3, 9, 256), gk.TENSOR_TYPES["Q8_0"]
    packed = np.empty((9, target.row_bytes(256)), np.uint8)
    with courier.work.current():
        there, made = courier.device.empty(x.nbytes), courier.device.empty(packed.size)
        courier.send(x.reshape(-1).view(np.uint8), there)
        fault = no_fault(there.device)
        enqueue_quantize(
            numbers(there.view(9, -1), "F32"), target, None, courier.device.launcher, made.view(packed.shape), fault
        )
        assert libcuda.stand_in_stream() == courier.work._stream.cuda_stream
        courier.fetch(made, packed.reshape(-1), courier.work.record())
    assert np.array_equal(packed, gk.quantize(x, "Q8_0"))
    assert courier._back._stream.waited_for == [courier.work._stream]


@pytest.mark.usefixtures("torch_cuda")
@pytest.mark.parametrize("told", ["CUDA error: out of memory", "CUDA out of memory. Tried to allocate 2 GiB"])
def test_no_room_for_a_worker(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError(told)

    device = CudaDevice(0)
    monkeypatch.setattr(torch, "empty", full)
    for call in (lambda: CudaDevice(0), lambda: device.pinned(1), lambda: device.empty(1)):
        with pytest.raises(MemoryError, match=told):
            call()


def test_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: asked.append("empty_cache"))
    CudaDevice.release(CudaDevice.__new__(CudaDevice))
    assert asked == ["empty_cache"]


@pytest.mark.parametrize(
    ("capability", "compiled_for"),
    [
        ((8, 0), "sm_80"),
        ((8, 6), "sm_80"),
        ((8, 9), "sm_89"),
        ((9, 0), "sm_90"),
        ((10, 0), "sm_100"),
        ((10, 3), "sm_100"),
        ((12, 0), "sm_120"),
        ((12, 1), "sm_120"),
    ],
    ids=str,
)
def test_the_architecture_of_a_gpu(
    libcuda: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], compiled_for: str
) -> None:
    """It is that of what is loaded, too."""
    asked: list[str] = []
    cached = driver.cubin

    def cubin(kernel: Any, architecture: str) -> bytes:
        asked.append(architecture)
        return cached(kernel, "sm_90")  # which the others have left in the cache

    monkeypatch.setattr(driver, "cubin", cubin)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    assert driver.missing() is None
    quantize_tensor(torch.zeros(1, 32), gk.TENSOR_TYPES["Q8_0"], None, driver.gpu(0))
    assert asked == [compiled_for]


def test_what_is_loaded_says_which_architecture_it_is_for(
    libcuda: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for capability in ((9, 0), (8, 6)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index, of=capability: of)
        driver.Gpu(0).launch(KERNELS["convert_f32"], 0, Launch())
        found.append(libcuda.stand_in_flags() >> 8 & 0xFF)
    assert found == [90, 80]


@pytest.mark.parametrize("capability", [(7, 5), (11, 0), (13, 0)], ids=str)
def test_a_gpu_that_nothing_is_compiled_for(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    told = (
        f"the GPU is of sm_{capability[0]}{capability[1]}; kernels are compiled for {', '.join(compiler.ARCHITECTURES)}"
    )
    assert driver.missing() == told
    with pytest.raises(driver.DriverError, match=told):
        quantize_tensor(torch.zeros(1, 32), gk.TENSOR_TYPES["Q8_0"], None, driver.gpu(0))


def test_what_is_missing(libcuda: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    assert driver.missing() is None
    libcuda.stand_in_version(12080)
    assert driver.missing() == "the driver is of CUDA 12, the compiler of CUDA 13: update the driver"
    libcuda.stand_in_version(14020)
    assert driver.missing() is None
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert driver.missing() == "no GPU: none is visible to this process (CUDA_VISIBLE_DEVICES)"
    monkeypatch.setattr(torch.version, "cuda", None)
    assert driver.missing() == f"PyTorch {torch.__version__} was built without CUDA: install a build with it"
    libcuda.stand_in_fail(b"cuInit", NO_DEVICE)
    assert driver.missing() == "no GPU: the driver finds none"
    libcuda.stand_in_fail(b"cuInit", DRIVER_MISMATCH)
    assert driver.missing() == "the driver cannot be used: cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"


class TimedEvent:
    """torch.cuda.Event of a GPU on which call number MEASURED takes two seconds, and any other one."""

    calls = 0

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing
        self.at = -1.0

    def record(self) -> None:
        self.at = TimedEvent.calls + (TimedEvent.calls >= MEASURED)

    def synchronize(self) -> None:
        assert self.at >= 0

    def elapsed_time(self, end: TimedEvent) -> float:
        return 1e3 * (end.at - self.at)


def test_what_the_benchmark_asks_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts of the driver; and the median of what is measured after a warm-up."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "ops" / "benchmarks")
    device = importlib.import_module("gpu_device")
    properties = SimpleNamespace(name="G", multi_processor_count=132, total_memory=80 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    bench = device.CudaBench()
    assert bench.facts() == device.Facts("G", 132, 1.98e9, 80 << 30, "13.0")
    monkeypatch.setattr(torch.cuda, "Event", TimedEvent)

    def call() -> None:
        TimedEvent.calls += 1

    assert device.WARM_UP < MEASURED
    assert bench.seconds(call, 5) == 1.0
    assert TimedEvent.calls == device.WARM_UP + 5


def test_without_a_gpu_a_request_is_refused(libcuda: ctypes.CDLL) -> None:
    libcuda.stand_in_fail(b"cuInit", NO_DEVICE)
    with pytest.raises(ValueError, match="device 'cuda' cannot be used for Q8_0: no GPU: the driver finds none"):
        gk.quantize(np.zeros((1, 32), np.float32), "Q8_0", device="cuda")

"""Bytes to a GPU and back, on queues that are as late as they may be."""

from __future__ import annotations

from itertools import chain, combinations
from pathlib import Path

import numpy as np
import pytest
from emulated_device import EmulatedDevice, torch_memory_of

import ggufactory_kernels as gk
from ggufactory_kernels.cuda.courier import ALIGNMENT, BUFFERS, Courier, bytes_together
from ggufactory_kernels.cuda.tensors import enqueue_quantize, no_fault, numbers, raise_fault

LATE = [frozenset(chosen) for chosen in chain.from_iterable(combinations((0, 1), n) for n in range(3))]
"""Queue 0 sends and works, queue 1 brings back."""


@pytest.mark.parametrize("late", LATE, ids=str)
@pytest.mark.parametrize("size", [0, 1, 1000, 1001, 5000])
def test_there_and_back(emulated_cuda_library: Path, late: frozenset[int], size: int) -> None:
    device = EmulatedDevice(emulated_cuda_library, late)
    courier = Courier(device, buffer_bytes=1000)
    first, second = (np.random.default_rng(seed).integers(0, 256, size, np.uint8) for seed in (1, 2))
    with courier.work.current():
        there = [device.empty(size) for _ in range(2)]
        changing = first.copy()
        courier.send(changing, there[0])
        changing[:] = 0  # it was taken when it was sent
        sent = courier.work.record()
        courier.send(second, there[1])
        back = [np.empty(size, np.uint8) for _ in range(2)]
        courier.fetch(there[0], back[0], sent)
        courier.fetch(there[1], back[1], courier.work.record())
    assert np.array_equal(back[0], first)
    assert np.array_equal(back[1], second)


@pytest.mark.parametrize("late", LATE, ids=str)
@pytest.mark.parametrize("sizes", [(1,), (3, 5), (1000, 16, 0, 7), (990, 2500, 1)], ids=str)
def test_sent_together(emulated_cuda_library: Path, late: frozenset[int], sizes: tuple[int, ...]) -> None:
    """Over the borders of buffers; each may be viewed as any kind of number."""
    device = EmulatedDevice(emulated_cuda_library, late)
    courier = Courier(device, buffer_bytes=1000)
    sources = [np.random.default_rng(seed).integers(0, 256, size, np.uint8) for seed, size in enumerate(sizes)]
    changing = [source.copy() for source in sources]
    with courier.work.current():
        target = device.empty(bytes_together(sources))
        there = courier.send_together(changing, target)
        for source in changing:
            source[:] = 0  # they were taken when they were sent
        courier.work.record().synchronize()
    assert [part.numpy().tobytes() for part in there] == [source.tobytes() for source in sources]
    assert not any(part.storage_offset() % ALIGNMENT for part in there)


@pytest.mark.parametrize("late", LATE, ids=str)
def test_kernels_come_between(emulated_cuda_library: Path, late: frozenset[int]) -> None:
    """Nothing waits for a kernel or says what is wrong before it is asked for."""
    device = EmulatedDevice(emulated_cuda_library, late)
    courier = Courier(device, buffer_bytes=1000)
    x = np.random.default_rng(3).standard_normal((9, 256), np.float32)
    x[4, 5] = np.nan
    type_ = gk.TENSOR_TYPES["Q4_0"]
    importance = np.random.default_rng(4).chisquare(1, 256).astype(np.float32)
    with torch_memory_of(device), courier.work.current():
        there, weights = device.empty(x.nbytes), device.empty(importance.nbytes)
        courier.send(importance.view(np.uint8), weights)
        courier.send(x.reshape(-1).view(np.uint8), there)
        rows = numbers(there.view(9, -1), "F32")
        for begin, stop in ((0, 4), (4, 9)):
            out, fault = device.empty((stop - begin) * type_.row_bytes(256)), no_fault(rows.device)
            own = numbers(weights, "F32")
            enqueue_quantize(rows[begin:stop], type_, own, device.launcher, out.view(stop - begin, -1), fault)
            ready = courier.work.record()
            packed, found = np.empty(out.numel(), np.uint8), np.empty(1, np.int64)
            courier.fetch(out, packed, ready)
            courier.fetch(fault.view(out.dtype), found.view(np.uint8), ready)
            if begin:
                with pytest.raises(ValueError, match="found nan in row 0, column 5"):
                    raise_fault(int(found[0]), rows[begin:stop], type_, weighted=True)
            else:
                raise_fault(int(found[0]), rows[begin:stop], type_, weighted=True)
                assert np.array_equal(packed, gk.quantize(x[:4], "Q4_0", importance).reshape(-1))


def test_buffers_are_made_once(emulated_cuda_library: Path) -> None:
    device = EmulatedDevice(emulated_cuda_library)
    courier = Courier(device, buffer_bytes=100)
    made = device.pinned_bytes
    assert made == 2 * BUFFERS * 100
    with courier.work.current():
        there = device.empty(1000)
        courier.send(np.zeros(1000, np.uint8), there)
        courier.fetch(there, np.empty(1000, np.uint8), courier.work.record())
    assert device.pinned_bytes == made

"""On a GPU: the caller's stream, every GPU of the machine, threads, and what comes back to main memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from weight_families import make_importance, make_weights

import ggufactory_kernels as gk
from ggufactory_kernels import cuda

pytestmark = pytest.mark.gpu

SLEEP = 200_000_000
"""Cycles, some tenth of a second: whoever does not wait for the stream reads what was there before."""


@pytest.fixture(autouse=True)
def _gpu() -> None:
    missing = cuda.missing()
    if missing is not None:
        pytest.skip(f"CUDA kernels cannot run here: {missing}")


@pytest.mark.parametrize("type_", ["Q8_0", "Q4_0", "IQ2_XS"])
def test_work_waits_for_the_current_stream(type_: str) -> None:
    weights, importance = torch.from_numpy(make_weights("normal", 1, 64, 512)), make_importance("random", 2, 512)
    wanted = gk.quantize(weights, type_, importance)
    ready = weights.cuda()
    x, packed = torch.zeros_like(ready), torch.zeros(wanted.shape, dtype=torch.uint8, device="cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(SLEEP)
        x.copy_(ready)
        found = gk.quantize(x, type_, importance, device="cuda")
        torch.cuda._sleep(SLEEP)
        packed.copy_(found)
        back = gk.dequantize(packed, type_, 512, device="cuda")
        assert torch.equal(found.cpu(), wanted)
        assert torch.equal(back.cpu(), gk.dequantize(wanted, type_, 512))


def test_every_gpu_whichever_is_current() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("this machine has one GPU only")
    x, importance = torch.from_numpy(make_weights("normal", 1, 64, 512)), make_importance("random", 2, 512)
    for type_ in ("Q8_0", "IQ3_S"):
        wanted = gk.quantize(x, type_, importance)
        for index in range(torch.cuda.device_count()):
            found = gk.quantize(x.to(f"cuda:{index}"), type_, importance, device="cuda")
            assert found.device.index == index
            assert torch.equal(found.cpu(), wanted)
            assert torch.equal(gk.dequantize(found, type_, 512, device="cuda").cpu(), gk.dequantize(wanted, type_, 512))
    assert torch.cuda.current_device() == 0


def test_threads_with_streams_of_their_own() -> None:
    x = [torch.from_numpy(make_weights("normal", seed, 64, 512)) for seed in range(8)]
    types = ["Q4_K", "IQ3_S", "Q6_K", "IQ4_XS"] * 2

    def quantize(number: int) -> torch.Tensor:
        with torch.cuda.stream(torch.cuda.Stream()):
            return gk.quantize(x[number].cuda(), types[number], device="cuda").cpu()

    with ThreadPoolExecutor(4) as threads:
        for number, found in enumerate(threads.map(quantize, range(8))):
            assert torch.equal(found, gk.quantize(x[number], types[number]))


def test_what_comes_from_main_memory_goes_back_there() -> None:
    x, importance = make_weights("normal", 1, 5, 512), make_importance("random", 2, 512)
    wanted = gk.quantize(x, "IQ2_S", importance)
    found = gk.quantize(x, "IQ2_S", importance, device="cuda")
    assert isinstance(found, np.ndarray)
    assert np.array_equal(found, wanted)
    assert torch.equal(gk.quantize(torch.from_numpy(x), "IQ2_S", importance, device="cuda"), torch.from_numpy(wanted))
    assert np.array_equal(gk.dequantize(wanted, "IQ2_S", 512, device="cuda"), gk.dequantize(wanted, "IQ2_S", 512))
    out = bytearray(wanted.nbytes)
    gk.quantize_into(x.tobytes(), "F32", "IQ2_S", 512, out, importance, device="cuda")
    assert bytes(out) == wanted.tobytes()


def test_a_gpu_goes_on_after_weights_at_fault() -> None:
    x = torch.from_numpy(make_weights("normal", 1, 64, 512)).cuda()
    x[3, 3] = torch.nan
    for type_ in ("Q8_0", "IQ3_S"):
        with pytest.raises(ValueError, match=r"found nan in row 3, column 3$"):
            gk.quantize(x, type_, device="cuda")
    good = x[8:]
    assert torch.equal(gk.quantize(good, "IQ3_S", device="cuda").cpu(), gk.quantize(good.cpu(), "IQ3_S"))

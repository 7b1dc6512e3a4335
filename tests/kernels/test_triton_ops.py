"""Triton's kernels against plain torch: by the interpreter where there is no GPU, compiled where there is one."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ggufactory_kernels as gk
import packed_samples as samples

pytest.importorskip("triton", reason="Triton has no wheel for this machine")
from ggufactory_kernels import triton_ops

DTYPES = (torch.float32, torch.bfloat16)
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in multiply:RuntimeWarning")
"""Of the interpreter's NumPy, where numbers are not finite."""


@pytest.fixture(params=["interpreter", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    has_gpu = torch.cuda.is_available()
    if request.param == "cuda" and not has_gpu:
        pytest.skip("no GPU")
    if request.param == "interpreter" and has_gpu:
        pytest.skip("the kernels are compiled for the GPU of this machine")
    return "cuda" if has_gpu else "cpu"


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _squares(rows: torch.Tensor) -> torch.Tensor:
    return rows.double().square().sum(dim=0)


def _assert_same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert found.dtype is wanted.dtype
    torch.testing.assert_close(found.cpu(), wanted, rtol=0, atol=0, equal_nan=True)


def test_every_kernel_compiles(tmp_path: Path) -> None:
    """To machine code of three generations, with Triton's own assembler: no GPU is needed. The interpreter takes more
    than the compiler does."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    found = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("compile_triton_ops.py"))],
        env={**environment, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr[-3000:]
    compiled = {tuple(line.split()[:2]) for line in found.stdout.splitlines()}
    modules = ("column_squares", "scaled_bytes", "four_bit_floats", "column_ints")
    assert compiled == {(module, capability) for module in modules for capability in ("80", "90", "100")}


class TestColumnSquares:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_segments(self, device: str, dtype: torch.dtype) -> None:
        """Of no row, of one, of more than a tile; some columns beyond a tile; rows with a stride."""
        rows = _random(300, 150).to(dtype).to(device)[:, :70]
        borders = [0, 0, 1, 130, 300]
        found = triton_ops.column_squares(rows, torch.tensor(borders, device=device))
        assert found.dtype is torch.float64
        for at, (begin, end) in enumerate(pairwise(borders)):
            torch.testing.assert_close(found[at].cpu(), _squares(rows[begin:end].cpu()), rtol=1e-6, atol=0)

    def test_experts(self, device: str) -> None:
        rows, ids = _random(200, 33), torch.randint(0, 4, (200,), generator=torch.Generator().manual_seed(1))
        ids[ids == 2] = 3
        found, counts = triton_ops.column_squares_by_id(rows.to(device), ids.to(device), 4)
        assert counts.tolist() == [int((ids == expert).sum()) for expert in range(4)]
        for expert in range(4):
            torch.testing.assert_close(found[expert].cpu(), _squares(rows[ids == expert]), rtol=1e-6, atol=0)

    def test_sums_do_not_drift(self, device: str) -> None:
        rows = _random(20_000, 8)
        rows[0] = 1e4
        found = triton_ops.column_squares(rows.to(device))[0].cpu()
        assert ((found - _squares(rows)).abs() / _squares(rows)).max() < 1e-6

    def test_the_same_bits_again(self, device: str) -> None:
        rows = _random(3_000, 5).to(device)
        assert torch.equal(triton_ops.column_squares(rows), triton_ops.column_squares(rows.clone()))

    def test_no_rows(self, device: str) -> None:
        assert triton_ops.column_squares(torch.empty(0, 5, device=device)).tolist() == [[0.0] * 5]

    def test_refusals(self, device: str) -> None:
        with pytest.raises(TypeError, match="float64"):
            triton_ops.column_squares(torch.zeros(2, 2, dtype=torch.float64, device=device))
        with pytest.raises(ValueError, match="contiguous rows"):
            triton_ops.column_squares(torch.zeros(4, 6, device=device).T)


def _tensors(sample: samples.Sample, device: str, *suffixes: str) -> list[torch.Tensor]:
    return [
        next(tensor for name, tensor in sample.tensors.items() if name.endswith(suffix)).contiguous().to(device)
        for suffix in suffixes
    ]


def _scaled(
    weights: torch.Tensor,
    scales: torch.Tensor,
    blocks: tuple[int, int],
    dtype: torch.dtype = torch.float32,
    order: torch.Tensor | None = None,
) -> torch.Tensor:
    """Of scales that lie over all of the weights, in blocks of so many rows and columns."""
    scale_rows = torch.arange(len(weights), device=weights.device) // blocks[0]
    return triton_ops.decode_scaled_bytes(weights, scales, scale_rows, blocks[1], dtype, order)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8], ids=str)
def test_every_byte(device: str, dtype: torch.dtype) -> None:
    weights = torch.arange(256, dtype=torch.uint8).view(dtype).reshape(1, 256)
    scales = torch.ones(1, 1, device=device)
    _assert_same(_scaled(weights.to(device), scales, (1, 256)), weights.float())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("number_type", [samples.E4M3, samples.E5M2], ids=str)
def test_fp8_blocks(device: str, number_type: torch.dtype, dtype: torch.dtype) -> None:
    sample = samples.fp8_blocks(number_type)
    weights, scales = _tensors(sample, device, ".weight", ".weight_scale_inv")
    _assert_same(_scaled(weights, scales, (32, 16), dtype), sample.wanted.to(dtype))


def test_scales_by_row(device: str) -> None:
    sample = samples.int8_rows()
    weights, scales = _tensors(sample, device, ".weight", ".weight_scale")
    _assert_same(_scaled(weights, scales, (1, 40)), sample.wanted)


def test_permuted_rows(device: str) -> None:
    """Rows anywhere, some twice: their scales go with them."""
    order = torch.tensor([69, 0, 33, 33, 31])
    sample = samples.fp8_blocks()
    weights, scales = _tensors(sample, device, ".weight", ".weight_scale_inv")
    found = _scaled(weights, scales, (32, 16), order=order.to(device))
    _assert_same(found, sample.wanted[order])


def _ggml_numbers(sample: samples.Sample, type_: str) -> torch.Tensor:
    return gk.dequantize(sample.wanted.contiguous(), type_, sample.shape[-1])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_mxfp4(device: str, dtype: torch.dtype) -> None:
    sample, order = samples.mxfp4_packed(), torch.tensor([8, 1, 1, 0])
    weights, scales = _tensors(sample, device, ".weight_packed", ".weight_scale")
    wanted = _ggml_numbers(sample, "MXFP4").to(dtype)
    _assert_same(triton_ops.decode_mxfp4(weights, scales, dtype), wanted)
    _assert_same(triton_ops.decode_mxfp4(weights, scales, dtype, order.to(device)), wanted[order])


def test_every_power_of_mxfp4(device: str) -> None:
    """A row for each; all sixteen codes, twice."""
    powers = torch.arange(256, dtype=torch.uint8).reshape(256, 1)
    codes = torch.arange(16, dtype=torch.uint8).repeat_interleave(2)[None].expand(256, -1)
    packed = codes[:, 0::2] | codes[:, 1::2] << 4
    blocks = torch.cat((powers, codes[:, :16] | codes[:, 16:] << 4), dim=1)
    wanted = gk.dequantize(blocks, "MXFP4", 32)
    _assert_same(triton_ops.decode_mxfp4(packed.contiguous().to(device), powers.to(device)), wanted)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_nvfp4(device: str, dtype: torch.dtype) -> None:
    sample, order = samples.nvfp4(), torch.tensor([8, 1, 1, 0])
    weights, scales = _tensors(sample, device, ".weight", ".weight_scale")
    wanted = _ggml_numbers(sample, "NVFP4").to(dtype)
    scales = scales.view(torch.uint8)
    _assert_same(triton_ops.decode_nvfp4(weights, scales, dtype), wanted)
    _assert_same(triton_ops.decode_nvfp4(weights, scales, dtype, order.to(device)), wanted[order])


def test_every_scale_of_nvfp4(device: str) -> None:
    """Of either sign, which blocks do not keep, and the pattern of a NaN, which is none."""
    scales = torch.arange(256, dtype=torch.uint8).reshape(64, 4)
    codes = torch.arange(16, dtype=torch.uint8).repeat(64, 4, 1)
    packed = codes[..., 0::2] | codes[..., 1::2] << 4
    halves = codes[..., :8] | codes[..., 8:] << 4
    wanted = gk.dequantize(torch.cat((scales & 127, halves.flatten(1)), dim=1), "NVFP4", 64)
    _assert_same(triton_ops.decode_nvfp4(packed.flatten(1).to(device), scales.to(device)), wanted)


GPTQ: dict[str, Any] = {"along_inputs": True, "zero_offset": 1}
AWQ: dict[str, Any] = {"along_inputs": False, "zero_offset": 0}


@pytest.mark.parametrize(
    ("sample", "bits", "layout"),
    [
        pytest.param(samples.gptq(2), 2, GPTQ, id="gptq 2"),
        pytest.param(samples.gptq(4), 4, GPTQ, id="gptq 4"),
        pytest.param(samples.gptq(8, "gptq_v2", ordered=True), 8, {**GPTQ, "zero_offset": 0}, id="gptq 8 ordered"),
        pytest.param(samples.awq(), 4, AWQ, id="awq"),
    ],
)
def test_column_ints(device: str, sample: samples.Sample, bits: int, layout: dict[str, Any]) -> None:
    packed = _tensors(sample, device, ".qweight", ".qzeros", ".scales")
    g_idx = sample.tensors.get("layers.0.w.g_idx", torch.arange(128) // 32).long().to(device)
    order = torch.tensor([79, 0, 7, 7, 40])
    for dtype in DTYPES:
        wanted = sample.wanted.to(dtype)
        _assert_same(triton_ops.decode_column_ints(*packed, g_idx, bits, **layout, dtype=dtype), wanted)
    found = triton_ops.decode_column_ints(*packed, g_idx, bits, **layout, order=order.to(device))
    _assert_same(found, sample.wanted[order])


def test_rounding_to_bfloat16(device: str) -> None:
    """Ties, the largest numbers, denormals, infinities: what a weight of one becomes is its scale."""
    bits = np.random.default_rng(0).integers(0, 1 << 32, 4096, np.uint32)
    bits[:4] = [0x3F808000, 0x3F818000, 0x7F7FFFFF, 0x00008000]
    scales = torch.from_numpy(bits.view(np.float32)).reshape(16, 256)
    weights = torch.ones(16, 256, dtype=torch.int8, device=device)
    found = _scaled(weights, scales.to(device), (1, 1), torch.bfloat16)
    _assert_same(found, scales.bfloat16())
    finite = torch.where(scales.bfloat16().isfinite(), scales, 1.0)
    found = _scaled(weights, finite.to(device), (1, 1), torch.bfloat16).cpu()
    assert torch.equal(found.view(torch.uint8), gk.quantize(finite, "BF16")), "as a worker rounds on the CPU"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_into_rows_that_are_there(device: str, dtype: torch.dtype) -> None:
    """Those before and after them stay."""
    place = torch.full((50, 40), 7, dtype=dtype, device=device)
    sample = samples.int8_rows()
    weights, scales = _tensors(sample, device, ".weight", ".weight_scale")
    scale_rows, out = torch.arange(19, device=device), place[20:39]
    assert triton_ops.decode_scaled_bytes(weights, scales, scale_rows, 40, dtype, None, out) is out
    _assert_same(place[20:39], sample.wanted.to(dtype))
    ints, order = samples.awq(), torch.tensor([7, 0])
    packed = _tensors(ints, device, ".qweight", ".qzeros", ".scales")
    out = torch.full((4, 128), 7, dtype=dtype, device=device)
    groups = (torch.arange(128) // 32).to(device)
    triton_ops.decode_column_ints(*packed, groups, 4, **AWQ, dtype=dtype, order=order.to(device), out=out[1:3])
    _assert_same(out[1:3], ints.wanted[order].to(dtype))
    assert bool((place[:20] == 7).all() & (place[39:] == 7).all() & (out[::3] == 7).all())


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"weights": torch.zeros(4, 8)}, TypeError, "weights"),
        ({"scales": torch.zeros(4, 2)}, ValueError, "rows of 1"),
        ({"scale_rows": torch.zeros(4)}, TypeError, "scale_rows"),
        ({"scale_rows": torch.zeros(3, dtype=torch.int64)}, ValueError, "scale_rows"),
        ({"out": torch.zeros(4, 8, dtype=torch.bfloat16)}, TypeError, "out"),
        ({"out": torch.zeros(3, 8)}, ValueError, "out"),
        ({"out": torch.zeros(8, 4).T}, ValueError, "out"),
        ({"dtype": torch.float16}, TypeError, "float32 or bfloat16"),
        ({"order": torch.tensor([0], dtype=torch.int32)}, TypeError, "order"),
        ({"order": torch.zeros(1, 1, dtype=torch.int64)}, ValueError, "order"),
    ],
    ids=str,
)
def test_refusals(change: dict[str, Any], error: type[Exception], words: str) -> None:
    asked = {
        "weights": torch.zeros(4, 8, dtype=torch.int8),
        "scales": torch.ones(4, 1),
        "scale_rows": torch.arange(4),
        "block_columns": 8,
    } | change
    with pytest.raises(error, match=words):
        triton_ops.decode_scaled_bytes(**asked)


@pytest.mark.parametrize(
    ("weights", "scales", "error"),
    [
        (torch.zeros(2, 16), torch.zeros(2, 1, dtype=torch.uint8), TypeError),
        (torch.zeros(2, 16, dtype=torch.uint8), torch.zeros(2, 2, dtype=torch.uint8), ValueError),
        (torch.zeros(2, 15, dtype=torch.uint8), torch.zeros(2, 1, dtype=torch.uint8), ValueError),
    ],
)
def test_refusals_of_four_bit_floats(weights: torch.Tensor, scales: torch.Tensor, error: type[Exception]) -> None:
    with pytest.raises(error):
        triton_ops.decode_mxfp4(weights, scales)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"bits": 3}, ValueError),
        ({"weights": torch.zeros(16, 81, dtype=torch.int32)}, ValueError),
        ({"zeros": torch.zeros(4, 11, dtype=torch.int32)}, ValueError),
        ({"zeros": torch.zeros(4, 10)}, TypeError),
        ({"groups": torch.zeros(128, dtype=torch.int32)}, TypeError),
    ],
    ids=str,
)
def test_refusals_of_column_ints(change: dict[str, Any], error: type[Exception]) -> None:
    asked: dict[str, Any] = {
        "weights": torch.zeros(16, 80, dtype=torch.int32),
        "zeros": torch.zeros(4, 10, dtype=torch.int32),
        "scales": torch.ones(4, 80),
        "groups": torch.zeros(128, dtype=torch.int64),
        "bits": 4,
    }
    with pytest.raises(error):
        triton_ops.decode_column_ints(**asked | change, **GPTQ)

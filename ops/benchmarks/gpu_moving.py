"""Times what does little more than move bytes: dequantizing, Triton's decoding of packed weights, sums of squares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from gpu_device import Bench

import ggufactory_kernels as gk
from ggufactory_kernels import cuda, triton_ops

TITLES = ("what", "weights", "bytes", "of the copy bandwidth")
GROUP = 128
"""Weights that share a scale, where a format leaves that open: what most checkpoints have."""
EXPERTS = 8
_FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_AWQ_PLACES = (0, 4, 1, 5, 2, 6, 3, 7)
"""Of a word's eight outputs, which four bits each has."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Weights per second, and the bytes that are read and written for one."""

    label: str
    rate: float
    bytes: float

    def row(self, bandwidth: float) -> tuple[str, ...]:
        share = 100 * self.rate * self.bytes / bandwidth
        return (self.label, f"{self.rate / 1e9:.2f}", f"{self.bytes:.2f}", f"{share:.0f} %")


def measure_dequantizers(bench: Bench, x: torch.Tensor, rounds: int) -> Iterator[Moved]:
    """Every type, of blocks made from `x` on the GPU, to single precision. gpu_kernels.py has verified the numbers."""
    columns = x.shape[1]
    importance = np.random.default_rng(1).random(columns, dtype=np.float32)
    for name in cuda.KERNEL_TYPES:
        packed = bench.quantize(x, name, importance if gk.TENSOR_TYPES[name].needs_importance else None)
        seconds = bench.seconds(lambda packed=packed, name=name: bench.dequantize(packed, name, columns), rounds)
        yield Moved(f"dequantize {name}", x.numel() / seconds, packed.numel() / x.numel() + 4)


def measure_triton(bench: Bench, rows: int, columns: int, rounds: int) -> Iterator[Moved]:
    """Decoding to BF16, and sums: each is compared with plain torch first. SystemExit where they differ."""
    random = torch.Generator(bench.device).manual_seed(1)
    for case in (*_scaled_bytes(bench, random, rows, columns), *_four_bit_floats(bench, random, rows, columns)):
        yield _measure(bench, case, rows * columns, rounds)
    for case in (*_column_ints(bench, random, rows, columns), *_sums(bench, random, rows, columns)):
        yield _measure(bench, case, rows * columns, rounds)


@dataclass(frozen=True, slots=True)
class _Case:
    label: str
    made: Callable[[], torch.Tensor]
    wanted: Callable[[], torch.Tensor]
    bytes: float
    tolerance: float = 0.0


def _measure(bench: Bench, case: _Case, weights: int, rounds: int) -> Moved:
    found, wanted = case.made(), case.wanted()
    if found.dtype is not wanted.dtype or not torch.allclose(found, wanted, rtol=case.tolerance, atol=0):
        raise SystemExit(f"{case.label}: the values differ from torch's")
    return Moved(case.label, weights / bench.seconds(case.made, rounds), case.bytes)


def _scaled_bytes(bench: Bench, random: torch.Generator, rows: int, columns: int) -> Iterator[_Case]:
    normal = torch.randn((rows, columns), generator=random, device=bench.device)
    weights = normal.to(torch.float8_e4m3fn)
    order = torch.randperm(rows, generator=random, device=bench.device)
    for label, height, width, chosen in (
        ("FP8, a scale for 128 x 128", GROUP, GROUP, None),
        ("the same, rows in another order", GROUP, GROUP, order),
        ("FP8, a scale for a row", 1, columns, None),
    ):
        shape = (-(-rows // height), -(-columns // width))
        scales = torch.rand(shape, generator=random, device=bench.device)
        scale_rows = torch.arange(rows, device=bench.device) // height

        def made(
            scales: torch.Tensor = scales,
            scale_rows: torch.Tensor = scale_rows,
            width: int = width,
            chosen: torch.Tensor | None = chosen,
        ) -> torch.Tensor:
            return triton_ops.decode_scaled_bytes(weights, scales, scale_rows, width, torch.bfloat16, chosen)

        def wanted(
            scales: torch.Tensor = scales,
            blocks: tuple[int, int] = (height, width),
            chosen: torch.Tensor | None = chosen,
        ) -> torch.Tensor:
            by_row = scales.repeat_interleave(blocks[0], 0)[:rows].repeat_interleave(blocks[1], 1)[:, :columns]
            all_rows = (weights.float() * by_row).bfloat16()
            return all_rows if chosen is None else all_rows[chosen]

        by_row = (8 if chosen is None else 16) / columns  # the number of its scales, and its place
        yield _Case(label, made, wanted, 1 + 2 + 4 * scales.numel() / weights.numel() + by_row)


def _four_bit_floats(bench: Bench, random: torch.Generator, rows: int, columns: int) -> Iterator[_Case]:
    packed = torch.randint(0, 256, (rows, columns // 2), generator=random, dtype=torch.uint8, device=bench.device)
    table = torch.tensor([*_FP4, *(-number for number in _FP4)], device=bench.device)

    def times(factors: torch.Tensor, group: int) -> torch.Tensor:
        codes = torch.stack((packed & 15, packed >> 4), dim=-1).flatten(1)
        return (table[codes.int()] * factors.repeat_interleave(group, 1)).bfloat16()

    # Both kinds of scale are usual numbers here: a power is a number's exponent, and no scale is NaN or below zero.
    powers = torch.randint(120, 130, (rows, columns // 32), generator=random, dtype=torch.uint8, device=bench.device)
    small = torch.randint(1, 120, (rows, columns // 16), generator=random, dtype=torch.uint8, device=bench.device)
    yield _Case(
        "MXFP4",
        lambda: triton_ops.decode_mxfp4(packed, powers, torch.bfloat16),
        lambda: times((powers.int() << 23).view(torch.float32), 32),
        1 / 2 + 1 / 32 + 2,
    )
    yield _Case(
        "NVFP4",
        lambda: triton_ops.decode_nvfp4(packed, small, torch.bfloat16),
        lambda: times(small.view(torch.float8_e4m3fn).float(), 16),
        1 / 2 + 1 / 16 + 2,
    )


def _column_ints(bench: Bench, random: torch.Generator, rows: int, columns: int) -> Iterator[_Case]:
    """`rows` outputs of `columns` inputs."""
    on = {"generator": random, "device": bench.device}
    groups = torch.arange(columns, device=bench.device) // GROUP
    words = torch.randint(-(1 << 31), 1 << 31, (rows * columns // 8,), **on).int()
    zeros = torch.randint(-(1 << 31), 1 << 31, (columns // GROUP, rows // 8), **on).int()
    scales = torch.rand((columns // GROUP, rows), **on)
    for label, along_inputs in (("GPTQ, 4 bits", True), ("AWQ", False)):
        places = tuple(range(8)) if along_inputs else _AWQ_PLACES
        weights = words.view(columns // 8, rows) if along_inputs else words.view(columns, rows // 8)
        offset = 1 if along_inputs else 0

        def made(
            weights: torch.Tensor = weights, along_inputs: bool = along_inputs, offset: int = offset
        ) -> torch.Tensor:
            return triton_ops.decode_column_ints(
                weights, zeros, scales, groups, 4, along_inputs=along_inputs, zero_offset=offset, dtype=torch.bfloat16
            )

        def wanted(
            weights: torch.Tensor = weights,
            along_inputs: bool = along_inputs,
            places: tuple[int, ...] = places,
            offset: int = offset,
        ) -> torch.Tensor:
            numbers = _nibbles(weights, places, 0 if along_inputs else 1)
            least = _nibbles(zeros, places, 1) + offset
            return ((numbers - least[groups]).float() * scales[groups]).T.bfloat16()

        yield _Case(label, made, wanted, 1 / 2 + 2 + (4 + 1 / 2) / GROUP)


def _nibbles(words: torch.Tensor, places: tuple[int, ...], dim: int) -> torch.Tensor:
    """The integers of four bits in `words`, which become eight times as many along `dim`."""
    return torch.stack([words >> 4 * place & 15 for place in places], dim=dim + 1).flatten(dim, dim + 1)


def _sums(bench: Bench, random: torch.Generator, rows: int, columns: int) -> Iterator[_Case]:
    x = torch.randn((rows, columns), generator=random, device=bench.device).bfloat16()
    experts = torch.randint(0, EXPERTS, (rows,), generator=random, device=bench.device)

    def by_expert() -> torch.Tensor:
        found = torch.zeros((EXPERTS, columns), dtype=torch.float64, device=bench.device)
        return found.index_add_(0, experts, x.double().square())

    yield _Case(
        "squares by column",
        lambda: triton_ops.column_squares(x),
        lambda: x.double().square().sum(dim=0, keepdim=True),
        2,
        tolerance=1e-6,
    )
    yield _Case(
        f"squares by column of {EXPERTS} experts",
        lambda: triton_ops.column_squares_by_id(x, experts, EXPERTS)[0],
        by_expert,
        2 + 16 / columns,
        tolerance=1e-6,
    )

"""One small tensor of each packing, made from numbers that are known before they are packed.

What a tensor must decode to is computed from those numbers, by definitions that do not unpack anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""The output whose weight each place of a word holds."""


@dataclass(frozen=True)
class Sample:
    """Tensors of a checkpoint that hold the logical tensor `name`, and what that is."""

    tensors: Mapping[str, torch.Tensor]
    config: Mapping[str, Any]
    """quantization_config."""
    wanted: torch.Tensor
    """Single precision, or bytes of ggml's blocks [..., rows, bytes]."""
    shape: tuple[int, ...]
    name: str = "layers.0.w.weight"
    row_bytes: int | None = None
    """Of packed weights; None where any row takes reading all."""
    shared_bytes: int = 0
    """Of scales and the like: the most that any rows take."""


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fp8(*shape: int, dtype: torch.dtype = E4M3, seed: int = 1) -> torch.Tensor:
    return (torch.randn(shape, generator=_generator(seed)) * 60).clamp(-440, 440).to(dtype)


def scales(*shape: int, seed: int = 2) -> torch.Tensor:
    return torch.rand(shape, generator=_generator(seed)) * 0.01 + 1e-4


def integers(least: int, end: int, *shape: int, seed: int = 3) -> torch.Tensor:
    return torch.randint(least, end, shape, generator=_generator(seed))


def words(numbers: torch.Tensor, bits: int, dim: int) -> torch.Tensor:
    """Unsigned `numbers` packed along `dim` into int32, the first lowest; the last word is filled up with zeros."""
    per_word = 32 // bits
    moved = numbers.movedim(dim, -1)
    missing = -moved.shape[-1] % per_word
    padded = torch.nn.functional.pad(moved, (0, missing)).unflatten(-1, (-1, per_word))
    packed = (padded << (torch.arange(per_word) * bits)).sum(-1)
    return torch.where(packed >= 1 << 31, packed - (1 << 32), packed).int().movedim(-1, dim)


def interleaved(numbers: torch.Tensor) -> torch.Tensor:
    """The same of numbers of four bits along rows, in AWQ's order."""
    return words(numbers.unflatten(1, (-1, 8))[:, :, AWQ_ORDER].flatten(1), 4, 1)


def compressed(form: str, weights: Mapping[str, Any]) -> dict[str, Any]:
    """quantization_config of compressed-tensors."""
    return {"quant_method": "compressed-tensors", "format": form, "config_groups": {"group_0": {"weights": weights}}}


def fp8_blocks(dtype: torch.dtype = E4M3) -> Sample:
    """Blocks of 32 by 16 over 70 by 45: ragged both ways."""
    weights, inverse = fp8(70, 45, dtype=dtype), scales(3, 3)
    row, column = torch.arange(70) // 32, torch.arange(45) // 16
    return Sample(
        {"layers.0.w.weight": weights, "layers.0.w.weight_scale_inv": inverse},
        {"quant_method": "fp8", "weight_block_size": [32, 16]},
        weights.float() * inverse[row][:, column],
        (70, 45),
        row_bytes=45,
        shared_bytes=36,
    )


def fp8_stack() -> Sample:
    """Three matrices with blocks of their own; the name has no ".weight"."""
    weights, inverse = fp8(3, 21, 32), scales(3, 2, 1).bfloat16()
    row = torch.arange(21) // 16
    return Sample(
        {"layers.0.w": weights, "layers.0.w_scale_inv": inverse, "layers.0.w_activation_scale": scales()},
        {"quant_method": "fp8", "weight_block_size": [16, 32]},
        weights.float() * inverse.float()[:, row],
        (3, 21, 32),
        name="layers.0.w",
        row_bytes=32,
        shared_bytes=12,
    )


def fp8_scaled(shape: tuple[int, ...], method: str = "modelopt", **config: Any) -> Sample:
    """Scales of `shape` for three matrices of 11 by 24."""
    weights, factors = fp8(3, 11, 24), scales(*shape)
    aligned = factors.reshape(shape + (1,) * (3 - len(shape)))
    return Sample(
        {"layers.0.w.weight": weights, "layers.0.w.weight_scale": factors, "layers.0.w.input_scale": scales()},
        {"quant_method": method, **config},
        weights.float() * aligned,
        (3, 11, 24),
        row_bytes=24,
        shared_bytes=factors.nbytes,
    )


def int8_rows() -> Sample:
    weights, factors = integers(-128, 128, 19, 40).to(torch.int8), scales(19, 1).half()
    return Sample(
        {"layers.0.w.weight": weights, "layers.0.w.weight_scale": factors},
        compressed("int-quantized", {"strategy": "channel", "type": "int", "num_bits": 8}),
        weights.float() * factors.float(),
        (19, 40),
        row_bytes=40,
        shared_bytes=38,
    )


def packed_ints(bits: int, *, zeros: bool) -> Sample:
    """37 rows of 96 weights in groups of 32."""
    numbers, factors = integers(0, 1 << bits, 37, 96), scales(37, 3).bfloat16()
    offsets = integers(0, 1 << bits, 37, 3, seed=4) if zeros else torch.full((37, 3), 1 << bits - 1)
    group = torch.arange(96) // 32
    packed = words(numbers, bits, 1)
    tensors = {
        "layers.0.w.weight_packed": packed,
        "layers.0.w.weight_scale": factors,
        "layers.0.w.weight_shape": torch.tensor([37, 96]),
    }
    if zeros:
        tensors["layers.0.w.weight_zero_point"] = words(offsets, bits, 0)
    return Sample(
        tensors,
        compressed("pack-quantized", {"strategy": "group", "type": "int", "num_bits": bits, "group_size": 32}),
        (numbers - offsets[:, group]).float() * factors.float()[:, group],
        (37, 96),
        row_bytes=4 * packed.shape[1],
        shared_bytes=factors.nbytes + 3 * 4 * (37 * bits // 32 + 2),
    )


def gptq(bits: int, form: str | None = None, *, ordered: bool = False) -> Sample:
    """128 inputs, 80 outputs, groups of 32; `ordered`: the groups' inputs are anywhere."""
    numbers, zeros = integers(0, 1 << bits, 128, 80), integers(0, 1 << bits, 4, 80, seed=4)
    factors = scales(4, 80).half()
    group = torch.arange(128) // 32
    if ordered:
        group = group[torch.randperm(128, generator=_generator(5))]
    offset = 0 if form == "gptq_v2" else 1
    config = {"quant_method": "gptq", "bits": bits, "group_size": 32, "desc_act": ordered}
    return Sample(
        {
            "layers.0.w.qweight": words(numbers, bits, 0),
            "layers.0.w.qzeros": words(zeros, bits, 1),
            "layers.0.w.scales": factors,
            **({"layers.0.w.g_idx": group.int()} if ordered else {}),
        },
        {**config, "checkpoint_format": form} if form else config,
        (factors[group].float() * (numbers - zeros[group] - offset).float()).T,
        (80, 128),
    )


def awq() -> Sample:
    """128 inputs, 80 outputs, groups of 32."""
    numbers, zeros, factors = integers(0, 16, 128, 80), integers(0, 16, 4, 80, seed=4), scales(4, 80).half()
    group = torch.arange(128) // 32
    return Sample(
        {
            "layers.0.w.qweight": interleaved(numbers),
            "layers.0.w.qzeros": interleaved(zeros),
            "layers.0.w.scales": factors,
        },
        {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm", "zero_point": True},
        ((numbers - zeros[group]).float() * factors[group].float()).T,
        (80, 128),
    )


def _pairs(codes: torch.Tensor) -> torch.Tensor:
    """Two codes of four bits in a byte, the even one low."""
    return (codes[..., 0::2] | codes[..., 1::2] << 4).to(torch.uint8)


def _halves(codes: torch.Tensor) -> torch.Tensor:
    """ggml's way: the first half of a group low, the second high."""
    half = codes.shape[-1] // 2
    return (codes[..., :half] | codes[..., half:] << 4).to(torch.uint8)


def mxfp4_experts() -> Sample:
    """Two experts of 9 rows of 96 weights, as gpt-oss has them."""
    codes, powers = integers(0, 16, 2, 9, 3, 32), integers(0, 255, 2, 9, 3, seed=4).to(torch.uint8)
    return Sample(
        {"layers.0.experts.w_blocks": _pairs(codes), "layers.0.experts.w_scales": powers},
        {"quant_method": "mxfp4"},
        torch.cat((powers[..., None], _halves(codes)), -1).flatten(2),
        (2, 9, 96),
        name="layers.0.experts.w.weight",
        row_bytes=3 * 17,
    )


def mxfp4_packed() -> Sample:
    codes, powers = integers(0, 16, 9, 3, 32), integers(0, 255, 9, 3, seed=4).to(torch.uint8)
    return Sample(
        {"layers.0.w.weight_packed": _pairs(codes).flatten(1), "layers.0.w.weight_scale": powers},
        compressed("mxfp4-pack-quantized", {"num_bits": 4, "type": "float", "group_size": 32}),
        torch.cat((powers[..., None], _halves(codes)), -1).flatten(1),
        (9, 96),
        row_bytes=3 * 17,
    )


def nvfp4(method: str = "modelopt") -> Sample:
    """9 rows of 128 weights; scales of either sign, of which ggml's blocks keep none."""
    codes, factors = integers(0, 16, 9, 2, 4, 16), fp8(9, 8)
    scale_bytes = factors.view(torch.uint8).reshape(9, 2, 4)
    named = method == "modelopt"
    tensors = {
        "layers.0.w.weight" if named else "layers.0.w.weight_packed": _pairs(codes).flatten(1),
        "layers.0.w.weight_scale": factors,
        "layers.0.w.weight_scale_2" if named else "layers.0.w.weight_global_scale": torch.tensor([0.75]),
        "layers.0.w.input_scale" if named else "layers.0.w.input_global_scale": torch.tensor([3.0]),
    }
    config = {"quant_method": "modelopt", "quant_algo": "NVFP4"} if named else compressed("nvfp4-pack-quantized", {})
    return Sample(
        tensors,
        config,
        torch.cat((scale_bytes & 127, _halves(codes).flatten(2)), -1).flatten(1),
        (9, 128),
        row_bytes=2 * 36,
    )


SAMPLES: Mapping[str, Callable[[], Sample]] = {
    "fp8 blocks": fp8_blocks,
    "fp8 e5m2": lambda: fp8_blocks(E5M2),
    "fp8 stack": fp8_stack,
    "fp8 tensor": lambda: fp8_scaled(()),
    "fp8 one": lambda: fp8_scaled((1,), "fp8"),
    "fp8 matrices": lambda: fp8_scaled((3,)),
    "fp8 rows": lambda: fp8_scaled((3, 11), "fbgemm_fp8"),
    "fp8 channels": lambda: fp8_scaled((3, 11, 1), "fp8", activation_scheme="static"),
    "int8": int8_rows,
    **{f"packed {bits}": lambda bits=bits: packed_ints(bits, zeros=False) for bits in (3, 4, 8)},
    **{f"packed {bits} with zeros": lambda bits=bits: packed_ints(bits, zeros=True) for bits in (2, 4, 5, 8)},
    **{f"gptq {bits}": lambda bits=bits: gptq(bits) for bits in (2, 4, 8)},
    "gptq named": lambda: gptq(4, "gptq"),
    "gptq v2": lambda: gptq(4, "gptq_v2"),
    "gptq ordered": lambda: gptq(4, ordered=True),
    "gptq 8 ordered": lambda: gptq(8, "gptq_v2", ordered=True),
    "awq": awq,
    "mxfp4 experts": mxfp4_experts,
    "mxfp4 packed": mxfp4_packed,
    "nvfp4": nvfp4,
    "nvfp4 compressed": lambda: nvfp4("compressed-tensors"),
}

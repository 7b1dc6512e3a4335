"""Packed checkpoints in which something is wrong: told with the tensor's name, all together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from ggufactory.errors import InputError, PlanError
from packed_samples import (
    Sample,
    awq,
    compressed,
    fp8,
    fp8_blocks,
    fp8_scaled,
    gptq,
    int8_rows,
    mxfp4_experts,
    mxfp4_packed,
    nvfp4,
    packed_ints,
    scales,
)
from packed_sources import packed_source

W = "layers.0.w."
NONE = torch.zeros(0)
"""Stands for a tensor that is missing."""


def refused(
    folder: Path, sample: Sample, changes: Mapping[str, torch.Tensor], config: Mapping[str, Any] | None = None
) -> str:
    tensors = {**sample.tensors, **changes}
    given = {name: tensor for name, tensor in tensors.items() if tensor is not NONE}
    with pytest.raises(InputError) as error:
        packed_source(folder, given, sample.config if config is None else config)
    return str(error.value)


SHAPES: list[tuple[Sample, dict[str, torch.Tensor], str]] = [
    (fp8_blocks(), {W + "weight_scale_inv": NONE}, f"'{W}weight' is stored as F8_E4M3, but has no scales beside it"),
    (fp8_blocks(), {W + "weight": NONE}, f"'{W}weight_scale_inv' has no '{W}weight' beside it"),
    (fp8_blocks(), {W + "weight": torch.ones(70, 45)}, f"'{W}weight' is stored as F32; wanted F8_E4M3 or F8_E5M2"),
    (fp8_blocks(), {W + "weight_scale_inv": scales(2, 3)}, "blocks of [32, 16] ask for [3, 3]"),
    (fp8_blocks(), {W + "weight_scale_inv": fp8(3, 3)}, f"'{W}weight_scale_inv' is stored as F8_E4M3; wanted BF16"),
    (fp8_blocks(), {W + "weight_scale_inv": torch.ones(0, 3)}, f"'{W}weight_scale_inv'"),
    (fp8_blocks(), {W + "weight": fp8(0, 45)}, f"'{W}weight', which belongs to '{W}weight_scale_inv', is empty"),
    (fp8_scaled((3,)), {W + "weight_scale": scales(11)}, "[11], which does not fit weights of [3, 11, 24]"),
    (fp8_scaled((3,)), {W + "weight_scale": scales(3, 11, 24)}, "which does not fit weights of [3, 11, 24]"),
    (fp8_scaled((3,)), {W + "weight_scale": scales(3, 11, 1, 2)}, "which does not fit weights of [3, 11, 24]"),
    (int8_rows(), {W + "weight_zero_point": torch.zeros(19, 1)}, f"'{W}weight_zero_point': zero points"),
    (int8_rows(), {W + "weight_scale": NONE}, "is stored as I8, but has no scales"),
    (packed_ints(4, zeros=True), {W + "weight_scale": NONE}, f"has no '{W}weight_scale' beside it"),
    (packed_ints(4, zeros=True), {W + "weight_shape": NONE}, f"has no '{W}weight_shape' beside it"),
    (packed_ints(4, zeros=True), {W + "weight_scale": scales(37, 2)}, "ask for [37, 8]"),
    (packed_ints(4, zeros=True), {W + "weight_scale": scales(36, 3)}, "its weights ask for [37, 3]"),
    (packed_ints(4, zeros=True), {W + "weight_zero_point": torch.zeros(4, 3).int()}, "ask for [5, 3]"),
    (packed_ints(4, zeros=True), {W + "weight_packed": torch.zeros(37).int()}, "wanted matrices"),
    (packed_ints(4, zeros=True), {W + "weight_packed": torch.zeros(37, 12)}, "is stored as F32; wanted I32"),
    (packed_ints(4, zeros=True), {W + "weight_g_idx": torch.zeros(96).int()}, "activation ordering"),
    (gptq(4), {W + "scales": NONE}, f"has no '{W}scales' beside it"),
    (gptq(4), {W + "qzeros": NONE}, f"has no '{W}qzeros' beside it"),
    (gptq(4), {W + "scales": scales(3, 80)}, "4-bit weights of 80 outputs and 128 inputs ask for [4, 80]"),
    (gptq(4), {W + "qzeros": torch.zeros(4, 20).int()}, "ask for [4, 10]"),
    (gptq(4), {W + "g_idx": torch.zeros(96).int()}, "ask for [128]"),
    (gptq(4), {W + "qweight": torch.zeros(16).int()}, "wanted matrices"),
    (gptq(4), {W + "weight": torch.zeros(80, 128)}, f"'{W}weight' is there twice: packed as '{W}qweight', and plain"),
    (awq(), {W + "scales": scales(3, 80)}, "in groups of 32 ask for [4, 80]"),
    (awq(), {W + "qzeros": torch.zeros(4, 11).int()}, "ask for [4, 10]"),
    (awq(), {W + "qweight": torch.zeros(100, 10).int()}, "100 inputs: no whole number of groups of 32"),
    (mxfp4_experts(), {"layers.0.experts.w_scales": NONE}, "has no 'layers.0.experts.w_scales' beside it"),
    (mxfp4_experts(), {"layers.0.experts.w_scales": torch.zeros(2, 9, 2).byte()}, "ask for [2, 9, 3]"),
    (mxfp4_experts(), {"layers.0.experts.w_blocks": torch.zeros(2, 9, 48).byte()}, "MXFP4 blocks end in 16 bytes"),
    (mxfp4_packed(), {W + "weight_packed": torch.zeros(9, 40).byte()}, "multiples of 16 bytes"),
    (mxfp4_packed(), {W + "weight_scale": torch.zeros(9, 2).byte()}, "ask for [9, 3]"),
    (nvfp4(), {W + "weight_scale": fp8(9, 4)}, "ask for [9, 8]"),
    (nvfp4(), {W + "weight": torch.zeros(9, 48).byte()}, "multiples of 32 bytes"),
    (nvfp4(), {W + "weight_scale": NONE}, f"'{W}weight' has no '{W}weight_scale' beside it"),
    (nvfp4(), {W + "weight_scale_2": torch.ones(2)}, f"'{W}weight_scale_2' has the shape [2]"),
    (nvfp4("compressed-tensors"), {W + "weight_scale": NONE}, f"has no '{W}weight_scale' beside it"),
]


@pytest.mark.parametrize(("sample", "changes", "message"), SHAPES, ids=[message for _, _, message in SHAPES])
def test_tensors(tmp_path: Path, sample: Sample, changes: dict[str, torch.Tensor], message: str) -> None:
    assert message in refused(tmp_path, sample, changes)


def gptq_with(**config: Any) -> tuple[Sample, dict[str, Any]]:
    sample = gptq(4)
    return sample, {**sample.config, **config}


def ints_with(**weights: Any) -> tuple[Sample, dict[str, Any]]:
    given = {"strategy": "group", "type": "int", "num_bits": 4, "group_size": 32, **weights}
    return packed_ints(4, zeros=False), compressed("pack-quantized", given)


CONFIGS: list[tuple[tuple[Sample, dict[str, Any]], str]] = [
    ((fp8_blocks(), {"quant_method": "fp8", "weight_block_size": [128]}), "weight_block_size of quantization method"),
    ((fp8_blocks(), {"quant_method": "fp8", "weight_block_size": [0, 1]}), "must be two numbers from 1 to 1048576"),
    ((fp8_blocks(), {"quant_method": "fp8"}), "one for all, for each row or for each matrix were wanted"),
    (gptq_with(bits=3), "config.json: bits of quantization method 'gptq' must be 2, 4 or 8, but is 3"),
    (gptq_with(bits="4"), "must be a number from 1 to 8, but is '4'"),
    (gptq_with(bits=None), "bits of quantization method 'gptq' is needed"),
    (gptq_with(group_size=0), "must be a number from 1 to 1048576, but is 0"),
    (gptq_with(group_size=True), "group_size of quantization method 'gptq' must be a number"),
    (gptq_with(checkpoint_format="marlin"), "must be gptq or gptq_v2, but is 'marlin'"),
    ((awq(), {**awq().config, "version": "gemv"}), "must be gemm, but is 'gemv'"),
    ((awq(), {**awq().config, "bits": 8}), "must be 4, but is 8"),
    ((int8_rows(), compressed("marlin-24", {})), "must be one of float-quantized, int-quantized"),
    ((int8_rows(), {**compressed("int-quantized", {}), "config_groups": {}}), "config_groups of"),
    ((int8_rows(), {**compressed("int-quantized", {}), "config_groups": [1]}), "must be an object"),
    ((int8_rows(), {**compressed("int-quantized", {}), "config_groups": {"a": 1}}), "must be an object"),
    ((int8_rows(), {**compressed("int-quantized", {}), "config_groups": {"a": {}}}), "weights of quantization method"),
    ((int8_rows(), compressed("int-quantized", {"strategy": "token"})), "must be tensor, channel or block"),
    ((int8_rows(), compressed("int-quantized", {"strategy": "channel", "num_bits": 4})), "num_bits"),
    ((int8_rows(), compressed("naive-quantized", {"strategy": "channel"})), "must be float or int"),
    (ints_with(num_bits=9), "must be a number from 1 to 8, but is 9"),
    (ints_with(type="float"), "must be int, but is 'float'"),
    (ints_with(strategy="tensor"), "must be group or channel"),
    (ints_with(group_size=None), "group_size of quantization method 'compressed-tensors' is needed"),
]


@pytest.mark.parametrize(("given", "message"), CONFIGS, ids=[message for _, message in CONFIGS])
def test_settings(tmp_path: Path, given: tuple[Sample, dict[str, Any]], message: str) -> None:
    sample, config = given
    assert message in refused(tmp_path, sample, {}, config)


def test_all_faults_are_told_together(tmp_path: Path) -> None:
    tensors = {f"{name}.weight": fp8(4, 4) for name in "abc"} | {"c.weight_scale_inv": scales(3, 2)}
    with pytest.raises(PlanError) as error:
        packed_source(tmp_path, tensors, {"quant_method": "fp8"})
    assert [fault.split()[1] for fault in error.value.faults] == ["'c.weight_scale_inv'", "'a.weight'", "'b.weight'"]


def test_a_thousand_faults_are_not_listed(tmp_path: Path) -> None:
    tensors = {f"{number}.weight": fp8(1, 1) for number in range(1000)}
    with pytest.raises(PlanError) as error:
        packed_source(tmp_path, tensors, {"quant_method": "fp8"})
    assert len(error.value.faults) == 101
    assert error.value.faults[-1] == "and 900 more such faults"


@pytest.mark.parametrize("group", [4, -1])
def test_a_group_that_is_not_there_is_found_while_reading(tmp_path: Path, group: int) -> None:
    sample = gptq(4, ordered=True)
    groups = sample.tensors[W + "g_idx"].clone()
    groups[77] = group
    source = packed_source(tmp_path, {**sample.tensors, W + "g_idx": groups}, sample.config)
    with pytest.raises(InputError, match=rf"tensor {W}g_idx puts input 77 into group {group}, but {W}scales has 4"):
        source.read(sample.name, 0, 1)


def test_numbers_beyond_single_precision_are_left_to_the_kernels(tmp_path: Path) -> None:
    tensors = {"a.weight": torch.full((2, 4), 448.0).to(torch.float8_e4m3fn), "a.weight_scale": torch.tensor(3e38)}
    source = packed_source(tmp_path, tensors, {"quant_method": "fp8"})
    assert (source.singles("a.weight") == float("inf")).all()

"""Where a checkpoint says how it is packed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from ggufactory.checkpoint.packing import Quantization, find_quantization
from ggufactory.errors import InputError
from packed_samples import awq, fp8_blocks, fp8_scaled, gptq, nvfp4
from packed_sources import PackedSource, open_packed, same_bits

FP8 = {"quant_method": "fp8", "weight_block_size": [32, 16]}


def found(folder: Path, config: Mapping[str, Any], **files: Mapping[str, Any]) -> Quantization | None:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return find_quantization(opened(folder).checkpoint, config)


def opened(folder: Path) -> PackedSource:
    return open_packed(folder, {"norm.weight": torch.ones(4)}, {})


def test_nothing_is_said_of_most(tmp_path: Path) -> None:
    assert found(tmp_path, {"quantization_config": None}) is None
    source = opened(tmp_path)
    norm = source.tensors["norm.weight"]
    assert (norm.shape, norm.rows, norm.columns, norm.dtype) == ((4,), 1, 4, "F32")


@pytest.mark.parametrize(
    "config",
    [
        {"quantization_config": FP8},
        {"text_config": {"quantization_config": FP8}},
        {"compression_config": FP8},
        {"text_config": {"quantization_config": FP8}, "quantization_config": {"quant_method": "gptq"}},
    ],
)
def test_config_json(tmp_path: Path, config: Mapping[str, Any]) -> None:
    quantization = found(tmp_path, config)
    assert quantization is not None
    assert quantization.method == "fp8"
    assert quantization.pair("weight_block_size") == (32, 16)


def test_compression_config_needs_no_method(tmp_path: Path) -> None:
    quantization = found(tmp_path, {"compression_config": {"format": "pack-quantized"}})
    assert quantization is not None
    assert quantization.method == "compressed-tensors"


def test_modelopts_file_alone(tmp_path: Path) -> None:
    sample = fp8_scaled((3, 11))
    file = {"producer": {"name": "modelopt", "version": "0.29"}, "quantization": {"quant_algo": "FP8"}}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(file), encoding="utf-8")
    source = open_packed(tmp_path, sample.tensors, {})
    assert same_bits(source.singles(sample.name), sample.wanted)


def test_modelopts_file_overrides_the_algorithm(tmp_path: Path) -> None:
    file = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4"}}
    quantization = found(tmp_path, {"quantization_config": {"quant_method": "other"}}, hf_quant_config=file)
    assert quantization is not None
    assert quantization.method == "other"
    assert quantization.has_nvfp4()


def test_modelopts_file_is_not_asked_where_config_json_says_all(tmp_path: Path) -> None:
    config = {"quant_method": "modelopt", "quant_algo": "FP8", "quantized_layers": {"a": {"quant_algo": "FP8"}}}
    file = {"quantization": {"quant_algo": "NVFP4"}}
    quantization = found(tmp_path, {"quantization_config": config}, hf_quant_config=file)
    assert quantization is not None
    assert not quantization.has_nvfp4()


@pytest.mark.parametrize("algorithm", ["NVFP4", "W4A16_NVFP4"])
def test_nvfp4_of_some_layers(algorithm: str) -> None:
    settings = {"quant_algo": "MIXED_PRECISION", "quantized_layers": {"a": {"quant_algo": algorithm}}}
    assert Quantization("modelopt", settings).has_nvfp4()


def test_nvfp4_beside_fp8(tmp_path: Path) -> None:
    four, eight = nvfp4(), fp8_scaled((3, 11))
    tensors = {name.replace("layers.0", "layers.1"): tensor for name, tensor in eight.tensors.items()}
    config = {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}
    source = open_packed(tmp_path, {**four.tensors, **tensors, "layers.1.k_proj.k_scale": torch.ones(1)}, config)
    assert source.tensors.keys() == {
        "layers.0.w.weight",
        "layers.0.w.weight_scale_2",
        "layers.0.w.input_scale",
        "layers.1.w.weight",
    }
    assert same_bits(source.singles("layers.1.w.weight"), eight.wanted)


def test_modelopts_scales_without_weights_are_left_out(tmp_path: Path) -> None:
    sample = fp8_scaled((3, 11))
    source = open_packed(
        tmp_path, {**sample.tensors, "other.weight_scale": torch.ones(1)}, {"quantization_config": sample.config}
    )
    assert list(source.tensors) == [sample.name]


def test_one_scale_is_the_whole_tensors_among_blocks_too(tmp_path: Path) -> None:
    sample = fp8_scaled((1,), "fp8", weight_block_size=[4, 4])
    source = open_packed(tmp_path, sample.tensors, {"quantization_config": sample.config})
    assert same_bits(source.singles(sample.name), sample.wanted)


def test_weight_only_is_by_the_nearest_module() -> None:
    layers = {
        "model.layers.0": {"quant_algo": "W4A16_NVFP4"},
        "model.layers.0.mlp": {"quant_algo": "NVFP4"},
        "model.language_model.layers.2.mlp.up": {"quant_algo": "W4A16_NVFP4"},
    }
    names = [f"model.layers.{n}.{module}.weight" for n in range(3) for module in ("attn", "mlp.up")]
    mixed = Quantization("modelopt", {"quant_algo": "MIXED_PRECISION", "quantized_layers": layers})
    assert mixed.weight_only(names) == {"model.layers.0.attn.weight", "model.layers.2.mlp.up.weight"}
    assert Quantization("modelopt", {"quant_algo": "W4A16_NVFP4"}).weight_only(names) == set(names)


@pytest.mark.parametrize(
    ("file", "sample", "settings"),
    [
        ("quantize_config", gptq(4), {"bits": 4, "group_size": 32, "desc_act": False, "damp_percent": 0.01}),
        ("quant_config", awq(), {"zero_point": True, "q_group_size": 32, "w_bit": 4, "version": "GEMM"}),
    ],
)
def test_files_of_old_checkpoints(tmp_path: Path, file: str, sample: Any, settings: Mapping[str, Any]) -> None:
    (tmp_path / f"{file}.json").write_text(json.dumps(settings), encoding="utf-8")
    source = open_packed(tmp_path, sample.tensors, {})
    assert same_bits(source.singles(sample.name), sample.wanted)


def test_weights_that_were_not_converted_stay_plain(tmp_path: Path) -> None:
    sample = fp8_blocks()
    tensors = {**sample.tensors, "layers.1.w.weight": torch.ones(2, 3, dtype=torch.bfloat16)}
    source = open_packed(tmp_path, tensors, {"quantization_config": sample.config})
    plain = source.tensors["layers.1.w.weight"].source
    assert plain is not None
    assert (plain.dtype, plain.rows, plain.columns) == ("BF16", 2, 3)


def test_order_is_that_of_the_weights(tmp_path: Path) -> None:
    tensors = {f"{name}.{part}": tensor for name in "ab" for part, tensor in _parts().items()}
    source = open_packed(
        tmp_path, {**tensors, "a.z": torch.ones(1), "b.a": torch.ones(1)}, {"quantization_config": FP8}
    )
    assert list(source.tensors) == ["a.weight", "a.z", "b.a", "b.weight"]


def _parts() -> dict[str, torch.Tensor]:
    return {name.removeprefix("layers.0.w."): tensor for name, tensor in fp8_blocks().tensors.items()}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"quantization_config": "fp8"}, r"config\.json: the quantization's settings must be an object"),
        ({"quantization_config": {"quant_method": 8}}, r"config\.json: quant_method must be a name, but is 8"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "method 'bitsandbytes'. Supported are fp8, "),
    ],
)
def test_nonsense_and_unknown_methods(tmp_path: Path, config: Mapping[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_packed(tmp_path, {"norm.weight": torch.ones(4)}, config)

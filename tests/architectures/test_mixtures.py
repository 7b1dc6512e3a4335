"""What models with experts and with further layers ask for beyond their tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ggufactory.architectures.model import Model
from ggufactory.architectures.registry import describe
from ggufactory.architectures.transforms import Reshaped, Transposed, TransposedRowsOf
from ggufactory.checkpoint import open_checkpoint
from ggufactory.checkpoint.packing.mxfp4 import Mxfp4Rows
from ggufactory.checkpoint.packing.stored_matrix import StoredMatrix
from ggufactory.checkpoint.weight_tensor import WeightTensor
from ggufactory.errors import InputError
from small_checkpoints import write_checkpoint

FIRST_FURTHER = "model.layers.2."


def described(folder: Path) -> Model:
    return describe(open_checkpoint(str(folder)))


def parameter(model: Model, key: str) -> object:
    return next((kv.value for kv in model.metadata if kv.key == key), None)


def change_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | changes
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def keep_tensors(folder: Path, kept: Callable[[str], bool]) -> None:
    """Write model.safetensors again with those alone."""
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header: dict[str, Any] = {}
    body = b""
    for name, entry in json.loads(raw[8 : 8 + length]).items():
        if kept(name):
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            header[name] = entry | {"data_offsets": [len(body), len(body) + end - start]}
            body += raw[start:end]
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def rename_tensors(folder: Path, old: str, new: str) -> None:
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = raw[8 : 8 + length].replace(old.encode(), new.encode())
    path.write_bytes(len(header).to_bytes(8, "little") + header + raw[8 + length :])


@pytest.mark.parametrize("name", ["glm45_mtp", "glm47_flash"])
def test_without_its_further_layers_a_model_is_complete(name: str, tmp_path: Path) -> None:
    """The number of blocks stays: llama.cpp finds that the last has no tensors."""
    folder = write_checkpoint(name, tmp_path)
    keep_tensors(folder, lambda tensor: not tensor.startswith(FIRST_FURTHER))
    model = described(folder)
    assert not [tensor.name for tensor in model.tensors if tensor.name.startswith("blk.2.")]
    assert parameter(model, f"{model.architecture}.block_count") == 3


@pytest.mark.parametrize("missing", ["eh_proj", "enorm", "self_attn.o_proj", "mlp.experts.1.up_proj"])
def test_part_of_a_further_layer_is_refused(missing: str, tmp_path: Path) -> None:
    folder = write_checkpoint("glm45_mtp", tmp_path)
    keep_tensors(folder, lambda tensor: tensor != f"{FIRST_FURTHER}{missing}.weight")
    with pytest.raises(InputError, match=rf"1 tensors are missing: model\.layers\.2\.{missing}"):
        described(folder)


def test_qwen3_next_without_further_layers(tmp_path: Path) -> None:
    """Only the names of tensors tell of them."""
    folder = write_checkpoint("qwen3_next", tmp_path)
    keep_tensors(folder, lambda tensor: not tensor.startswith("mtp."))
    model = described(folder)
    assert parameter(model, "qwen3next.block_count") == 2
    assert parameter(model, "qwen3next.nextn_predict_layers") is None
    assert parameter(model, "qwen3next.attention.recurrent_layers") == (True, False)


def test_a_further_layer_may_stand_under_the_model(tmp_path: Path) -> None:
    folder = write_checkpoint("qwen3_next", tmp_path)
    want = {tensor.name for tensor in described(folder).tensors}
    rename_tensors(folder, '"mtp.', '"model.mtp.')
    assert {tensor.name for tensor in described(folder).tensors} == want


@pytest.mark.parametrize(
    ("name", "key"),
    [("qwen3_next", "num_experts"), ("deepseek_v2_lite", "n_routed_experts"), ("granite_shared", "num_local_experts")],
)
def test_more_experts_than_tensors_are_refused_at_once(name: str, key: str, tmp_path: Path) -> None:
    """config.json may say any number: the names of what is missing are not all made."""
    folder = write_checkpoint(name, tmp_path)
    change_config(folder, **{key: 2**31 - 1})
    with pytest.raises(InputError) as caught:
        described(folder)
    assert len(str(caught.value)) < 100_000


def test_experts_in_more_layers_than_any_model_has(tmp_path: Path) -> None:
    folder = write_checkpoint("deepseek_v2_lite", tmp_path)
    change_config(folder, n_routed_experts=2**31 - 1, num_hidden_layers=10_000)
    with pytest.raises(InputError, match=r"more than 100\d{3} tensors are missing") as caught:
        described(folder)
    assert "does not have" not in str(caught.value)


@pytest.mark.parametrize(
    "change", [{"n_routed_experts": None}, {"scoring_func": ["sigmoid"]}, {"kv_lora_rank": "x"}, {"v_head_dim": 0}]
)
def test_senseless_parameters_are_refused(change: dict[str, object], tmp_path: Path) -> None:
    """No class of transformers has looked at them."""
    folder = write_checkpoint("kimi_k2", tmp_path)
    change_config(folder, **change)
    with pytest.raises(InputError):
        described(folder)


def test_layers_beyond_any_model_are_refused(tmp_path: Path) -> None:
    folder = write_checkpoint("glm45_mtp", tmp_path)
    change_config(folder, num_nextn_predict_layers=2**31 - 1)
    with pytest.raises(InputError, match="at most 10,000"):
        described(folder)


def test_blocks_without_experts_are_refused_where_llama_cpp_knows_none(tmp_path: Path) -> None:
    folder = write_checkpoint("qwen3_moe_fused", tmp_path)
    rename_tensors(folder, "model.layers.0.mlp.gate.", "model.layers.0.mlp.up_proj.")
    with pytest.raises(InputError, match=r"1 layers does not have: model\.layers\.0\.mlp\.up_proj"):
        described(folder)


@pytest.mark.parametrize("how", ["folder", "card"])
def test_a_reranker_is_refused(how: str, tmp_path: Path) -> None:
    folder = write_checkpoint("qwen3_embedding", tmp_path)
    if how == "folder":
        folder = folder.rename(tmp_path / "Qwen3-Reranker-0.6B")
    else:
        (folder / "README.md").write_text("# Qwen3-Reranker-0.6B\n", encoding="utf-8")
    with pytest.raises(InputError, match="reranker"):
        described(folder)


@pytest.mark.parametrize("transform", [Transposed(), TransposedRowsOf(0, ("half", "half"), "matrices")])
def test_blocks_of_weights_cannot_be_transposed(transform: Transposed | TransposedRowsOf) -> None:
    with pytest.raises(InputError, match="packed as MXFP4, which cannot be transposed"):
        transform.place([packed()], {"half": 32, "matrices": 1})


def test_vectors_are_not_packed() -> None:
    with pytest.raises(InputError, match="which only matrices are"):
        Reshaped(("half",)).place([packed()], {"half": 32})


def packed() -> WeightTensor:
    weights = StoredMatrix("x", "model.safetensors", 0, "U8", 64, 32)
    scales = StoredMatrix("y", "model.safetensors", 2048, "U8", 64, 2)
    return WeightTensor("x", (64, 64), "U8", Mxfp4Rows(weights, scales))

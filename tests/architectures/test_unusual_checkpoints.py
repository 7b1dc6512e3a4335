"""What the recorded checkpoints of the families have not: oddities that are converted, and ones that are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from converted_rows import conversion, expected, metadata_rows, tensor_rows
from ggufactory.architectures.model import Model
from ggufactory.architectures.registry import describe
from ggufactory.checkpoint import open_checkpoint
from ggufactory.errors import InputError
from small_checkpoints import DECLARED
from small_families import Matrices


def described(name: str, folder: Path, tensors: Matrices | None = None, **config: Any) -> Model:
    """A declared checkpoint with more tensors and other hyperparameters; None removes one."""
    case = DECLARED[name]
    settings = {key: value for key, value in (case.config | config).items() if value is not None}
    replace(case, config=settings, tensors=case.tensors | (tensors or {})).write(folder)
    return describe(open_checkpoint(str(folder)), conversion(name))


def refusal(name: str, folder: Path, tensors: Matrices | None = None, **config: Any) -> str:
    with pytest.raises(InputError) as caught:
        described(name, folder, tensors, **config)
    return str(caught.value)


def is_recorded(name: str, model: Model, folder: Path) -> bool:
    """Whether the model has the tensors and hyperparameters of the checkpoint as it was recorded."""
    own = f"{model.architecture}."
    got = {key: row for key, row in metadata_rows(model) if key.startswith(own)}
    wanted = {key: row for key, row in expected(name)["kv"].items() if key.startswith(own)}
    return got == wanted and sorted(tensor_rows(model, folder)) == sorted(expected(name)["tensors"])


def test_masks_of_gpt2_are_left_out(tmp_path: Path) -> None:
    """Of the published checkpoint. The converter means to leave them out, and stumbles over them."""
    masks: Matrices = {f"h.{layer}.attn.{name}": (1, 1, 4, 4) for layer in range(2) for name in ("bias", "masked_bias")}
    model = described("gpt2_published", tmp_path, masks)
    assert is_recorded("gpt2_published", model, tmp_path)


def test_falcon_7b_has_one_key_and_value_head(tmp_path: Path) -> None:
    """Its published configuration, and transformers' class, say as many as query heads; the converter believes them."""
    model = described(
        "falcon_multi_query",
        tmp_path,
        architectures=["FalconForCausalLM"],
        model_type="falcon",
        n_head=None,
        n_layer=None,
        num_attention_heads=4,
        num_hidden_layers=2,
        new_decoder_architecture=False,
    )
    assert is_recorded("falcon_multi_query", model, tmp_path)


def test_the_decoder_of_modern_bert_is_left_out(tmp_path: Path) -> None:
    """Of the published checkpoint, which the converter refuses for it."""
    model = described("modern_bert_classifier", tmp_path, {"decoder.bias": (300,), "decoder.weight": (300, 32)})
    assert is_recorded("modern_bert_classifier", model, tmp_path)


def test_biases_of_cohere2_that_are_not_zero(tmp_path: Path) -> None:
    case = replace(DECLARED["cohere2_biases"], zeros=("norm.bias",))
    case.write(tmp_path)
    with pytest.raises(InputError, match=r"q_proj\.bias is not zero"):
        describe(open_checkpoint(str(tmp_path)), conversion("cohere2_biases"))


@pytest.mark.parametrize(
    ("name", "change", "word"),
    [
        ("mistral3_images", {"text_config": {"model_type": "mistral4", "num_hidden_layers": 1}}, "mistral4"),
        ("ministral3", {"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "'yarn'"),
        ("lfm2_fixed", {"layer_types": ["conv"]}, "layer_types"),
        ("lfm2_fixed", {"block_auto_adjust_ff_dim": True, "block_ffn_dim_multiplier": "1"}, "multiplier"),
        ("phi3_longrope", {"rope_scaling": {"type": "longrope", "long_factor": [1], "short_factor": [1]}}, "3 numbers"),
        ("phi3_longrope", {"original_max_position_embeddings": 1}, "original_max_position_embeddings"),
        ("phi3_longrope", {"partial_rotary_factor": 2}, "partial_rotary_factor"),
        ("falcon_multi_query", {"n_head": 5}, "do not fit"),
        ("gpt2_published", {"n_ctx": None}, "gpt2.context_length"),
        ("roberta_classifier", {"pad_token_id": 400}, "max_position_embeddings"),
        ("bert_classifier", {"id2label": {"a": "b"}}, "id2label"),
        ("bert_classifier", {"id2label": {"0": 7}}, "output_labels"),
        ("modern_bert_classifier", {"classifier_pooling": "max"}, "classifier_pooling"),
        ("embedding_gemma", {"sliding_window": None}, "sliding_window"),
        ("xlm_roberta", {"lora_adaptations": ["a"]}, "adapters"),
    ],
)
def test_configurations_that_make_no_sense(name: str, change: dict[str, Any], word: str, tmp_path: Path) -> None:
    assert word in refusal(name, tmp_path, **change)


def test_more_heads_than_there_can_be_are_counted_no_further(tmp_path: Path) -> None:
    found = refusal("stablelm_heads", tmp_path, num_key_value_heads=(1 << 31) - 1)
    assert "more than 600 tensors are missing" in found


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"modules.json": {}}, "JSON array"),
        ({"modules.json": [{"path": "1_Pooling"}]}, "with a type"),
        ({"modules.json": [{"type": "x.Pooling", "path": 3}]}, "a folder's name"),
        ({"modules.json": [{"type": "x.Pooling", "path": "../1_Pooling"}]}, "leave the store"),
        ({"modules.json": [{"type": "x.Pooling", "path": "2_Pooling"}]}, "2_Pooling/config.json"),
        ({"1_Pooling/config.json": {"pooling_mode": "max"}}, "mean, cls, lasttoken"),
    ],
)
def test_modules_that_make_no_sense(files: dict[str, object], word: str, tmp_path: Path) -> None:
    case = DECLARED["xlm_roberta"]
    replace(case, files={**case.files, **files}).write(tmp_path)
    with pytest.raises(InputError, match=word):
        describe(open_checkpoint(str(tmp_path)), conversion("xlm_roberta"))

"""What cannot be converted rightly is refused: clearly, all faults together, and never with a traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ggufactory.architectures.registry import describe
from ggufactory.checkpoint import open_checkpoint
from ggufactory.errors import InputError, PlanError
from small_checkpoints import CHECKPOINTS, write_checkpoint

Json = dict[str, Any]


def refusal(folder: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        describe(open_checkpoint(str(folder)))
    return caught.value


def edit(folder: Path, name: str, change: Callable[[Json], object]) -> None:
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    change(content)
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


def edit_weights(folder: Path, change: Callable[[Json], object]) -> None:
    """Write model.safetensors again. `change` gets the tensors by name: dtype, shape, data."""
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    body = raw[8 + length :]
    tensors = {
        name: {"dtype": t["dtype"], "shape": t["shape"], "data": body[slice(*t["data_offsets"])]}
        for name, t in json.loads(raw[8 : 8 + length]).items()
    }
    change(tensors)
    header, end = {}, 0
    for name, t in tensors.items():
        start, end = end, end + len(t["data"])
        header[name] = {"dtype": t["dtype"], "shape": t["shape"], "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(t["data"] for t in tensors.values()))


@pytest.fixture
def yarn(tmp_path: Path) -> Path:
    return write_checkpoint("yarn", tmp_path)


def test_an_unknown_architecture_lists_the_known_ones(yarn: Path) -> None:
    edit(yarn, "config.json", lambda c: c.update(architectures=["FooForCausalLM"]))
    message = str(refusal(yarn))
    assert "FooForCausalLM" in message
    for name in ("LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM"):
        assert name in message


@pytest.mark.parametrize("value", [None, [], "LlamaForCausalLM", [3], {"a": 1}])
def test_architectures_of_the_wrong_type(yarn: Path, value: object) -> None:
    edit(yarn, "config.json", lambda c: c.update(architectures=value))
    assert "known architectures" in str(refusal(yarn))


def test_all_faults_of_the_tensors_are_told_together(yarn: Path) -> None:
    def break_them(tensors: Json) -> None:
        tensors["model.layers.0.self_attn.foo.weight"] = tensors.pop("model.layers.0.mlp.up_proj.weight")
        tensors["model.layers.1.input_layernorm.weight"] = tensors.pop("model.layers.0.input_layernorm.weight")
        tensors["model.layers.0.mlp.down_proj.weight"]["shape"] = [64, 48]
        tensors["model.norm.weight"]["dtype"] = "I16"

    edit_weights(yarn, break_them)
    error = refusal(yarn)
    assert isinstance(error, PlanError)
    message = str(error)
    unmapped = next(fault for fault in error.faults if "does not have" in fault)
    assert "model.layers.0.self_attn.foo.weight" in unmapped
    assert "model.layers.1.input_layernorm.weight" in unmapped
    missing = next(fault for fault in error.faults if "missing" in fault)
    assert "model.layers.0.mlp.up_proj.weight" in missing
    assert "model.layers.0.input_layernorm.weight" in missing
    assert "model.layers.0.mlp.down_proj.weight has the shape [64, 48], but config.json says [48, 64]" in message
    assert "model.norm.weight is stored as I16" in message


def test_faults_of_tensors_metadata_and_vocabulary_are_told_together(yarn: Path) -> None:
    edit_weights(yarn, lambda tensors: tensors.pop("model.norm.weight"))
    edit(yarn, "config.json", lambda c: c.update(bos_token_id=-1))
    (yarn / "README.md").write_text("---\nversion: 1.5\n---\n", encoding="utf-8")
    error = refusal(yarn)
    assert isinstance(error, PlanError)
    assert len(error.faults) == 3
    for words in ("model.norm.weight", "general.version", "bos_token_id: -1 is no token id"):
        assert words in str(error)


def test_an_output_matrix_is_needed_unless_embeddings_are_tied(yarn: Path) -> None:
    edit_weights(yarn, lambda tensors: tensors.pop("lm_head.weight"))
    assert "lm_head.weight" in str(refusal(yarn))
    edit(yarn, "config.json", lambda c: c.update(tie_word_embeddings=True))
    names = {t.name for t in describe(open_checkpoint(str(yarn))).tensors}
    assert "output.weight" not in names


WORDS = {
    "quantization_config": ("unheard-of",),
    "num_local_experts": ("block_sparse_moe.experts.7.w2.weight",),
    "text_config": ("config.json says [32000, 4]", "config.json says"),
    "head_dim": ("heads",),
    "rms_norm_eps": ("layer_norm_rms_epsilon",),
    "rope_scaling": ("rope",),
}


@pytest.mark.parametrize(
    "feature",
    [
        {"quantization_config": {"quant_method": "unheard-of"}},
        {"num_local_experts": 8},
        {"draft_vocab_size": 32000},
        {"text_config": {"hidden_size": 4}},
        {"rope_scaling": {"rope_type": "unheard-of"}},
        {"num_hidden_layers": 10**6},
        {"num_attention_heads": 0},
        {"head_dim": 15},
        {"vocab_size": 10**9},
        {"rope_scaling": [1]},
        {"rms_norm_eps": float("inf")},
    ],
    ids=str,
)
def test_features_that_are_not_handled(yarn: Path, feature: Json) -> None:
    edit(yarn, "config.json", lambda c: c.update(feature))
    assert any(word in str(refusal(yarn)) for word in WORDS.get(next(iter(feature)), feature))


def test_tekken_is_refused(yarn: Path) -> None:
    (yarn / "tekken.json").write_text("{}", encoding="utf-8")
    assert "tekken.json" in str(refusal(yarn))


def test_a_checkpoint_without_a_tokenizer(yarn: Path) -> None:
    (yarn / "tokenizer.model").unlink()
    assert "tokenizer.model" in str(refusal(yarn))


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x00" * 100])
def test_a_broken_sentencepiece_model(yarn: Path, content: bytes) -> None:
    (yarn / "tokenizer.model").write_bytes(content)
    assert "tokenizer.model" in str(refusal(yarn))


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 600)
    | st.just(10**30)
    | st.floats()
    | st.sampled_from(["", "<s>", "é"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["content", "id", "1", "type"]), inner),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(CHECKPOINTS)), data=st.data())
def test_any_json_in_the_small_files(name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Somewhere in a small file is a value of another type: it is converted, or refused as bad input."""
    folder = write_checkpoint(name, tmp_path_factory.mktemp("fuzz"))
    files = sorted(path.name for path in folder.glob("*.json"))
    edit(folder, data.draw(st.sampled_from(files)), lambda content: _replace_somewhere(content, data))
    with suppress(InputError):
        describe(open_checkpoint(str(folder)))
    shutil.rmtree(folder)


def _replace_somewhere(content: Json, data: st.DataObject) -> None:
    """Walk down a random way, and put a random value at its end."""
    holder: Any = content
    while True:
        keys = sorted(holder) if isinstance(holder, dict) else list(range(min(len(holder), 5)))
        key = data.draw(st.sampled_from(keys))
        below = holder[key]
        if isinstance(below, dict | list) and below and data.draw(st.integers(0, 4)):
            holder = below
            continue
        holder[key] = data.draw(JSON_VALUES)
        return


def test_code_of_a_checkpoint_is_never_needed_where_its_class_is_known(yarn: Path) -> None:
    """It is not even looked at."""
    edit(yarn, "config.json", lambda c: c.update(auto_map={"AutoConfig": "configuration_x.XConfig"}))
    (yarn / "configuration_x.py").write_text("raise SystemExit('was run')", encoding="utf-8")
    describe(open_checkpoint(str(yarn)))


def test_an_unknown_class_with_code_of_its_own(yarn: Path) -> None:
    edit(yarn, "config.json", lambda c: c.update(architectures=["XForCausalLM"], auto_map={"AutoConfig": "x.X"}))
    assert "never run" in str(refusal(yarn))


def test_the_class_of_the_text_model_counts(yarn: Path) -> None:
    """A model of images and text names its own class first."""
    text = {"text_config": {"architectures": ["LlamaForCausalLM"]}, "architectures": ["XForConditionalGeneration"]}
    edit(yarn, "config.json", lambda c: c.update(text))
    assert describe(open_checkpoint(str(yarn))).architecture == "llama"

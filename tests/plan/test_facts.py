"""What the recipe reads of a model's metadata, for architectures that keep it in their own way."""

from __future__ import annotations

import pytest

from ggufactory.errors import InputError
from ggufactory.plan.facts import facts_of
from ggufactory.plan.ftypes import file_type
from ggufactory.plan.recipe import decide_types
from ggufactory.plan.roles import TensorFacts, reference_order


def test_numbers_by_layer() -> None:
    """A hybrid model: the first layer's heads count, and it may have none."""
    metadata = {
        "lfm2.block_count": 4,
        "lfm2.attention.head_count": (32, 32, 32, 32),
        "lfm2.attention.head_count_kv": (0, 0, 8, 0),
    }
    assert (facts_of("lfm2", metadata).layers, facts_of("lfm2", metadata).gqa) == (4, 0)
    assert facts_of("lfm2", metadata | {"lfm2.attention.head_count_kv": (8, 0)}).gqa == 4


@pytest.mark.parametrize(
    ("architecture", "more", "is_70b"),
    [
        ("llama", {"block_count": 80}, False),
        ("llama", {"block_count": 80, "attention.head_count_kv": 8}, True),
        ("llama", {"block_count": 126, "attention.head_count_kv": 8}, False),
        ("llama-embed", {"block_count": 80, "attention.head_count_kv": 8}, True),
        ("qwen2", {"block_count": 80}, True),
        ("qwen3", {"block_count": 80}, False),
        ("jais2", {"block_count": 68}, True),
        ("jais2", {"block_count": 80}, False),
    ],
)
def test_70b_by_depth(architecture: str, more: dict[str, int], is_70b: bool) -> None:
    metadata = {f"{architecture}.{key}": value for key, value in ({"attention.head_count": 64} | more).items()}
    assert facts_of(architecture, metadata).is_70b == is_70b


def test_layers_that_are_not_in_the_file() -> None:
    assert facts_of("graniteswitch", {"graniteswitch.block_count": 40}).layers == 41
    looped = {"nanbeige.block_count": 16, "nanbeige.num_loops": 2}
    assert facts_of("nanbeige", looped).layers == 32
    assert facts_of("clip", {"clip.vision.block_count": 24}).layers == 0


@pytest.mark.parametrize("value", [None, "3", 1.0, True, ()])
def test_a_model_without_layers(value: object) -> None:
    metadata = {} if value is None else {"llama.block_count": value}
    with pytest.raises(InputError, match=r"llama\.block_count: wanted a whole number"):
        facts_of("llama", metadata)  # type: ignore[arg-type]


def test_glm5_next_keeps_its_small_matrices() -> None:
    kept = ("blk.0.hc_attn_fn.weight", "blk.0.indexer.attn_k.weight", "blk.0.ssm_f_a.weight", "blk.0.attn_v_b.weight")
    better = ("blk.0.attn_q_a.weight", "blk.0.attn_q_b.weight", "blk.1.nextn.eh_proj.weight")
    names = (*kept, *better, "blk.0.ffn_up.weight", "token_embd.weight", "output.weight")
    tensors = [TensorFacts(name, (512, 64), "BF16") for name in names]
    facts = facts_of("glm5-next", {"glm5-next.block_count": 8})
    types = {n: d.type for n, d in decide_types(tensors, facts, file_type("Q4_K_M"), has_importance=False).items()}
    assert {types[name] for name in kept} == {"BF16"}
    assert {types[name] for name in better} == {"Q8_0"}
    assert types["blk.0.ffn_up.weight"] == "Q4_K"
    other = facts_of("glm4", {"glm4.block_count": 8})
    types = {n: d.type for n, d in decide_types(tensors, other, file_type("Q4_K_M"), has_importance=False).items()}
    assert {types[name] for name in (*kept, *better)} == {"Q4_K"}


def test_order_of_odd_names() -> None:
    names = ["output.weight", "blk.10.a", "blk.2.b", "blk.2", "v.blk.0.a", "blk.x.a", "blk.٣.a"]
    assert sorted(names, key=reference_order) == [
        "blk.x.a", "blk.٣.a", "output.weight", "v.blk.0.a", "blk.2", "blk.2.b", "blk.10.a"
    ]  # fmt: skip

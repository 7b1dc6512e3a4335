"""The tensors that most decoders have, in the names that most checkpoints use.

A family's table is made of these and its own. Biases are kept wherever a checkpoint has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ggufactory.architectures.configuration import Config
from ggufactory.architectures.tensor_rules import EVERY_LAYER, TensorRule
from ggufactory.architectures.transforms import AsIs, RopePairs, RowsOf, Stacked, Transform

LAYER = "model.layers.{}."
_AS_IS = AsIs()

EMBEDDINGS = TensorRule("model.embed_tokens.weight", "token_embd.weight", ("vocabulary", "width"))
OUTPUT_NORM = TensorRule("model.norm.weight", "output_norm.weight", ("width",))
OUTPUT = TensorRule("lm_head.weight", "output.weight", ("vocabulary", "width"), may_have_bias=True)
MODEL = (EMBEDDINGS, OUTPUT_NORM, OUTPUT)


def norm(source: str, name: str, size: str = "width", value_map: str | None = None) -> TensorRule:
    """A norm of every block. `source`: after "model.layers.N."."""
    return TensorRule(f"{LAYER}{source}.weight", f"blk.{{}}.{name}.weight", (size,), value_map=value_map)


NORMS = (norm("input_layernorm", "attn_norm"), norm("post_attention_layernorm", "ffn_norm"))
HEAD_NORMS = (
    norm("self_attn.q_norm", "attn_q_norm", "head"),
    norm("self_attn.k_norm", "attn_k_norm", "head"),
)


def attention(*, rope_pairs: bool = False, output: str = "o_proj") -> tuple[TensorRule, ...]:
    """Queries, keys, values and their output. `rope_pairs`: the rows are brought into ggml's order of pairs."""
    return (
        linear("self_attn.q_proj", "attn_q", ("queries", "width"), RopePairs("heads") if rope_pairs else _AS_IS),
        linear("self_attn.k_proj", "attn_k", ("keys", "width"), RopePairs("kv_heads") if rope_pairs else _AS_IS),
        linear("self_attn.v_proj", "attn_v", ("keys", "width")),
        linear(f"self_attn.{output}", "attn_output", ("width", "queries")),
    )


def gated_mlp(
    source: str = "mlp", *, name: str = "ffn_{}", inner: str = "inner", layers: str = EVERY_LAYER
) -> tuple[TensorRule, ...]:
    """Gate, up and down projections. `name`: of the output, with {} for which of the three."""
    return (
        linear(f"{source}.gate_proj", name.format("gate"), (inner, "width"), layers=layers),
        linear(f"{source}.up_proj", name.format("up"), (inner, "width"), layers=layers),
        linear(f"{source}.down_proj", name.format("down"), ("width", inner), layers=layers),
    )


def stacked_experts(
    source: str = "mlp.experts",
    *,
    projections: Sequence[str] = ("gate_proj", "up_proj", "down_proj"),
    inner: str = "expert_inner",
    layers: str = EVERY_LAYER,
) -> tuple[TensorRule, ...]:
    """One tensor per expert and projection, stacked. `projections`: the names of gate, up and down."""
    shapes = ((inner, "width"), (inner, "width"), ("width", inner))
    return tuple(
        linear(f"{source}.{{expert}}.{projection}", f"ffn_{which}_exps", shape, Stacked(), layers, bias=False)
        for projection, which, shape in zip(projections, ("gate", "up", "down"), shapes, strict=True)
    )


def fused_experts(
    source: str = "mlp.experts", *, inner: str = "expert_inner", layers: str = EVERY_LAYER
) -> tuple[TensorRule, ...]:
    """All experts in one tensor, gate rows before up rows. `inner`: sizes must name twice of it "gate_up"."""
    halves = (inner, inner)
    return (
        *(
            replace(
                linear("", f"ffn_{which}_exps", ("experts", "gate_up", "width"), RowsOf(part, halves), layers),
                source=f"{LAYER}{source}.gate_up_proj",
                may_have_bias=False,
            )
            for part, which in enumerate(("gate", "up"))
        ),
        replace(
            linear("", "ffn_down_exps", ("experts", "width", inner), layers=layers),
            source=f"{LAYER}{source}.down_proj",
            may_have_bias=False,
        ),
    )


def without_tied_output(rules: tuple[TensorRule, ...], config: Config) -> tuple[TensorRule, ...]:
    """With tied embeddings the output matrix need not be there."""
    if config.get("tie_word_embeddings") is not True:
        return rules
    return tuple(replace(rule, optional=True) if rule.name == OUTPUT.name else rule for rule in rules)


def linear(
    source: str,
    name: str,
    shape: tuple[str, ...],
    transform: Transform = _AS_IS,
    layers: str = EVERY_LAYER,
    *,
    bias: bool = True,
) -> TensorRule:
    return TensorRule(
        f"{LAYER}{source}.weight", f"blk.{{}}.{name}.weight", shape, transform, may_have_bias=bias, layers=layers
    )


def with_biases(*rules: TensorRule) -> tuple[TensorRule, ...]:
    """The rules, with biases kept wherever a checkpoint has them: for norms with a bias."""
    return tuple(replace(rule, may_have_bias=True) for rule in rules)


def changed(value_map: str, *rules: TensorRule) -> tuple[TensorRule, ...]:
    """The rules, with the map of that name applied to every number."""
    return tuple(replace(rule, value_map=value_map) for rule in rules)

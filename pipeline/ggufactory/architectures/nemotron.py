"""Nemotron and Minitron: layer norms stored as their distance from one, no gate.

Source: `NemotronModel` of llama.cpp's conversion/nemotron.py.
"""

from __future__ import annotations

from ggufactory.architectures.common_tensors import (
    EMBEDDINGS,
    NORMS,
    OUTPUT,
    OUTPUT_NORM,
    attention,
    changed,
    linear,
    with_biases,
    without_tied_output,
)
from ggufactory.architectures.configuration import positive_integer
from ggufactory.architectures.family import Family
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.rope import rotated_rows
from ggufactory.architectures.sizes import transformer_sizes
from ggufactory.architectures.text_parameters import add_text_parameters
from ggufactory.architectures.tokenizer import vocabularies

TENSORS = (
    EMBEDDINGS,
    OUTPUT,
    *with_biases(*changed("add_one", OUTPUT_NORM, *NORMS)),
    *attention(),
    linear("mlp.up_proj", "ffn_up", ("inner", "width")),
    linear("mlp.down_proj", "ffn_down", ("width", "inner")),
)


def add_parameters(p: Parameters) -> None:
    add_text_parameters(p)
    p.uint32("vocab_size", p.config.get("vocab_size"))
    epsilon = p.first("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps")
    p.float32("attention.layer_norm_epsilon", epsilon)
    width = positive_integer(p.config, "hidden_size", "n_embd")
    heads = positive_integer(p.config, "num_attention_heads", "n_head")
    p.uint32("rope.dimension_count", rotated_rows(p.rope, width) // heads)
    factor = p.config.get("factor") or p.rope.get("factor")
    p.text("rope.scaling.type", "none" if factor is None else "linear")
    if factor is not None:
        p.float32("rope.scaling.factor", factor)


NEMOTRON = Family(
    architecture="nemotron",
    classes=("NemotronForCausalLM",),
    tensors=TENSORS,
    sizes=transformer_sizes,
    adjust=without_tied_output,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.nemotron,
)

"""StarCoder 2: biases and layer norms throughout.

Source: `StarCoder2Model` of llama.cpp's conversion/starcoder.py.
"""

from __future__ import annotations

from ggufactory.architectures.common_tensors import (
    EMBEDDINGS,
    NORMS,
    OUTPUT,
    OUTPUT_NORM,
    attention,
    linear,
    with_biases,
    without_tied_output,
)
from ggufactory.architectures.family import Family
from ggufactory.architectures.sizes import transformer_sizes
from ggufactory.architectures.text_parameters import add_text_parameters
from ggufactory.architectures.tokenizer import vocabularies

TENSORS = (
    EMBEDDINGS,
    OUTPUT,
    *with_biases(OUTPUT_NORM, *NORMS),
    *attention(),
    linear("mlp.c_fc", "ffn_up", ("inner", "width")),
    linear("mlp.c_proj", "ffn_down", ("width", "inner")),
)

STARCODER2 = Family(
    architecture="starcoder2",
    classes=("Starcoder2ForCausalLM",),
    tensors=TENSORS,
    sizes=transformer_sizes,
    adjust=without_tied_output,
    add_parameters=add_text_parameters,
    add_vocabulary=vocabularies.byte_level,
)

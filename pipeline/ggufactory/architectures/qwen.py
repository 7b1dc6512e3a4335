"""Qwen 2, 2.5 and 3, QwQ, and the text models of Qwen2-VL and Qwen2.5-VL.

Source: `Qwen2Model` and `Qwen3Model` of llama.cpp's conversion/qwen.py, `Qwen2VLModel` of its qwenvl.py.
"""

from __future__ import annotations

from ggufactory.architectures.common_tensors import (
    HEAD_NORMS,
    MODEL,
    NORMS,
    attention,
    gated_mlp,
    without_tied_output,
)
from ggufactory.architectures.family import Family
from ggufactory.architectures.sizes import transformer_sizes
from ggufactory.architectures.text_parameters import add_text_parameters
from ggufactory.architectures.tokenizer import vocabularies

_TENSORS = (*MODEL, *NORMS, *attention(), *gated_mlp())

QWEN2 = Family(
    architecture="qwen2",
    classes=("Qwen2ForCausalLM",),
    tensors=_TENSORS,
    sizes=transformer_sizes,
    adjust=without_tied_output,
    add_parameters=add_text_parameters,
    add_vocabulary=vocabularies.qwen2,
)
QWEN2_VL = Family(
    architecture="qwen2vl",
    classes=("Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"),
    tensors=_TENSORS,
    sizes=transformer_sizes,
    adjust=without_tied_output,
    add_parameters=add_text_parameters,
    add_vocabulary=vocabularies.qwen2,
)
QWEN3 = Family(
    architecture="qwen3",
    classes=("Qwen3ForCausalLM",),
    tensors=(*_TENSORS, *HEAD_NORMS),
    sizes=transformer_sizes,
    adjust=without_tied_output,
    add_parameters=add_text_parameters,
    add_vocabulary=vocabularies.qwen2,
)

"""The text part of a model of several kinds (text and images): its configuration, and its tensors' names.

Only that part is converted and calibrated. Its tensors are stored below "language_model.", as llama.cpp's converter
knows them too (`ModelBase.filter_tensors` of its conversion/base.py).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from transformers import CONFIG_MAPPING

_AS_TEXT_ALONE = {"qwen2_vl_text": "qwen2", "qwen2_5_vl_text": "qwen2"}
"""Text parts of which transformers has no model with a head, and the model that computes the same for text: where
all three positions of a token are the same, as they are without images, Qwen's rotations are the usual ones."""
_OF_SEVERAL_POSITIONS = ("mrope_section", "type")


def text_part(config: Any, stored: Collection[str]) -> Any:
    """The configuration of the part that predicts text; `config` itself where there is but one part.

    `stored`: the names of the checkpoint's tensors. An output matrix among them is used, as llama.cpp does: whether it
    is tied to the embeddings is told in one part or the other, and by defaults that differ.
    """
    text = getattr(config, "text_config", None)
    if text is None:
        return config
    fields = text.to_dict()
    if alone := _AS_TEXT_ALONE.get(text.model_type):
        rotations = {k: v for k, v in fields["rope_parameters"].items() if k not in _OF_SEVERAL_POSITIONS}
        fields |= {"model_type": alone, "rope_parameters": rotations | {"rope_type": "default"}}
    fields["tie_word_embeddings"] = not any(name.endswith("lm_head.weight") for name in stored)
    return CONFIG_MAPPING[fields["model_type"]].from_dict(fields)


def name_in_text_part(name: str) -> str:
    """What a tensor of the checkpoint is called in a model of the text part alone."""
    return name.replace("language_model.", "")

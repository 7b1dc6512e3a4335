"""Tensor names of checkpoints, before a family's rules look at them.

Source: `filter_tensors` of `ModelBase` and `TextModel` in llama.cpp's conversion/base.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ggufactory.architectures.configuration import Config
from ggufactory.checkpoint.weight_tensor import WeightTensor

Rename = Callable[[str, Config], str | None]
"""The name that the rules know a tensor by; None for one that is left out."""

_BUFFERS = (".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq")
"""That old checkpoints hold and no model needs (`prepare_tensors` of conversion/base.py)."""
_OTHER_MODELS = (
    "mlp",
    "vit.",
    "vpm.",
    "siglip2.",
    "conformer.",
    "merger.",
    "resampler.",
    "sound_encoder.",
    "sound_projection.",
    "speech_embeddings.",
)
"""How names of tensors begin that belong to encoders of images and sound."""
_OF_OTHER_MODELS = (
    "visual.",
    "vision.",
    "audio.",
    "talker.",
    "vision_",
    "audio_",
    "token2wav.",
    "code2wav.",
    "projector.",
    "pre_mm_projector_norm",
    "image_newline",
    "view_seperator",
    "patch_embed",
    "patch_embedding",
    "patch_merger.",
    "patch_merge_mlp.",
    "model.connector.",
)
"""Words in such names."""


def text_name(name: str, config: Config) -> str | None:
    """For every text model: encoders of other things are left out, and "language_model." goes."""
    if name.endswith(_BUFFERS) or name.startswith(_OTHER_MODELS) or any(word in name for word in _OF_OTHER_MODELS):
        return None
    if name.endswith("e_score_correction_bias"):
        name = name.replace("e_score_correction_bias", "e_score_correction.bias")
    return name.replace("language_model.", "")


def block_of(name: str) -> int | None:
    """N of "model.layers.N…"."""
    number = name.removeprefix("model.layers.").split(".")[0] if name.startswith("model.layers.") else ""
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else None


def renamed(tensors: Mapping[str, WeightTensor], rename: Rename, config: Config) -> dict[str, WeightTensor]:
    """`tensors` by the names that the rules know, in their order. Each keeps its own name for messages."""
    return {name: tensor for tensor in tensors.values() if (name := rename(tensor.name, config)) is not None}

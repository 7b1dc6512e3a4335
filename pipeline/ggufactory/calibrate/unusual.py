"""Where a family's forward in transformers is not llama.cpp's, or its tensors are not named as they are stored."""

from __future__ import annotations

from typing import Any, overload

import torch


def settle(config: Any) -> Any:
    """The configuration with which transformers computes what llama.cpp does.

    Phi-3: llama.cpp attends to everything, whatever window config.json names; EXAONE 4: so it does unless the model
    has the 64 layers of the 32B one. gpt-oss: llama.cpp rounds the bounds of YaRN's ramp to whole dimensions.
    """
    if config.model_type == "phi3":
        config.sliding_window = None
    if config.model_type == "exaone4" and config.num_hidden_layers != _EXAONE4_32B_LAYERS:
        config.sliding_window = _EVERYTHING
    if config.model_type == "gpt_oss" and config.rope_parameters.get("rope_type") == "yarn":
        config.rope_parameters["truncate"] = True
    return config


_EXAONE4_32B_LAYERS = 64
_EVERYTHING = 1 << 30
_TRANSPOSED = (".experts.gate_up_proj.weight", ".experts.down_proj.weight")
"""gpt-oss's expert weights, unpacked from MXFP4 [experts, outputs, inputs]; the model holds them transposed."""


@overload
def stored_as(name: str, tensor: torch.Tensor) -> tuple[str, torch.Tensor]: ...
@overload
def stored_as(name: str, tensor: None) -> tuple[str, None]: ...
def stored_as(name: str, tensor: torch.Tensor | None) -> tuple[str, torch.Tensor | None]:
    """Name and tensor as a checkpoint of plain weights has them."""
    if name.endswith(_TRANSPOSED):
        return name.removesuffix(".weight"), None if tensor is None else tensor.transpose(-1, -2)
    return name, tensor

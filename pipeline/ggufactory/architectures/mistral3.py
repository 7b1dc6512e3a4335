"""The text parts of Mistral Small 3.1 and 3.2, and Ministral 3: Llama, some with YaRN to scale attention by.

Source: `Mistral3Model` of llama.cpp's conversion/mistral3.py.
"""

from __future__ import annotations

from dataclasses import replace

from ggufactory.architectures import llama
from ggufactory.architectures.configuration import Config
from ggufactory.architectures.parameters import Parameters
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError


def settle(config: Config) -> Config:
    if config.get("model_type") == "mistral4":
        raise InputError("config.json: the text model is a mistral4, which is not supported")
    return config


def add_parameters(p: Parameters) -> None:
    llama.add_parameters(p)
    if p.config.get("model_type") != "ministral3":
        return
    if (kind := p.rope.get("rope_type")) != "yarn":
        raise InputError(f"config.json: the rope type of a ministral3 is {clip(kind)}, wanted 'yarn'")
    p.float32("rope.scaling.yarn_log_multiplier", p.rope.get("mscale_all_dim"))
    p.float32("attention.temperature_scale", p.rope.get("llama_4_scaling_beta"))


MISTRAL3 = replace(
    llama.LLAMA,
    architecture="mistral3",
    classes=("Mistral3ForConditionalGeneration", "Ministral3ForCausalLM"),
    settle=settle,
    add_parameters=add_parameters,
)

"""Every family, by the class names that config.json may hold."""

from __future__ import annotations

from ggufactory.architectures.bert import BERT, DISTILBERT
from ggufactory.architectures.cohere import COHERE, COHERE2
from ggufactory.architectures.configuration import Config
from ggufactory.architectures.deepseek import DEEPSEEK
from ggufactory.architectures.dots1 import DOTS1
from ggufactory.architectures.ernie import ERNIE, ERNIE_MOE
from ggufactory.architectures.exaone4 import EXAONE4
from ggufactory.architectures.falcon import FALCON
from ggufactory.architectures.family import Family
from ggufactory.architectures.gemma import GEMMA, GEMMA2
from ggufactory.architectures.gemma3 import EMBEDDING_GEMMA, GEMMA3
from ggufactory.architectures.glm import GLM4, GLM4_MOE, GLM4_MOE_LITE
from ggufactory.architectures.gpt2 import GPT2
from ggufactory.architectures.gpt_oss import GPT_OSS
from ggufactory.architectures.granite import GRANITE, GRANITE_MOE
from ggufactory.architectures.lfm2 import LFM2
from ggufactory.architectures.llama import LLAMA
from ggufactory.architectures.llama4 import LLAMA4
from ggufactory.architectures.mistral3 import MISTRAL3
from ggufactory.architectures.model import Model
from ggufactory.architectures.modern_bert import MODERN_BERT
from ggufactory.architectures.nemotron import NEMOTRON
from ggufactory.architectures.olmo import OLMO2, OLMOE
from ggufactory.architectures.options import USUAL, ConversionOptions
from ggufactory.architectures.phi2 import PHI2
from ggufactory.architectures.phi3 import PHI3
from ggufactory.architectures.phimoe import PHIMOE
from ggufactory.architectures.qwen import QWEN2, QWEN2_VL, QWEN3
from ggufactory.architectures.qwen3_next import QWEN3_NEXT
from ggufactory.architectures.qwen_moe import QWEN2_MOE, QWEN3_MOE
from ggufactory.architectures.roberta import ROBERTA, XLM_ROBERTA
from ggufactory.architectures.smollm3 import SMOLLM3
from ggufactory.architectures.stablelm import STABLELM
from ggufactory.architectures.starcoder2 import STARCODER2
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

FAMILIES: tuple[Family, ...] = (
    BERT,
    COHERE,
    COHERE2,
    DEEPSEEK,
    DISTILBERT,
    DOTS1,
    EMBEDDING_GEMMA,
    ERNIE,
    ERNIE_MOE,
    EXAONE4,
    FALCON,
    GEMMA,
    GEMMA2,
    GEMMA3,
    GLM4,
    GLM4_MOE,
    GLM4_MOE_LITE,
    GPT2,
    GPT_OSS,
    GRANITE,
    GRANITE_MOE,
    LFM2,
    LLAMA,
    LLAMA4,
    MISTRAL3,
    MODERN_BERT,
    NEMOTRON,
    OLMO2,
    OLMOE,
    PHI2,
    PHI3,
    PHIMOE,
    QWEN2,
    QWEN2_MOE,
    QWEN2_VL,
    QWEN3,
    QWEN3_MOE,
    QWEN3_NEXT,
    ROBERTA,
    SMOLLM3,
    STABLELM,
    STARCODER2,
    XLM_ROBERTA,
)
FAMILY_BY_CLASS = {name: family for family in FAMILIES for name in family.classes}


def describe(checkpoint: Checkpoint, options: ConversionOptions = USUAL) -> Model:
    """What llama.cpp's converter makes of the checkpoint, from its headers and small files alone.

    InputError for an unknown architecture; PlanError that lists every other fault together.
    """
    family, config = family_of(checkpoint)
    return family.describe(checkpoint, config, options)


def family_of(checkpoint: Checkpoint) -> tuple[Family, Config]:
    """By what config.json, which is returned too, says. InputError where that is unknown or missing."""
    config = checkpoint.read_json("config.json")
    if config is None:
        fix = ""
        if "params.json" in checkpoint.files:
            fix = "This is Mistral's own format: give the Hugging Face version of the model"
        raise InputError(f"checkpoint {checkpoint.name} has no config.json", fix=fix)
    name = _class_of(config)
    if name not in FAMILY_BY_CLASS:
        fix = "The checkpoint brings code of its own, which is never run" if "auto_map" in config else ""
        raise InputError(
            f"config.json: architectures begins with {clip(name)}; known architectures: "
            f"{', '.join(sorted(FAMILY_BY_CLASS))}",
            fix=fix,
        )
    return FAMILY_BY_CLASS[name], config


def _class_of(config: Config) -> str:
    """The class of the text model, where there are several models (`get_model_architecture` of conversion/base.py)."""
    text = config.get("text_config")
    nested = text.get("architectures") if isinstance(text, dict) else None
    classes = nested or config.get("architectures")
    name = classes[0] if isinstance(classes, list) and classes else None
    return name if isinstance(name, str) else ""

"""llama.cpp's pre-tokenizers by name: the steps that split a text, and what else a vocabulary of that name does.

Source: `llama_vocab::impl::load` (the names) and `llm_tokenizer_bpe` (the steps) of llama.cpp's src/llama-vocab.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from ggufactory.calibrate.text import expressions as by
from ggufactory.calibrate.text.splitting import (
    Step,
    grouped_from_the_right,
    split_before_thousands,
    trailing_space,
)


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    steps: tuple[Step, ...]
    ignore_merges: bool = False
    """A word that is a token becomes that token, whatever merges would make of it."""
    adds_bos: bool = False
    """Unless the metadata says otherwise."""
    has_default_bos: bool = True
    """Token 11 begins texts, unless the metadata names another."""
    byte_level: bool = True
    """Words are spelled in GPT-2's characters for bytes; else as they are, with U+2581 for spaces."""
    is_gemma_4: bool = False
    """A run of line ends that is a token becomes that token; beginning-of-text is added whatever the metadata says."""


_GPT_2 = PreTokenizer((by.GPT_2,))
_SINGLE_DIGITS = PreTokenizer((by.DIGIT, by.GPT_2))
_CL100K = PreTokenizer((by.LLAMA_3,))
_LLAMA_3 = replace(_CL100K, ignore_merges=True, adds_bos=True)
_GLM = replace(_CL100K, has_default_bos=False)
_QWEN_2 = PreTokenizer((by.QWEN_2,))
_GPT_4O = PreTokenizer((by.GPT_4O,))
_BLOOM = PreTokenizer((by.BLOOM,))
_BAILING = PreTokenizer((by.BAILING,))
_DEEPSEEK_3 = PreTokenizer((by.UP_TO_3_DIGITS, by.CJK, by.DEEPSEEK_3))
_TINY_AYA = PreTokenizer((grouped_from_the_right, by.TINY_AYA))
_LINES = PreTokenizer((by.LINES_APART,), byte_level=False)
_GEMMA_4 = replace(_LINES, is_gemma_4=True)

_GPT_2_NAMES = (
    *("gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0", "mellum"),
    *("modern-bert", "jina-v1-en", "jina-v2-code", "roberta-bpe", "exaone4"),
    *("mpt", "olmo", "jais", "trillion", "granite-docling"),
)
_LLAMA_3_NAMES = (
    *("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"),
)
_QWEN_2_NAMES = (
    *("qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"),
)
_SINGLE_DIGIT_NAMES = (*("starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"),)

PRE_TOKENIZERS: Mapping[str, PreTokenizer] = MappingProxyType(
    dict.fromkeys(_GPT_2_NAMES, _GPT_2)
    | dict.fromkeys(_LLAMA_3_NAMES, _LLAMA_3)
    | dict.fromkeys(_QWEN_2_NAMES, _QWEN_2)
    | dict.fromkeys(_SINGLE_DIGIT_NAMES, _SINGLE_DIGITS)
    | dict.fromkeys(("dbrx", "smaug-bpe"), _CL100K)
    | dict.fromkeys(("glm4", "glm5"), replace(_GLM, ignore_merges=True))
    | dict.fromkeys(("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"), _GPT_4O)
    | dict.fromkeys(("poro-chat", "bloom", "gpt3-finnish"), _BLOOM)
    | dict.fromkeys(("bailingmoe", "bailingmoe2", "llada-moe"), _BAILING)
    | dict.fromkeys(("deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"), _DEEPSEEK_3)
    | dict.fromkeys(("tiny_aya", "cohere2moe"), _TINY_AYA)
    | dict.fromkeys(("gemma4", "granite-embed-multi-311m"), _GEMMA_4)
    | {
        "default": PreTokenizer((by.DEFAULT_PUNCTUATION, by.GPT_2, by.DIGITS, by.THREE_ASCII_DIGITS)),
        "chatglm-bpe": _GLM,
        "jais-2": PreTokenizer((by.JAIS_2,)),
        "qwen35": PreTokenizer((by.QWEN_35,)),
        "ufakzeka": PreTokenizer((by.UFAKZEKA,)),
        "seed-coder": PreTokenizer((by.SEED_CODER,)),
        "exaone-moe": PreTokenizer((by.EXAONE_MOE,)),
        "minicpm5": PreTokenizer((by.UP_TO_3_DIGITS, by.MINICPM_5), ignore_merges=True),
        "laguna": PreTokenizer((by.LINES_APART, by.QWEN_2)),
        "kimi-k2": PreTokenizer((by.KIMI_K2,)),
        "tekken": PreTokenizer((by.TEKKEN,), ignore_merges=True, adds_bos=True),
        "granite-embed-multi-97m": PreTokenizer((by.GRANITE_EMBEDDING,), ignore_merges=True),
        "superbpe": PreTokenizer((by.DIGITS, split_before_thousands)),
        "afmoe": PreTokenizer((grouped_from_the_right, by.AFMOE_SCRIPTS, by.DEEPSEEK_3)),
        "spark2_5": PreTokenizer((by.UP_TO_3_DIGITS, by.CJK, by.SPARK, by.DIGIT)),
        "youtu": PreTokenizer((by.YOUTU_SCRIPTS, by.YOUTU), ignore_merges=True),
        "viking": PreTokenizer((by.BLOOM, by.DIGIT)),
        "falcon": PreTokenizer((by.FALCON_PUNCTUATION, by.GPT_2, by.THREE_ASCII_DIGITS)),
        "sarvam-moe": _LINES,
        "deepseek-coder": PreTokenizer(
            (by.LINE_ENDS, by.SPACED_LETTERS, by.SPACED_PUNCTUATION, by.MORE_CJK, by.DIGIT),
        ),
        "deepseek-llm": PreTokenizer(
            (by.LINE_ENDS, by.DEEPSEEK_LETTERS, by.DEEPSEEK_SIGNS, trailing_space, by.MORE_CJK, by.DIGITS),
        ),
        "chameleon": PreTokenizer(
            (
                by.CHAMELEON_SENTINELS,
                by.CHAMELEON_IMAGES,
                by.CHAMELEON_SPACE,
                by.DIGIT,
                by.CHAMELEON_PUNCTUATION,
                by.GPT_2,
            ),
            adds_bos=True,
        ),
    }
)

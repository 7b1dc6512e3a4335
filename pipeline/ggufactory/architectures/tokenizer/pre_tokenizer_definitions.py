"""Which expressions each of llama.cpp's pre-tokenizers splits a text by.

Sources: `llm_tokenizer_bpe` of src/llama-vocab.cpp, whose comments quote the tokenizer.json files that
they were made for, and those files' definitions. Several names split alike; they are one entry here, with
the rule that chooses between them: a family whose published checkpoints have a name of their own keeps it,
any other gets the entry's first name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ggufactory.architectures.tokenizer.pre_tokenizer_steps import (
    CONTRACTIONS,
    DIGIT,
    DIGITS,
    GPT_2,
    PUNCTUATION,
    same_form,
)

_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_LEAD = r"[^\r\n\p{L}\p{N}]?"
_WORD = rf"{_LEAD}\p{{L}}+"
_CASED_WORDS = rf"{_LEAD}{_UPPER}*{_LOWER}+|{_LEAD}{_UPPER}+{_LOWER}*"
_CASED_WORDS_CONTRACTED = rf"{_LEAD}{_UPPER}*{_LOWER}+{CONTRACTIONS}?|{_LEAD}{_UPPER}+{_LOWER}*{CONTRACTIONS}?"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_SIGNS_AND_SLASHES = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
_LINES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_CJK = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_ASCII_WORD = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
_QWEN_2 = rf"{CONTRACTIONS}|{_WORD}|\p{{N}}|{_SIGNS}|{_LINES}"
_O200K = rf"{_CASED_WORDS_CONTRACTED}|\p{{N}}{{1,3}}|{_SIGNS_AND_SLASHES}|{_LINES}"
_BLOOM = " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"


@dataclass(frozen=True, slots=True)
class SplittingRule:
    """Pre-tokenizers of llama.cpp that split by the same `expressions`, one after another."""

    expressions: tuple[str, ...]
    name: str
    by_family: Mapping[str, str] = field(default_factory=dict)
    """By `model_type`."""
    merging_name: str | None = None
    """For other families where a word that is itself a token is merged all the same (no `ignore_merges`)."""

    def name_for(self, model_type: str, *, ignore_merges: bool) -> str:
        other = self.name if ignore_merges or self.merging_name is None else self.merging_name
        return self.by_family.get(model_type, other)


SPLITTING_RULES = (
    SplittingRule(
        (rf"{CONTRACTIONS}|{_WORD}|\p{{N}}{{1,3}}|{_SIGNS}|{_LINES}",),
        "llama-bpe",
        # Llama 3's first files have no `ignore_merges` yet, though their vocabulary needs it.
        by_family={"llama": "llama-bpe", "lfm2": "lfm2", "lfm2_moe": "lfm2", "falcon_h1": "falcon-h1"}
        | {"chatglm": "chatglm-bpe"}
        | dict.fromkeys(("glm", "glm4", "glm4_moe", "glm4v", "glm4v_moe", "glm4_moe_lite"), "glm4"),
        # tiktoken's cl100k vocabulary (OLMo 2, Phi-4, Granite 4), called after the first model that had it.
        merging_name="dbrx",
    ),
    SplittingRule(
        (_QWEN_2,),
        "qwen2",
        by_family={
            "stablelm": "stablelm2",
            "hunyuan_v1_moe": "hunyuan",
            "solar_open": "solar-open",
            "bailing_moe": "bailingmoe",
            "bailing_moe_v2": "bailingmoe2",
        },
    ),
    SplittingRule(
        (rf"{CONTRACTIONS}|{_LEAD}[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_LINES}",), "qwen35"
    ),
    SplittingRule((rf"{_WORD}|\p{{N}}|{_SIGNS}|{_LINES}",), "ufakzeka"),
    SplittingRule((rf"{CONTRACTIONS}|{_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_LINES}",), "seed-coder"),
    SplittingRule(
        (
            rf"{CONTRACTIONS}|{_LEAD}(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
            rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]?|{_LINES}",
        ),
        "exaone-moe",
    ),
    SplittingRule(
        (r"\p{N}{1,3}", rf"{CONTRACTIONS}|{_WORD}|\p{{N}}+|{_SIGNS}|{_LINES}"),
        "minicpm5",
    ),
    SplittingRule((r"[^\n]+|[\n]+", _QWEN_2), "laguna"),
    SplittingRule(
        (_O200K,),
        "gpt-4o",
        by_family={
            "llama4": "llama4",
            "llama4_text": "llama4",
            "minimax_m2": "minimax-m2",
            "modernbert": "granite-embed-multi-97m",
        },
    ),
    SplittingRule((r"\d{1,3}(?=(?:\d{3})*\b)", _O200K), "tiny_aya", by_family={"cohere2_moe": "cohere2moe"}),
    SplittingRule((rf"{_CASED_WORDS}|\p{{N}}|{_SIGNS_AND_SLASHES}|{_LINES}",), "tekken"),
    SplittingRule(
        (r"\p{N}{1,3}", _CJK, rf"{_ASCII_WORD}| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_LINES}"),
        "deepseek-v3",
        by_family={"hunyuan_v1_dense": "hunyuan-dense"},
    ),
    SplittingRule(
        (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", DIGIT), "deepseek-coder"
    ),
    SplittingRule(
        (GPT_2,),
        "gpt-2",
        by_family={
            "roberta": "roberta-bpe",
            "modernbert": "modern-bert",
            "olmo": "olmo",
            "olmoe": "olmo",
            "gpt_neox": "olmo",
            "mpt": "mpt",
            "jais": "jais",
            "phi": "phi-2",
            "exaone4": "exaone4",
        },
    ),
    SplittingRule(
        (DIGIT, GPT_2),
        "starcoder",
        by_family={
            "granite": "refact",
            "granitemoe": "refact",
            "granitemoeshared": "refact",
            "cohere": "command-r",
            "cohere2": "command-r",
            "llama": "smollm",
            "exaone": "exaone",
            "codeshell": "codeshell",
            "mistral": "minerva-7b",
        },
    ),
    SplittingRule((PUNCTUATION + "+", GPT_2, DIGITS, "[0-9][0-9][0-9]"), "falcon"),
    SplittingRule((_BLOOM,), "bloom"),
    SplittingRule((_BLOOM, DIGIT), "viking"),
)

RULE_BY_EXPRESSIONS = {tuple(map(same_form, rule.expressions)): rule for rule in SPLITTING_RULES}

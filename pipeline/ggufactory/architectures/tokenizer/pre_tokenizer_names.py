"""The names of pre-tokenizers that llama.cpp loads (`llama_vocab::impl::load` of src/llama-vocab.cpp)."""

from __future__ import annotations

from difflib import get_close_matches

from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

NAMES = frozenset(
    (
        "a.x-4.0",
        "afmoe",
        "bailingmoe",
        "bailingmoe2",
        "bloom",
        "chameleon",
        "chatglm-bpe",
        "codeshell",
        "cohere2moe",
        "command-r",
        "dbrx",
        "deepseek-coder",
        "deepseek-llm",
        "deepseek-r1-qwen",
        "deepseek-v3",
        "default",
        "exaone",
        "exaone-moe",
        "exaone4",
        "f2llmv2",
        "falcon",
        "falcon-h1",
        "falcon3",
        "gemma4",
        "gigachat",
        "glm4",
        "glm5",
        "gpt-2",
        "gpt-4o",
        "gpt3-finnish",
        "granite-docling",
        "granite-embed-multi-311m",
        "granite-embed-multi-97m",
        "grok-2",
        "hunyuan",
        "hunyuan-dense",
        "hy_v4",
        "jais",
        "jais-2",
        "jina-de",
        "jina-es",
        "jina-v1-en",
        "jina-v2-code",
        "jina-v2-de",
        "jina-v2-es",
        "jina-v5-nano",
        "joyai-llm",
        "kanana2",
        "kimi-k2",
        "kormo",
        "laguna",
        "lfm2",
        "llada-moe",
        "llama-bpe",
        "llama-v3",
        "llama3",
        "llama4",
        "megrez",
        "mellum",
        "mellum2",
        "midm-2.0",
        "minerva-7b",
        "minicpm5",
        "minimax-m2",
        "modern-bert",
        "mpt",
        "olmo",
        "phi-2",
        "pixtral",
        "poro-chat",
        "qwen2",
        "qwen35",
        "refact",
        "roberta-bpe",
        "sarvam-moe",
        "seed-coder",
        "smaug-bpe",
        "smollm",
        "solar-open",
        "spark2_5",
        "stablelm2",
        "starcoder",
        "superbpe",
        "talkie",
        "tekken",
        "tiny_aya",
        "trillion",
        "ufakzeka",
        "viking",
        "whitespace",
        "youtu",
    )
)


def check_name(name: str) -> None:
    """InputError unless llama.cpp knows a pre-tokenizer called `name`."""
    if name not in NAMES:
        near = get_close_matches(name[:80], sorted(NAMES))
        raise InputError(
            f"llama.cpp knows no pre-tokenizer called {clip(name)}" + f"; near: {', '.join(near)}" * bool(near),
            fix=f"Name one of: {', '.join(sorted(NAMES))}",
        )


def refuse_name(name: str | None, kind: str) -> None:
    """InputError where the user names a pre-tokenizer for a `kind` of vocabulary that has none."""
    if name is not None:
        raise InputError(f"--pre {name}: a {kind} vocabulary has no pre-tokenizer", fix="Leave the option out")

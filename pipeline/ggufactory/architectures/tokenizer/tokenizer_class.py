"""The class of tokenizers that transformers' AutoTokenizer takes for a checkpoint, as far as it matters.

A class of its own takes the model from tokenizer.json, leaves its added tokens to tokenizer_config.json
where that lists any, and has special tokens of its own where no file names them. The general class takes
tokenizer.json as it is. Behaviour of transformers 5.23, `AutoTokenizer.from_pretrained`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ggufactory.architectures.tokenizer.files import TokenizerFiles

_END_OF_TEXT = "<|endoftext|>"
_SENTENCE_MARKS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}
SPECIAL_TOKENS: Mapping[str, Mapping[str, str]] = {
    "LlamaTokenizer": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "GPT2Tokenizer": {"bos_token": _END_OF_TEXT, "eos_token": _END_OF_TEXT, "unk_token": _END_OF_TEXT},
    "GPTNeoXTokenizer": {
        "bos_token": _END_OF_TEXT,
        "eos_token": _END_OF_TEXT,
        "unk_token": _END_OF_TEXT,
        "pad_token": "<|padding|>",
    },
    "Qwen2Tokenizer": {"eos_token": _END_OF_TEXT, "unk_token": _END_OF_TEXT, "pad_token": _END_OF_TEXT},
    "CohereTokenizer": {
        "bos_token": "<BOS_TOKEN>",
        "eos_token": "<|END_OF_TURN_TOKEN|>",
        "unk_token": "<UNK>",
        "sep_token": "<SEP>",
        "pad_token": "<PAD>",
        "cls_token": "<CLS>",
        "mask_token": "<MASK_TOKEN>",
    },
    "GemmaTokenizer": {
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
    },
    "BertTokenizer": {
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    },
    "RobertaTokenizer": _SENTENCE_MARKS,
    "XLMRobertaTokenizer": _SENTENCE_MARKS,
}
"""By class: the special tokens that it has where no file names them."""

_GENERAL = "TokenizersBackend"
REGISTERED: Mapping[str, str] = (
    dict.fromkeys(("gpt2", "starcoder2", "phi", "dbrx"), "GPT2Tokenizer")
    | dict.fromkeys(("olmo", "olmoe", "gpt_neox", "mpt"), "GPTNeoXTokenizer")
    | dict.fromkeys(("qwen2", "qwen2_moe", "qwen2_vl", "qwen2_5_vl", "qwen3", "qwen3_moe"), "Qwen2Tokenizer")
    | dict.fromkeys(("qwen3_next", "qwen3_vl", "qwen3_vl_moe"), "Qwen2Tokenizer")
    | dict.fromkeys(("cohere", "cohere2", "aya_vision"), "CohereTokenizer")
    | dict.fromkeys(("gemma", "gemma2", "gemma3", "gemma3_text"), "GemmaTokenizer")
    | dict.fromkeys(("bert", "distilbert", "nomic_bert"), "BertTokenizer")
    | {"roberta": "RobertaTokenizer", "xlm-roberta": "XLMRobertaTokenizer"}
    | dict.fromkeys(("mistral", "ministral", "ministral3", "mistral3", "mixtral", "pixtral"), _GENERAL)
    | dict.fromkeys(("glm", "glm4", "glm4_moe", "glm4v", "glm4v_moe", "glm4_moe_lite"), _GENERAL)
    | dict.fromkeys(("granite", "granitemoe", "granitemoeshared", "granitemoehybrid", "olmo2", "olmo3"), _GENERAL)
    | dict.fromkeys(("stablelm", "phi3", "phimoe", "ernie4_5", "nemotron", "modernbert", "kimi_k25"), _GENERAL)
)
"""By `model_type`. `TokenizersBackend` is the general class; where Mistral's own library is not installed, the
families that prefer it take the general one too."""
MISNAMED = "qwen2"
"""The family whose checkpoints often name another class, so that the registered one is taken nevertheless."""


def class_special_tokens(files: TokenizerFiles) -> Mapping[str, str] | None:
    """Those of the class that AutoTokenizer takes, by `bos_token` and the like. None: it is the general class."""
    return SPECIAL_TOKENS.get(class_name(files))


def class_name(files: TokenizerFiles) -> str:
    """The class that AutoTokenizer takes, by its name in transformers 5."""
    model_type = files.config.get("model_type")
    registered = REGISTERED.get(model_type) if isinstance(model_type, str) else None
    named = files.tokenizer_config.get("tokenizer_class") or files.config.get("tokenizer_class")
    if not isinstance(named, str):
        return registered or _GENERAL
    named = named.removesuffix("Fast")
    if named == "LlamaTokenizer" and model_type != MISNAMED and _is_byte_level(files):
        return _GENERAL
    if registered is None or registered == named:
        return named
    if registered == _GENERAL:
        return _GENERAL
    return registered if model_type == MISNAMED else named


def _is_byte_level(files: TokenizerFiles) -> bool:
    """Whether tokenizer.json mentions it, as transformers asks."""
    return b'"ByteLevel"' in (files.checkpoint.read_file("tokenizer.json") or b"")

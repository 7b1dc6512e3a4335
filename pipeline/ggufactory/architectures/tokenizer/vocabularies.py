"""The vocabularies of all families: one function each for what llama.cpp's converter calls `set_vocab`.

A family names its function; several share one:

=========================  =======================================================================
`llama`                    Llama, Mistral, Mistral 3, Mixtral, Granite, Granite MoE, SmolLM 3
`byte_level`               Qwen 2 MoE, Qwen 3 MoE, Qwen3-Next, GPT-2, gpt-oss, Falcon, StarCoder 2, Cohere, Cohere 2,
                           OLMo 2, OLMoE, EXAONE 4, LFM 2, dots.llm1, StableLM, the text part of Llama 4
`qwen2`                    Qwen 2, Qwen 3, the text part of Qwen2.5-VL
`deepseek`                 DeepSeek V2 and V3, Kimi K2
`gemma`, `gemma2`          Gemma, Gemma 2
`gemma3`                   Gemma 3
`phi3`                     Phi-3, Phi-3.5 MoE, Phi-4
`glm4`, `glm4_moe`         GLM-4, GLM-4.5
`ernie`                    ERNIE 4.5
`nemotron`                 Nemotron
`bert`, `roberta`          BERT, RoBERTa
`xlm_roberta`              XLM-RoBERTa
`modern_bert`              ModernBERT
=========================  =======================================================================

Each writes the `tokenizer.*` keys in the converter's order. `config`: the resolved hyperparameters. All
raise InputError where the files hold no vocabulary of the kind, or one that makes no sense.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ggufactory.architectures.key_values import KeyValues
from ggufactory.architectures.tokenizer.byte_level_bpe import byte_level_vocabulary
from ggufactory.architectures.tokenizer.choice import add_first_vocabulary, add_limited
from ggufactory.architectures.tokenizer.fast_tokenizer import load_fast_tokenizer
from ggufactory.architectures.tokenizer.files import TokenizerFiles
from ggufactory.architectures.tokenizer.phi3_vocabulary import phi3_vocabulary
from ggufactory.architectures.tokenizer.sentencepiece_model import MODEL_FILE, sentencepiece_vocabulary
from ggufactory.architectures.tokenizer.special_tokens import add_special_tokens
from ggufactory.architectures.tokenizer.tiktoken_bpe import RANKS_FILE, tiktoken_vocabulary
from ggufactory.architectures.tokenizer.unigram import unigram_vocabulary
from ggufactory.architectures.tokenizer.vocabulary import add_vocabulary
from ggufactory.architectures.tokenizer.wordpiece import wordpiece_vocabulary
from ggufactory.errors import InputError

Config = dict[str, Any]

CODE_LLAMA_VOCABULARY = 32016
_CODE_LLAMA_END_OF_INFILL = 32010
GRANITE_VOCABULARY = 49152
_CODE_GEMMA_END_OF_TURN = 107
_INFILL_KINDS = ("prefix", "suffix", "middle")

_ADD_BOS = "tokenizer.ggml.add_bos_token"
_ADD_EOS = "tokenizer.ggml.add_eos_token"
_ADD_SEP = "tokenizer.ggml.add_sep_token"
_SPACE_PREFIX = "tokenizer.ggml.add_space_prefix"
_TOKEN_TYPES = "tokenizer.ggml.token_type_count"


def llama(out: KeyValues, files: TokenizerFiles, config: Config) -> None:
    """`LlamaModel.set_vocab` of conversion/llama.py."""
    if (add_prefix_space := files.tokenizer_config.get("add_prefix_space")) is not None:
        out.boolean(_SPACE_PREFIX, add_prefix_space)
    add_first_vocabulary(out, files, config)
    size = config.get("vocab_size", 32000)
    if size == CODE_LLAMA_VOCABULARY:
        # Of Code Llama's infilling tokens only the one that ends it has a key.
        defaults = {"eot": _CODE_LLAMA_END_OF_INFILL}
        add_special_tokens(out, files, kinds=(*_INFILL_KINDS, "eot"), defaults=defaults)
    if size == GRANITE_VOCABULARY:
        out.boolean(_ADD_BOS, False)


def byte_level(out: KeyValues, files: TokenizerFiles, config: Config) -> None:
    """`TextModel._set_vocab_gpt2` of conversion/base.py, its `set_vocab` where a family has none."""
    _add_byte_level(out, files, config)


def qwen2(out: KeyValues, files: TokenizerFiles, config: Config) -> None:
    """`Qwen2Model.set_vocab` of conversion/qwen.py: SentencePiece where there is such a model."""
    if MODEL_FILE in files.checkpoint.files:
        add_limited(out, files, sentencepiece_vocabulary(files, config))
    else:
        byte_level(out, files, config)


def deepseek(out: KeyValues, files: TokenizerFiles, config: Config) -> None:
    """`DeepseekV2Model.set_vocab` of conversion/deepseek.py: Kimi K2's is in tiktoken's format."""
    if files.tokenizer is None and RANKS_FILE in files.checkpoint.files:
        add_vocabulary(out, tiktoken_vocabulary(files, config))
        add_special_tokens(out, files)
    else:
        byte_level(out, files, config)


def gemma(out: KeyValues, files: TokenizerFiles, config: Config) -> None:
    """`GemmaModel.set_vocab` of conversion/gemma.py, with the tokens of CodeGemma."""
    add_limited(out, files, sentencepiece_vocabulary(files, config))
    kinds = (*_INFILL_KINDS, "fsep", "eot")
    # Of CodeGemma's tokens only the one that ends a turn has a key.
    add_special_tokens(out, files, kinds=kinds, defaults={"eot": _CODE_GEMMA_END_OF_TURN})
    out.boolean(_SPACE_PREFIX, False)


def gemma2(out: KeyValues, files: TokenizerFiles, config: Config) -> None:
    """`Gemma2Model.set_vocab` of conversion/gemma.py."""
    add_limited(out, files, sentencepiece_vocabulary(files, config))
    out.boolean(_SPACE_PREFIX, False)


def gemma3(out: KeyValues, files: TokenizerFiles, config: Config) -> None:
    """`Gemma3Model.set_vocab` of conversion/gemma.py."""
    if MODEL_FILE in files.checkpoint.files:
        gemma2(out, files, config)
    else:
        byte_level(out, files, config)


def phi3(out: KeyValues, files: TokenizerFiles, config: Config) -> None:
    """`Phi3MiniModel.set_vocab` of conversion/phi.py: Phi-4's is byte-level."""
    if files.tokenizer_config.get("tokenizer_class") == "GPT2Tokenizer":
        byte_level(out, files, config)
    else:
        add_limited(out, files, phi3_vocabulary(files, config))


def glm4(out: KeyValues, files: TokenizerFiles, config: Config) -> None:
    """`Glm4Model.set_vocab` of conversion/glm.py."""
    end = "<|endoftext|>"
    _add_byte_level(out, files, config, {"eos": end, "eot": "<|user|>", "unk": end, "bos": end})


def glm4_moe(out: KeyValues, files: TokenizerFiles, config: Config) -> None:
    """`_set_vocab_glm` of conversion/base.py."""
    named = {"bos": "[gMASK]", "eot": "<|user|>", "unk": "<|endoftext|>", "eom": "<|observation|>"}
    _add_byte_level(out, files, config, named)


def ernie(out: KeyValues, files: TokenizerFiles, config: Config) -> None:
    """`Ernie4_5Model.set_vocab` of conversion/ernie.py."""
    add_limited(out, files, sentencepiece_vocabulary(files, config))
    if "add_prefix_space" in files.tokenizer_config:
        out.boolean(_SPACE_PREFIX, files.tokenizer_config["add_prefix_space"])


def nemotron(out: KeyValues, files: TokenizerFiles, config: Config) -> None:
    """`NemotronModel.set_vocab` of conversion/nemotron.py."""
    add_limited(out, files, sentencepiece_vocabulary(files, config))
    out.uint32("tokenizer.ggml.padding_token_id", 0)
    out.uint32("tokenizer.ggml.unknown_token_id", 1)


def bert(out: KeyValues, files: TokenizerFiles, config: Config) -> None:
    """`BertModel.set_vocab` of conversion/bert.py."""
    vocabulary = wordpiece_vocabulary(files, config)
    _add_token_type_count(out, config)
    add_limited(out, files, vocabulary)


def roberta(out: KeyValues, files: TokenizerFiles, config: Config) -> None:
    """`RobertaModel.set_vocab` of conversion/bert.py, for the byte-level vocabulary of tokenizer.json."""
    byte_level(out, files, config)
    _add_token_type_count(out, config)


def xlm_roberta(out: KeyValues, files: TokenizerFiles, config: Config) -> None:
    """`BertModel._xlmroberta_set_vocab` of conversion/bert.py."""
    found = unigram_vocabulary(files, config)
    add_vocabulary(out, found.vocabulary)
    out.boolean(_SPACE_PREFIX, found.add_space_prefix)
    _add_token_type_count(out, config)
    out.boolean("tokenizer.ggml.remove_extra_whitespaces", found.remove_extra_whitespaces)
    out.uint8s("tokenizer.ggml.precompiled_charsmap", found.charsmap)
    add_special_tokens(out, files, tokens=len(found.vocabulary.tokens))


def modern_bert(out: KeyValues, files: TokenizerFiles, config: Config) -> None:
    """`ModernBertModel.set_vocab` of conversion/bert.py."""
    for key in (_ADD_BOS, _ADD_EOS, _ADD_SEP):
        out.boolean(key, True)
    byte_level(out, files, config)


def _add_byte_level(
    out: KeyValues, files: TokenizerFiles, config: Config, named: Mapping[str, str] | None = None
) -> None:
    """`named`: the added token of a kind, where neither tokenizer_config.json nor config.json has its id."""
    fast = load_fast_tokenizer(files)
    ids = {token.content: number for number, token in fast.added.items()}
    missing = [text for text in (named or {}).values() if text not in ids]
    if missing:
        raise InputError(
            f"tokenizer.json has no added token {', '.join(dict.fromkeys(missing))}, which this architecture needs",
            fix="Use the tokenizer.json that the model was published with",
        )
    add_vocabulary(out, byte_level_vocabulary(files, config, fast))
    add_special_tokens(out, files, defaults={kind: ids[text] for kind, text in (named or {}).items()})


def _add_token_type_count(out: KeyValues, config: Config) -> None:
    out.uint32(_TOKEN_TYPES, config.get("type_vocab_size", 1))

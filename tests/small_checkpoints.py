"""Small checkpoints, each with something that the recorded ones lack. Written the same every time.

`tests/data/architectures/<name>/expected.json` is what llama.cpp's converter (commit 0c1e5709, with
transformers 5.23) makes of the checkpoint of that name.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models

from checkpoint_files import Json, Shapes, write_json, write_weights
from converted_rows import DATA
from small_decoders import DECODERS
from small_encoders import ENCODERS
from small_mixtures import MIXTURES
from small_nvfp4 import NVFP4

SENTENCEPIECE = DATA / "llama2" / "checkpoint" / "tokenizer.model"
BYTE_LEVEL = DATA / "llama31" / "checkpoint" / "tokenizer.json"

DECLARED = {name: checkpoint() for name, checkpoint in (DECODERS | ENCODERS).items()}


def write_checkpoint(name: str, parent: Path) -> Path:
    """The folder of the checkpoint; what the converter derives names from is `FOLDERS[name]`."""
    folder = parent / FOLDERS[name]
    folder.mkdir(parents=True)
    CHECKPOINTS[name](folder)
    return folder


def _alpaca(folder: Path) -> None:
    """Added tokens beyond the SentencePiece model, a padded vocabulary, an old config, half precision."""
    config = {
        "_name_or_path": "someone/alpaca-7b-chat",
        "architectures": ["LLaMAForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "float16",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 512,
        "hidden_size": 32,
        "intermediate_size": 48,
        "max_sequence_length": 2048,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "rms_norm_eps": 1e-06,
        "vocab_size": 520,
    }
    write_json(folder, "config.json", config)
    write_json(folder, "added_tokens.json", {"[PAD]": 512, "<never>": 9999})
    write_json(folder, "special_tokens_map.json", {"bos_token": "<s>", "pad_token": "[PAD]"})
    write_json(folder, "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer", "pad_token": "[PAD]"})
    write_json(
        folder, "generation_config.json", {"temperature": 1, "top_p": 0.95, "top_k": 40, "repetition_penalty": 1.2}
    )
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    shutil.copy(SENTENCEPIECE, folder)
    tensors = _llama_tensors(config, "F16")
    for layer in range(2):
        tensors[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = ("F32", (4,))
    write_weights(folder, tensors)


CARD = """---
license: [apache-2.0, other]
license_name: some-license
language:
- en
- no
tags:
\t- alpaca
pipeline_tag: text-generation
base_model:
- meta-llama/Llama-2-7b-hf
- https://huggingface.co/mistralai/Mistral-7B-v0.1
datasets: tatsu-lab/alpaca
model_creator: Someone
---
# A model
"""


def _yarn(folder: Path) -> None:
    """YaRN in its old spelling, biases everywhere, named chat templates, tokens of tokenizer_config.json."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": True,
        "mlp_bias": True,
        "hidden_size": 48,
        "intermediate_size": 64,
        "max_position_embeddings": 4096,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "num_hidden_layers": 1,
        "rope_scaling": {"type": "yarn", "factor": 4, "beta_fast": 33, "attn_factor": 0.75},
        "rope_theta": 20000,
        "rms_norm_eps": 1e-05,
        "vocab_size": 512,
    }
    write_json(folder, "config.json", config)
    tokens = {
        "1": {"content": "<s>", "special": True},
        "300": {"content": "▁tool", "special": False},
        "301": {"content": "<|im_end|>", "special": False},
    }
    templates = [{"name": "default", "template": "{{ a }}"}, {"name": "tool-use", "template": "{{ b }}"}]
    tokenizer_config = {"added_tokens_decoder": tokens, "chat_template": templates, "add_prefix_space": False}
    write_json(folder, "tokenizer_config.json", tokenizer_config)
    shutil.copy(SENTENCEPIECE, folder)
    write_weights(folder, _llama_tensors(config, "BF16", biases=True))


def _mistral_f32(folder: Path) -> None:
    """Single precision, a sliding window, linear scaling, a template file, both kinds of tokenizer files."""
    config = {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "num_hidden_layers": 1,
        "rope_scaling": {"rope_type": "linear", "factor": 2.0},
        "sliding_window": 4096,
        "tie_word_embeddings": True,
        "eos_token_id": [2, 3],
        "vocab_size": 512,
    }
    write_json(folder, "config.json", config)
    tokenizer_config = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "add_bos_token": False}
    write_json(folder, "tokenizer_config.json", tokenizer_config)
    template = [_special("<s>", 0), _sequence("A", 0), _special("</s>", 0)]
    pair = [_special("<s>", 0), _sequence("A", 0), _special("</s>", 0), _sequence("B", 1), _special("</s>", 1)]
    tokenizer = json.loads(BYTE_LEVEL.read_text(encoding="utf-8"))
    tokenizer["added_tokens"] = [_added("<s>", 1), _added("</s>", 2)]
    tokenizer["post_processor"] = {"type": "TemplateProcessing", "single": template, "pair": pair}
    write_json(folder, "tokenizer.json", tokenizer)
    (folder / "chat_template.jinja").write_bytes(b"{{ messages }}\r\n")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "rag.jinja").write_text("{{ rag }}", encoding="utf-8")
    shutil.copy(SENTENCEPIECE, folder)
    write_weights(folder, _llama_tensors(config, "F32"))


def _llama_hf(folder: Path) -> None:
    """No tokenizer.model: tokenizer.json with merges and bytes as the last resort."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "vocab_size": 300,
    }
    write_json(folder, "config.json", config)
    texts = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "ab", "▁ab"]
    merges = [("a", "b"), ("▁", "ab")]
    vocabulary = {text: number for number, text in enumerate(texts)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    stored = json.loads(tokenizer.to_str())
    stored["added_tokens"] = [
        _added("<unk>", 0),
        _added("<s>", 1),
        _added("</s>", 2),
        _added("<|tool|>", 264, special=False),
    ]
    write_json(folder, "tokenizer.json", stored)
    tokenizer_config = {"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<s>", "pad_token": "<pad>"}
    write_json(folder, "tokenizer_config.json", tokenizer_config)
    write_weights(folder, _llama_tensors(config, "BF16"))


def _byte_level(folder: Path) -> None:
    """Added tokens of every sort, ids without a token, merges with spaces, end of turn apart from end of text."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 128,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "num_hidden_layers": 1,
        "max_position_embeddings": 4096,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 512,
        },
        "vocab_size": 530,
    }
    write_json(folder, "config.json", config)
    tokenizer = json.loads(BYTE_LEVEL.read_text(encoding="utf-8"))
    tokenizer["added_tokens"] += [
        _added("▁user▁", 515, special=False, normalized=True),
        _added("<｜turn｜>", 516, special=False, normalized=True),
    ]
    single = [_special("<|begin_of_text|>", 0), _sequence("A", 0), _special("<|end_of_text|>", 0)]
    pair = [_sequence("A", 0), _sequence("B", 1)]
    template = {
        "type": "TemplateProcessing",
        "single": single,
        "pair": pair,
        "special_tokens": {
            text: {"id": text, "ids": [number], "tokens": [text]}
            for text, number in (("<|begin_of_text|>", 507), ("<|end_of_text|>", 509))
        },
    }
    tokenizer["post_processor"] = {"type": "Sequence", "processors": [{**BYTES}, template]}
    write_json(folder, "tokenizer.json", tokenizer)
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|eot_id|>",
        "add_eos_token": True,
        "added_tokens_decoder": {
            "510": {"content": "<think>", "special": True, "normalized": False},
            "517": {"content": "<late>", "special": False, "normalized": False},
            "518": {"content": "Ġspace", "special": False, "normalized": False},
        },
        "extra_special_tokens": ["<extra>"],
    }
    write_json(folder, "tokenizer_config.json", tokenizer_config)
    write_json(folder, "chat_template.json", {"chat_template": "{{ old }}"})
    write_weights(folder, _llama_tensors(config, "BF16"))


BYTES = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
CHECKPOINTS: dict[str, Callable[[Path], None]] = {
    "alpaca": _alpaca,
    "yarn": _yarn,
    "mistral_f32": _mistral_f32,
    "llama_hf": _llama_hf,
    "byte_level": _byte_level,
    **MIXTURES,
    **NVFP4,
    **{name: checkpoint.write for name, checkpoint in DECLARED.items()},
}
FOLDERS = {
    "alpaca": "alpaca",
    "yarn": "Yarn-Llama-2-7b-64k",
    "mistral_f32": "mistral-instruct-v0.3",
    "llama_hf": "tiny",
    "byte_level": "Llama-3.2-1B-Instruct",
    **{name: name for name in (*MIXTURES, *NVFP4)},
    **dict.fromkeys(DECLARED, "checkpoint"),
}


def _special(text: str, type_id: int) -> Json:
    return {"SpecialToken": {"id": text, "type_id": type_id}}


def _sequence(name: str, type_id: int) -> Json:
    return {"Sequence": {"id": name, "type_id": type_id}}


def _added(text: str, number: int, *, special: bool = True, normalized: bool = False) -> Json:
    flags = {"single_word": False, "lstrip": False, "rstrip": False}
    return {"id": number, "content": text, **flags, "normalized": normalized, "special": special}


def _llama_tensors(config: Json, dtype: str, *, biases: bool = False) -> Shapes:
    width, inner, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    heads = config["num_attention_heads"]
    keys = width // heads * config.get("num_key_value_heads", heads)
    shapes: dict[str, tuple[int, ...]] = {}
    shapes["model.embed_tokens.weight"] = (vocabulary, width)
    shapes["model.norm.weight"] = (width,)
    if not config.get("tie_word_embeddings"):
        shapes["lm_head.weight"] = (vocabulary, width)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        shapes[prefix + "input_layernorm.weight"] = (width,)
        shapes[prefix + "post_attention_layernorm.weight"] = (width,)
        matrices = {
            "self_attn.q_proj": (width, width),
            "self_attn.k_proj": (keys, width),
            "self_attn.v_proj": (keys, width),
            "self_attn.o_proj": (width, width),
            "mlp.gate_proj": (inner, width),
            "mlp.up_proj": (inner, width),
            "mlp.down_proj": (width, inner),
        }
        for name, shape in matrices.items():
            shapes[f"{prefix}{name}.weight"] = shape
            if biases:
                shapes[f"{prefix}{name}.bias"] = shape[:1]
    return {name: (dtype, shape) for name, shape in shapes.items()}

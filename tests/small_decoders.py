"""Small checkpoints of dense decoders, each with something that the recorded ones lack.

As of `small_checkpoints`: `tests/data/architectures/<name>/expected.json` is what llama.cpp's converter makes
of the checkpoint of that name. Their vocabularies are those of `vocabularies.json`.
"""

from __future__ import annotations

from collections.abc import Mapping

from checkpoint_files import Json
from small_families import Matrices, SmallCheckpoint

WIDTH, INNER = 32, 48
"""Width and inner width; heads have eight rows, four are of queries, two of keys."""
SIZES: Json = {
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
ATTENTION: Matrices = {
    "self_attn.q_proj.weight": (WIDTH, WIDTH),
    "self_attn.k_proj.weight": (16, WIDTH),
    "self_attn.v_proj.weight": (16, WIDTH),
    "self_attn.o_proj.weight": (WIDTH, WIDTH),
}
GATED: Matrices = {
    "mlp.gate_proj.weight": (INNER, WIDTH),
    "mlp.up_proj.weight": (INNER, WIDTH),
    "mlp.down_proj.weight": (WIDTH, INNER),
}
NORMS: Matrices = {"input_layernorm.weight": (WIDTH,), "post_attention_layernorm.weight": (WIDTH,)}
SANDWICH: Matrices = NORMS | {
    "pre_feedforward_layernorm.weight": (WIDTH,),
    "post_feedforward_layernorm.weight": (WIDTH,),
}
HEAD_NORMS: Matrices = {"self_attn.q_norm.weight": (8,), "self_attn.k_norm.weight": (8,)}
LLAMA: Matrices = NORMS | ATTENTION | GATED


def decoder(
    block: Matrices, vocabulary: int, *, output: bool = False, prefix: str = "model.", layers: int = 2
) -> Matrices:
    """The tensors of a model whose blocks hold `block`."""
    shapes: Matrices = {prefix + "embed_tokens.weight": (vocabulary, WIDTH), prefix + "norm.weight": (WIDTH,)}
    shapes |= {f"{prefix}layers.{layer}.{name}": shape for layer in range(layers) for name, shape in block.items()}
    return shapes | ({"lm_head.weight": (vocabulary, WIDTH)} if output else {})


def with_biases(shapes: Matrices, *parts: str) -> Matrices:
    """A bias beside every weight whose name holds one of `parts`."""
    found = {name: shape for name, shape in shapes.items() if any(part in name for part in parts)}
    return shapes | {name.replace(".weight", ".bias"): shape[:1] for name, shape in found.items()}


_GEMMA3 = SANDWICH | ATTENTION | HEAD_NORMS | GATED
_IMAGES: Matrices = {"vision_tower.embeddings.weight": (4, 4), "multi_modal_projector.linear.weight": (4, 4)}
_YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 16.0, "original_max_position_embeddings": 64}
_FALCON: Matrices = {
    "input_layernorm.weight": (WIDTH,),
    "input_layernorm.bias": (WIDTH,),
    "self_attention.query_key_value.weight": (48, WIDTH),
    "self_attention.dense.weight": (WIDTH, WIDTH),
    "mlp.dense_h_to_4h.weight": (4 * WIDTH, WIDTH),
    "mlp.dense_4h_to_h.weight": (WIDTH, 4 * WIDTH),
}
_GPT2: Matrices = {
    "ln_1.weight": (WIDTH,),
    "ln_1.bias": (WIDTH,),
    "ln_2.weight": (WIDTH,),
    "ln_2.bias": (WIDTH,),
    "attn.c_attn.weight": (WIDTH, 3 * WIDTH),
    "attn.c_attn.bias": (3 * WIDTH,),
    "attn.c_proj.weight": (WIDTH, WIDTH),
    "attn.c_proj.bias": (WIDTH,),
    "mlp.c_fc.weight": (WIDTH, 4 * WIDTH),
    "mlp.c_fc.bias": (4 * WIDTH,),
    "mlp.c_proj.weight": (4 * WIDTH, WIDTH),
    "mlp.c_proj.bias": (WIDTH,),
}
_PHI2: Matrices = {
    "input_layernorm.weight": (WIDTH,),
    "self_attn.q_proj.weight": (WIDTH, WIDTH),
    "self_attn.k_proj.weight": (WIDTH, WIDTH),
    "self_attn.v_proj.weight": (WIDTH, WIDTH),
    "self_attn.dense.weight": (WIDTH, WIDTH),
    "mlp.fc1.weight": (4 * WIDTH, WIDTH),
    "mlp.fc2.weight": (WIDTH, 4 * WIDTH),
}
_PHI3: Matrices = NORMS | {
    "self_attn.qkv_proj.weight": (64, WIDTH),
    "self_attn.o_proj.weight": (WIDTH, WIDTH),
    "mlp.gate_up_proj.weight": (2 * INNER, WIDTH),
    "mlp.down_proj.weight": (WIDTH, INNER),
}
_HEADS_OF_STABLELM: Matrices = {
    f"self_attn.{which}_layernorm.norms.{head}.weight": (8,)
    for which, heads in (("q", 4), ("k", 2))
    for head in range(heads)
}


def _blocks(block: Matrices, prefix: str) -> Matrices:
    return {f"{prefix}.{layer}.{name}": shape for layer in range(2) for name, shape in block.items()}


def _gemma_half() -> SmallCheckpoint:
    """Half precision, in which one is added to the norms; an output matrix that is a copy of the embeddings."""
    config = SIZES | {"architectures": ["GemmaForCausalLM"], "model_type": "gemma", "head_dim": 8, "vocab_size": 120}
    vocabulary = "gemma: with a tokenizer.json and named templates"
    return SmallCheckpoint(config, decoder(LLAMA, 120, output=True), vocabulary, dtype="F16")


def _gemma3_images() -> SmallCheckpoint:
    """Nested in a model of images; rows of the embeddings for which the tokenizer has no tokens; scaled positions."""
    text = SIZES | {
        "model_type": "gemma3_text",
        "head_dim": 8,
        "vocab_size": 320,
        "sliding_window": 32,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "final_logit_softcapping": 30.0,
    }
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "text_config": text,
        "vision_config": {"hidden_size": 4, "model_type": "siglip_vision_model"},
    }
    tensors = {f"language_model.{name}": shape for name, shape in decoder(_GEMMA3, 320, output=True).items()}
    return SmallCheckpoint(config, tensors | _IMAGES, "qwen2: a distilled Qwen")


def _embedding_gemma() -> SmallCheckpoint:
    """No "model." in the names, a window that transformers halves, pooling by sentence-transformers' older words."""
    config = SIZES | {
        "architectures": ["Gemma3TextModel"],
        "model_type": "gemma3_text",
        "head_dim": 8,
        "vocab_size": 115,
        "sliding_window": 48,
        "use_bidirectional_attention": True,
    }
    modules = [
        {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    files: Mapping[str, object] = {
        "modules.json": modules,
        "1_Pooling/config.json": {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True},
    }
    tensors = decoder(_GEMMA3, 115, prefix="")
    return SmallCheckpoint(config, tensors, "gemma3: SentencePiece", files=files)


def _phi3_longrope() -> SmallCheckpoint:
    """Factors for long and short texts, of a part of each head's rows; embeddings as the output; no window."""
    config = SIZES | {
        "architectures": ["Phi3ForCausalLM"],
        "model_type": "phi3",
        "original_max_position_embeddings": 64,
        "partial_rotary_factor": 0.75,
        "rope_scaling": {"type": "longrope", "long_factor": [1.5, 2.25, 40.1], "short_factor": [1, 1.02, 1.3]},
        "sliding_window": None,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "vocab_size": 300,
    }
    return SmallCheckpoint(config, decoder(_PHI3, 300), "phi3: Phi-4")


def _falcon_multi_query() -> SmallCheckpoint:
    """The first Falcon 7B: its own class, one key and value head, one norm, an output matrix."""
    config = {
        "architectures": ["RWForCausalLM"],
        "model_type": "RefinedWebModel",
        "hidden_size": WIDTH,
        "n_head": 4,
        "n_layer": 2,
        "multi_query": True,
        "layer_norm_epsilon": 1e-5,
        "vocab_size": 300,
    }
    tensors = _blocks(_FALCON, "transformer.h") | {
        "transformer.word_embeddings.weight": (300, WIDTH),
        "transformer.ln_f.weight": (WIDTH,),
        "transformer.ln_f.bias": (WIDTH,),
        "lm_head.weight": (300, WIDTH),
    }
    return SmallCheckpoint(config, tensors, "roberta: RobertaProcessing")


def _gpt2_published() -> SmallCheckpoint:
    """No "transformer." in the names, an output matrix."""
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_ctx": 128,
        "n_embd": WIDTH,
        "n_head": 4,
        "n_layer": 2,
        "n_positions": 128,
        "vocab_size": 300,
    }
    tensors = _blocks(_GPT2, "h") | {
        "wte.weight": (300, WIDTH),
        "wpe.weight": (128, WIDTH),
        "ln_f.weight": (WIDTH,),
        "ln_f.bias": (WIDTH,),
        "lm_head.weight": (300, WIDTH),
    }
    return SmallCheckpoint(config, tensors, "roberta: RobertaProcessing")


def _stablelm_heads() -> SmallCheckpoint:
    """A norm for every head, one norm in front of both parts of a block.

    The converter loses the stacked norms (its generator returns the generator that has them), and was
    recorded with that mended.
    """
    config = SIZES | {
        "architectures": ["StableLmForCausalLM"],
        "model_type": "stablelm",
        "partial_rotary_factor": 0.5,
        "qk_layernorm": True,
        "use_parallel_residual": True,
        "vocab_size": 300,
    }
    block = with_biases({"input_layernorm.weight": (WIDTH,)} | ATTENTION | GATED, "norm") | _HEADS_OF_STABLELM
    tensors = with_biases(decoder(block, 300, output=True), "model.norm")
    return SmallCheckpoint(config, tensors, "roberta: RobertaProcessing")


def _cohere_norms() -> SmallCheckpoint:
    """Command R+: a norm for every head, in one tensor; a longer context than the positions say."""
    config = SIZES | {
        "architectures": ["CohereForCausalLM"],
        "model_type": "cohere",
        "logit_scale": 0.25,
        "model_max_length": 1024,
        "use_qk_norm": True,
        "vocab_size": 300,
    }
    norms: Matrices = {"self_attn.q_norm.weight": (4, 8), "self_attn.k_norm.weight": (2, 8)}
    tensors = decoder({"input_layernorm.weight": (WIDTH,)} | ATTENTION | GATED | norms, 300)
    return SmallCheckpoint(config, tensors, "roberta: RobertaProcessing")


def _cohere2_biases() -> SmallCheckpoint:
    """Biases that are all zero. The converter can look at them only with --no-lazy."""
    config = SIZES | {
        "architectures": ["Cohere2ForCausalLM"],
        "model_type": "cohere2",
        "logit_scale": 0.25,
        "rotary_pct": 1.0,
        "sliding_window": 64,
        "vocab_size": 300,
    }
    block = {"input_layernorm.weight": (WIDTH,)} | ATTENTION | GATED
    tensors = with_biases(decoder(block, 300), "norm", "q_proj")
    return SmallCheckpoint(config, tensors, "roberta: RobertaProcessing", zeros=(".bias",))


def _exaone4_llama3() -> SmallCheckpoint:
    """EXAONE 4.0 1.2B: no window, Llama 3's factors."""
    config = SIZES | {
        "architectures": ["Exaone4ForCausalLM"],
        "model_type": "exaone4",
        "layer_types": ["full_attention"] * 2,
        "sliding_window": None,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 16.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        "rope_theta": 1000000,
        "tie_word_embeddings": True,
        "vocab_size": 300,
    }
    block = {"post_attention_layernorm.weight": (WIDTH,), "post_feedforward_layernorm.weight": (WIDTH,)}
    return SmallCheckpoint(config, decoder(block | ATTENTION | HEAD_NORMS | GATED, 300), "roberta: RobertaProcessing")


def _lfm2_fixed() -> SmallCheckpoint:
    """A feed-forward network as wide as config.json says, under its first name."""
    config = SIZES | {
        "architectures": ["Lfm2ForCausalLM"],
        "model_type": "lfm2",
        "block_auto_adjust_ff_dim": False,
        "block_ff_dim": INNER,
        "conv_L_cache": 4,
        "layer_types": ["full_attention", "conv"],
        "vocab_size": 300,
    }
    both: Matrices = {
        "operator_norm.weight": (WIDTH,),
        "ffn_norm.weight": (WIDTH,),
        "feed_forward.w1.weight": (INNER, WIDTH),
        "feed_forward.w2.weight": (WIDTH, INNER),
        "feed_forward.w3.weight": (INNER, WIDTH),
    }
    attention = {name.replace("o_proj", "out_proj"): shape for name, shape in ATTENTION.items()}
    attention |= {"self_attn.q_layernorm.weight": (8,), "self_attn.k_layernorm.weight": (8,)}
    convolution: Matrices = {
        "conv.conv.weight": (WIDTH, 1, 4),
        "conv.in_proj.weight": (3 * WIDTH, WIDTH),
        "conv.out_proj.weight": (WIDTH, WIDTH),
    }
    tensors: Matrices = {"model.embed_tokens.weight": (300, WIDTH), "model.embedding_norm.weight": (WIDTH,)}
    tensors |= {f"model.layers.0.{name}": shape for name, shape in (both | attention).items()}
    tensors |= {f"model.layers.1.{name}": shape for name, shape in (both | convolution).items()}
    return SmallCheckpoint(config, tensors, "roberta: RobertaProcessing")


def _mistral3_images() -> SmallCheckpoint:
    """Mistral Small 3.1: nested in a model of images, heads wider than their share."""
    text = SIZES | {"model_type": "mistral", "head_dim": 16, "vocab_size": 300, "rope_theta": 1e9}
    config = {
        "architectures": ["Mistral3ForConditionalGeneration"],
        "model_type": "mistral3",
        "text_config": text,
        "vision_config": {"hidden_size": 4, "model_type": "pixtral"},
    }
    wide: Matrices = {
        "self_attn.q_proj.weight": (64, WIDTH),
        "self_attn.k_proj.weight": (32, WIDTH),
        "self_attn.v_proj.weight": (32, WIDTH),
        "self_attn.o_proj.weight": (WIDTH, 64),
    }
    tensors = {f"language_model.{name}": shape for name, shape in decoder(LLAMA | wide, 300, output=True).items()}
    return SmallCheckpoint(config, tensors | _IMAGES, "roberta: RobertaProcessing")


def _ministral3() -> SmallCheckpoint:
    """YaRN, and attention that is scaled with the position."""
    config = SIZES | {
        "architectures": ["Ministral3ForCausalLM"],
        "model_type": "ministral3",
        "head_dim": 8,
        "rope_parameters": _YARN
        | {"beta_fast": 32.0, "beta_slow": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1},
        "tie_word_embeddings": True,
        "vocab_size": 300,
    }
    return SmallCheckpoint(config, decoder(LLAMA, 300), "roberta: RobertaProcessing")


def _phi2() -> SmallCheckpoint:
    """Rotary positions of a part of each head, biases everywhere."""
    config = SIZES | {
        "architectures": ["PhiForCausalLM"],
        "model_type": "phi",
        "intermediate_size": 4 * WIDTH,
        "num_key_value_heads": None,
        "partial_rotary_factor": 0.5,
        "vocab_size": 300,
    }
    tensors = decoder(_PHI2, 300, output=True)
    tensors["model.final_layernorm.weight"] = tensors.pop("model.norm.weight")
    return SmallCheckpoint(config, with_biases(tensors, "layers", "final", "lm_head"), "roberta: RobertaProcessing")


DECODERS = {
    "gemma_half": _gemma_half,
    "gemma3_images": _gemma3_images,
    "embedding_gemma": _embedding_gemma,
    "phi2": _phi2,
    "phi3_longrope": _phi3_longrope,
    "falcon_multi_query": _falcon_multi_query,
    "gpt2_published": _gpt2_published,
    "stablelm_heads": _stablelm_heads,
    "cohere_norms": _cohere_norms,
    "cohere2_biases": _cohere2_biases,
    "exaone4_llama3": _exaone4_llama3,
    "lfm2_fixed": _lfm2_fixed,
    "mistral3_images": _mistral3_images,
    "ministral3": _ministral3,
}

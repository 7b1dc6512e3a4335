"""Small checkpoints of models of which none was recorded whole, most of them with experts.

Named and shaped as the published ones, with the sizes made small. Vocabularies are those of recorded checkpoints.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from checkpoint_files import Json, Shapes, write_json, write_weights
from converted_rows import DATA

WIDTH, HEADS, KV_HEADS, HEAD = 32, 4, 2, 16
INNER, EXPERT_INNER, EXPERTS = 48, 32, 4
VOCABULARY = 512
USUAL: Json = {
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "vocab_size": VOCABULARY,
}

Matrices = dict[str, tuple[int, ...]]
_NORMS: Matrices = {"input_layernorm": (WIDTH,), "post_attention_layernorm": (WIDTH,)}
_HEAD_NORMS: Matrices = {"self_attn.q_norm": (HEAD,), "self_attn.k_norm": (HEAD,)}


def _qwen25_vl(folder: Path) -> None:
    """The configuration as it was published, flat; the image encoder's tensors."""
    rope = {"type": "mrope", "mrope_section": [2, 3, 3]}
    vision = {"depth": 1, "hidden_size": 16, "out_hidden_size": WIDTH}
    config = USUAL | {"num_hidden_layers": 1, "rope_scaling": rope, "rope_theta": 1e6, "vision_config": vision}
    _describe(folder, "Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl", config, "qwen2")
    head = WIDTH // HEADS
    layer = _NORMS | _mlp("mlp", INNER) | _attention(head=head)
    shapes = _model([layer])
    for which, rows in (("q", HEADS * head), ("k", KV_HEADS * head), ("v", KV_HEADS * head)):
        shapes[f"model.layers.0.self_attn.{which}_proj.bias"] = ("BF16", (rows,))
    shapes["visual.blocks.0.attn.qkv.weight"] = ("BF16", (48, 16))
    shapes["visual.merger.mlp.0.weight"] = ("BF16", (64, 64))
    write_weights(folder, shapes)


def _qwen3_embedding(folder: Path) -> None:
    """The model without its head, and the modules of sentence-transformers."""
    config = USUAL | {"num_hidden_layers": 1, "head_dim": HEAD, "tie_word_embeddings": True}
    _describe(folder, "Qwen3ForCausalLM", "qwen3", config, "qwen3")
    modules = [
        {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    write_json(folder / "1_Pooling", "config.json", {"pooling_mode_lasttoken": True})
    shapes = _model([_NORMS | _HEAD_NORMS | _attention() | _mlp("mlp", INNER)], output=False)
    write_weights(folder, {name.removeprefix("model."): shape for name, shape in shapes.items()})


def _qwen3_moe_fused(folder: Path) -> None:
    """Experts in one tensor."""
    config = USUAL | {
        "num_hidden_layers": 1,
        "head_dim": HEAD,
        "num_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": EXPERT_INNER,
    }
    _describe(folder, "Qwen3MoeForCausalLM", "qwen3_moe", config, "qwen3")
    shapes = _model([_NORMS | _HEAD_NORMS | _attention() | {"mlp.gate": (EXPERTS, WIDTH)}])
    experts = "model.layers.0.mlp.experts."
    shapes[experts + "gate_up_proj"] = ("BF16", (EXPERTS, 2 * EXPERT_INNER, WIDTH))
    shapes[experts + "down_proj"] = ("BF16", (EXPERTS, WIDTH, EXPERT_INNER))
    write_weights(folder, shapes)


def _qwen3_next(folder: Path) -> None:
    """A delta network, gated attention, and a layer that predicts further tokens."""
    key_heads, value_heads, head_keys, head_values, taps = 2, 4, 8, 16, 4
    config = USUAL | {
        "num_hidden_layers": 2,
        "head_dim": HEAD,
        "layer_types": ["linear_attention", "full_attention"],
        "linear_conv_kernel_dim": taps,
        "linear_key_head_dim": head_keys,
        "linear_num_key_heads": key_heads,
        "linear_num_value_heads": value_heads,
        "linear_value_head_dim": head_values,
        "full_attention_interval": 2,
        "partial_rotary_factor": 0.5,
        "num_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": EXPERT_INNER,
        "shared_expert_intermediate_size": 16,
    }
    _describe(folder, "Qwen3NextForCausalLM", "qwen3_next", config, "qwen3")
    keys, values = key_heads * head_keys, value_heads * head_values
    shared = _mlp("mlp.shared_expert", 16) | {"mlp.shared_expert_gate": (1, WIDTH)}
    every = _NORMS | shared | _experts()
    delta: Matrices = {
        "linear_attn.in_proj_qkvz": (2 * (keys + values), WIDTH),
        "linear_attn.in_proj_ba": (2 * value_heads, WIDTH),
        "linear_attn.conv1d": (2 * keys + values, 1, taps),
        "linear_attn.norm": (head_values,),
        "linear_attn.out_proj": (WIDTH, values),
    }
    full = _HEAD_NORMS | _attention() | {"self_attn.q_proj": (2 * HEADS * HEAD, WIDTH)}
    shapes = _model([every | delta, every | full])
    shapes["model.layers.0.linear_attn.A_log"] = ("BF16", (value_heads,))
    shapes["model.layers.0.linear_attn.dt_bias"] = ("BF16", (value_heads,))
    shapes |= _named("mtp.layers.0.", every | full)
    around = {"fc": (WIDTH, 2 * WIDTH), "norm": (WIDTH,)}
    around |= {f"pre_fc_norm_{which}": (WIDTH,) for which in ("embedding", "hidden")}
    write_weights(folder, shapes | _named("mtp.", around))


def _deepseek_v2_lite(folder: Path) -> None:
    """Queries without a low rank, the old spelling of YaRN, no selection bias; an output matrix that is tied."""
    rope = {
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 40,
        "mscale": 0.707,
        "mscale_all_dim": 0.707,
        "original_max_position_embeddings": 4096,
        "type": "yarn",
    }
    config = _latent() | {
        "num_hidden_layers": 2,
        "q_lora_rank": None,
        "scoring_func": "softmax",
        "topk_method": "greedy",
        "norm_topk_prob": False,
        "rope_scaling": rope,
        "tie_word_embeddings": True,
    }
    _describe(folder, "DeepseekV2ForCausalLM", "deepseek_v2", config, "deepseek_v3")
    every = _NORMS | _latent_attention(queries={"self_attn.q_proj": (HEADS * 24, WIDTH)})
    write_weights(folder, _model([every | _mlp("mlp", INNER), every | _experts(shared=2)]))


def _kimi_k2(folder: Path) -> None:
    """A configuration that transformers has no class for; a layer behind the model's, which is left out."""
    config = _latent() | {
        "num_hidden_layers": 2,
        "num_nextn_predict_layers": 1,
        "q_lora_rank": 24,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
        "n_group": 1,
        "topk_group": 1,
        "norm_topk_prob": True,
        "rope_theta": 50000.0,
    }
    _describe(folder, "DeepseekV3ForCausalLM", "kimi_k2", config, "deepseek_v3")
    sparse = _NORMS | _latent_attention(queries=_low_rank_queries()) | _experts(shared=2)
    dense = _NORMS | _latent_attention(queries=_low_rank_queries()) | _mlp("mlp", INNER)
    shapes = _model([dense, sparse, sparse | _further()])
    write_weights(folder, shapes | _selection_biases(1, 2))


def _glm45_mtp(folder: Path) -> None:
    """With the layer that predicts further tokens, as published; without norms of heads, as the Air models."""
    config = USUAL | {
        "num_hidden_layers": 2,
        "num_nextn_predict_layers": 1,
        "head_dim": HEAD,
        "partial_rotary_factor": 0.5,
        "use_qk_norm": False,
        "first_k_dense_replace": 1,
        "n_routed_experts": EXPERTS,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": EXPERT_INNER,
        "n_group": 1,
        "topk_group": 1,
        "routed_scaling_factor": 1.0,
        "norm_topk_prob": True,
    }
    _describe(folder, "Glm4MoeForCausalLM", "glm4_moe", config, "glm4_moe")
    every = _NORMS | _attention()
    sparse = every | _experts(shared=1)
    shapes = _model([every | _mlp("mlp", INNER), sparse, sparse | _further()])
    write_weights(folder, shapes | _selection_biases(1, 2))


def _glm47_flash(folder: Path) -> None:
    """Latent attention, and a layer that predicts further tokens with the model's own embeddings and head."""
    config = _latent() | {
        "num_hidden_layers": 2,
        "num_nextn_predict_layers": 1,
        "q_lora_rank": 24,
        "norm_topk_prob": True,
        "rope_theta": 1e6,
    }
    _describe(folder, "Glm4MoeLiteForCausalLM", "glm4_moe_lite", config, "glm4_moe")
    every = _NORMS | _latent_attention(queries=_low_rank_queries())
    further = {name: shape for name, shape in _further().items() if name not in ("embed_tokens", "shared_head.head")}
    sparse = every | _experts(shared=2)
    shapes = _model([every | _mlp("mlp", INNER), sparse, sparse | further])
    write_weights(folder, shapes | _selection_biases(1, 2))


def _ernie45_fused(folder: Path) -> None:
    """Paddle's names and fused projections."""
    config = USUAL | {"num_hidden_layers": 1, "head_dim": HEAD, "use_bias": False, "tie_word_embeddings": True}
    _describe(folder, "Ernie4_5_ForCausalLM", "ernie4_5", config, "ernie45")
    layer = _NORMS | {
        "self_attn.qkv_proj": ((HEADS + 2 * KV_HEADS) * HEAD, WIDTH),
        "self_attn.o_proj": (WIDTH, HEADS * HEAD),
        "mlp.up_gate_proj": (2 * INNER, WIDTH),
        "mlp.down_proj": (WIDTH, INNER),
    }
    shapes = _model([layer], output=False)
    write_weights(folder, {name.replace("model.", "ernie.", 1): shape for name, shape in shapes.items()})


def _ernie45_moe(folder: Path) -> None:
    """Experts from the second block on, and layers that predict further tokens, which are left out."""
    config = USUAL | {
        "num_hidden_layers": 2,
        "use_bias": False,
        "tie_word_embeddings": True,
        "moe_num_experts": EXPERTS,
        "moe_num_shared_experts": 2,
        "moe_k": 2,
        "moe_intermediate_size": EXPERT_INNER,
        "moe_layer_start_index": 1,
        "moe_layer_end_index": 1,
        "moe_layer_interval": 1,
    }
    _describe(folder, "Ernie4_5_MoeForCausalLM", "ernie4_5_moe", config, "ernie45")
    every = _NORMS | _attention(head=WIDTH // HEADS)
    shapes = _model([every | _mlp("mlp", INNER), every | _experts(shared=2)], output=False)
    shapes["model.layers.1.mlp.moe_statics.e_score_correction_bias"] = ("F32", (1, EXPERTS))
    further = _named("model.mtp_block.0.", every | _mlp("mlp", INNER))
    further |= _named("model.", {f"mtp_{name}_norm.0": (WIDTH,) for name in ("emb", "hidden")})
    write_weights(folder, shapes | further | _named("model.", {"mtp_linear_proj.0": (WIDTH, 2 * WIDTH)}))


def _granite_shared(folder: Path) -> None:
    """Experts beside a part that every token goes through."""
    shared = 24
    config = USUAL | {
        "num_hidden_layers": 1,
        "shared_intermediate_size": shared,
        "num_local_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "embedding_multiplier": 12,
        "residual_multiplier": 0.22,
        "attention_multiplier": 0.0078125,
        "logits_scaling": 6,
        "tie_word_embeddings": True,
    }
    _describe(folder, "GraniteMoeSharedForCausalLM", "granitemoeshared", config, "llama31")
    layer = _NORMS | _attention(head=WIDTH // HEADS)
    layer |= {"shared_mlp.input_linear": (2 * shared, WIDTH), "shared_mlp.output_linear": (WIDTH, shared)}
    layer["block_sparse_moe.router.layer"] = (EXPERTS, WIDTH)
    layer["block_sparse_moe.input_linear"] = (EXPERTS, 2 * INNER, WIDTH)
    layer["block_sparse_moe.output_linear"] = (EXPERTS, WIDTH, INNER)
    write_weights(folder, _model([layer], output=False))


def _olmo3(folder: Path) -> None:
    """Windows in most blocks."""
    config = USUAL | {"num_hidden_layers": 2, "sliding_window": 1024}
    config["layer_types"] = ["sliding_attention", "full_attention"]
    _describe(folder, "Olmo3ForCausalLM", "olmo3", config, "llama31")
    head = WIDTH // HEADS
    layer = _attention(head=head) | _mlp("mlp", INNER)
    layer |= {"self_attn.q_norm": (HEADS * head,), "self_attn.k_norm": (KV_HEADS * head,)}
    layer |= {"post_attention_layernorm": (WIDTH,), "post_feedforward_layernorm": (WIDTH,)}
    write_weights(folder, _model([layer, layer]))


def _llama4_scout(folder: Path) -> None:
    """The text model inside a model of images, Llama 3's scaling between equal bounds, every other block dense."""
    rope = {
        "rope_type": "llama3",
        "factor": 16.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 1.0,
        "original_max_position_embeddings": 64,
    }
    text = USUAL | {
        "model_type": "llama4_text",
        "num_hidden_layers": 2,
        "head_dim": HEAD,
        "intermediate_size": EXPERT_INNER,
        "intermediate_size_mlp": INNER,
        "num_local_experts": EXPERTS,
        "num_experts_per_tok": 1,
        "interleave_moe_layer_step": 2,
        "rope_scaling": rope,
        "rope_theta": 500000.0,
    }
    config = {"text_config": text, "vision_config": {"num_hidden_layers": 1}}
    _describe(folder, "Llama4ForConditionalGeneration", "llama4", config, "llama31")
    every = _NORMS | _attention()
    sparse = every | {"feed_forward.router": (EXPERTS, WIDTH)} | _mlp("feed_forward.shared_expert", EXPERT_INNER)
    shapes = _model([every | _mlp("feed_forward", INNER), sparse])
    experts = "model.layers.1.feed_forward.experts."
    shapes[experts + "gate_up_proj"] = ("BF16", (EXPERTS, WIDTH, 2 * EXPERT_INNER))
    shapes[experts + "down_proj"] = ("BF16", (EXPERTS, EXPERT_INNER, WIDTH))
    shapes = {f"language_model.{name}": shape for name, shape in shapes.items()}
    shapes["vision_model.class_embedding"] = ("BF16", (16,))
    shapes["multi_modal_projector.linear_1.weight"] = ("BF16", (WIDTH, 16))
    write_weights(folder, shapes)


def _phi35_moe(folder: Path) -> None:
    """LongRoPE, as published."""
    head = WIDTH // HEADS
    rope = {
        "type": "longrope",
        "short_factor": [1.0 + i / 8 for i in range(head // 2)],
        "long_factor": [4.0 + i for i in range(head // 2)],
        "long_mscale": 1.243163121016122,
        "short_mscale": 1.243163121016122,
        "original_max_position_embeddings": 1024,
    }
    config = USUAL | {
        "num_hidden_layers": 1,
        "attention_bias": True,
        "lm_head_bias": True,
        "num_local_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "original_max_position_embeddings": 1024,
        "rope_scaling": rope,
        "sliding_window": 2047,
    }
    _describe(folder, "PhiMoEForCausalLM", "phimoe", config, "phimoe")
    layer = _NORMS | _attention(head=head) | {"block_sparse_moe.gate": (EXPERTS, WIDTH)}
    for expert in range(EXPERTS):
        for projection, shape in (("w1", (INNER, WIDTH)), ("w2", (WIDTH, INNER)), ("w3", (INNER, WIDTH))):
            layer[f"block_sparse_moe.experts.{expert}.{projection}"] = shape
    shapes = _model([layer])
    biased = [name for name in shapes if "norm" in name or "self_attn" in name or name == "lm_head.weight"]
    for name in biased:
        dtype, shape = shapes[name]
        shapes[name.replace(".weight", ".bias")] = (dtype, shape[:1])
    write_weights(folder, shapes)


MIXTURES: dict[str, Callable[[Path], None]] = {
    "qwen25_vl": _qwen25_vl,
    "qwen3_embedding": _qwen3_embedding,
    "qwen3_moe_fused": _qwen3_moe_fused,
    "qwen3_next": _qwen3_next,
    "deepseek_v2_lite": _deepseek_v2_lite,
    "kimi_k2": _kimi_k2,
    "glm45_mtp": _glm45_mtp,
    "glm47_flash": _glm47_flash,
    "ernie45_fused": _ernie45_fused,
    "ernie45_moe": _ernie45_moe,
    "granite_shared": _granite_shared,
    "olmo3": _olmo3,
    "llama4_scout": _llama4_scout,
    "phi35_moe": _phi35_moe,
}


def _describe(folder: Path, name: str, model_type: str, config: Json, vocabulary: str) -> None:
    """config.json, and the files of the vocabulary that was recorded with the checkpoint of that name."""
    write_json(folder, "config.json", {"architectures": [name], "model_type": model_type, **config})
    for file in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json"):
        source = DATA / vocabulary / "checkpoint" / file
        if source.exists():
            shutil.copy(source, folder)


def _model(layers: Iterable[Matrices], *, output: bool = True) -> Shapes:
    around: Matrices = {"model.embed_tokens": (VOCABULARY, WIDTH), "model.norm": (WIDTH,)}
    if output:
        around["lm_head"] = (VOCABULARY, WIDTH)
    shapes = _named("", around)
    for number, layer in enumerate(layers):
        shapes |= _named(f"model.layers.{number}.", layer)
    return shapes


def _named(prefix: str, matrices: Matrices) -> Shapes:
    return {f"{prefix}{name}.weight": ("BF16", shape) for name, shape in matrices.items()}


def _attention(head: int = HEAD) -> Matrices:
    return {
        "self_attn.q_proj": (HEADS * head, WIDTH),
        "self_attn.k_proj": (KV_HEADS * head, WIDTH),
        "self_attn.v_proj": (KV_HEADS * head, WIDTH),
        "self_attn.o_proj": (WIDTH, HEADS * head),
    }


def _mlp(name: str, inner: int) -> Matrices:
    return {
        f"{name}.gate_proj": (inner, WIDTH),
        f"{name}.up_proj": (inner, WIDTH),
        f"{name}.down_proj": (WIDTH, inner),
    }


def _experts(shared: int = 0) -> Matrices:
    """`shared`: how many experts every token goes through; they are one."""
    found: Matrices = {"mlp.gate": (EXPERTS, WIDTH)}
    for expert in range(EXPERTS):
        found |= _mlp(f"mlp.experts.{expert}", EXPERT_INNER)
    return found | (_mlp("mlp.shared_experts", shared * EXPERT_INNER) if shared else {})


def _selection_biases(*layers: int) -> Shapes:
    return {f"model.layers.{layer}.mlp.gate.e_score_correction_bias": ("F32", (EXPERTS,)) for layer in layers}


def _further() -> Matrices:
    """What the layers that predict further tokens have besides."""
    return {
        "eh_proj": (WIDTH, 2 * WIDTH),
        "enorm": (WIDTH,),
        "hnorm": (WIDTH,),
        "embed_tokens": (VOCABULARY, WIDTH),
        "shared_head.norm": (WIDTH,),
        "shared_head.head": (VOCABULARY, WIDTH),
    }


def _latent() -> Json:
    """Latent attention: keys of 16 rows and 8 rotated ones, values of 12."""
    return USUAL | {
        "num_key_value_heads": HEADS,
        "kv_lora_rank": 20,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 12,
        "first_k_dense_replace": 1,
        "n_routed_experts": EXPERTS,
        "n_shared_experts": 2,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": EXPERT_INNER,
        "routed_scaling_factor": 2.5,
    }


def _latent_attention(queries: Matrices) -> Matrices:
    return queries | {
        "self_attn.kv_a_proj_with_mqa": (28, WIDTH),
        "self_attn.kv_a_layernorm": (20,),
        "self_attn.kv_b_proj": (HEADS * 28, 20),
        "self_attn.o_proj": (WIDTH, HEADS * 12),
    }


def _low_rank_queries() -> Matrices:
    return {
        "self_attn.q_a_proj": (24, WIDTH),
        "self_attn.q_a_layernorm": (24,),
        "self_attn.q_b_proj": (HEADS * 24, 24),
    }

"""What the context takes in memory: keys and values of attention, and the states of layers that have none.

As llama.cpp allocates it (`llama_kv_cache`, `llama_kv_cache_iswa`, `llama_memory_recurrent` and the hyperparameters
that its src/models/*.cpp set): keys and values in 16 bits, states in 32, one sequence, all of it at the start.
"""

from __future__ import annotations

from ggufactory.choice.hyperparameters import Hyperparameters

MICRO_BATCH = 512
"""Tokens that llama.cpp computes at once unless it is told otherwise (`--ubatch-size`)."""
_PADDING = 256
"""Cells are allocated in multiples of it."""
_HALF, _SINGLE = 2, 4
_WINDOWED = {
    "cohere2": (4, None),
    "exaone4": (4, 4096),
    "gemma2": (2, 4096),
    "gemma3": (6, None),
    "gemma3n": (5, None),
    "gpt-oss": (2, None),
    "llama4": (4, 8192),
    "olmo2": (4, None),
}
"""Architectures whose layers look back over a window, but for every n-th: n, and the window where the file need not
tell one. A file's own pattern goes before. Others that have a window get the whole context, as llama.cpp does, or
more than they need."""
_WINDOW_IN_EVERY_LAYER = ("lfm2",)
_INTERVAL = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4}
"""Architectures in which every n-th layer has attention and the others a state."""
_EXAONE_WITH_WINDOW = 64
"""Layers of the one EXAONE 4 that has windows."""


def cache_bytes(model: Hyperparameters, context: int) -> int:
    """Of a context of so many tokens; 0 of an encoder, which keeps nothing. An upper bound for architectures whose
    windows are not known here."""
    if not model.number("attention.causal", 1):
        return 0
    return sum(_layer_bytes(model, layer, context) for layer in range(model.layers))


def attended_cells(model: Hyperparameters, context: int) -> set[int]:
    """Tokens that are kept by layers of attention: one number of those without a window, one of those with."""
    found = {_cells(model, layer, context) for layer in range(model.layers) if not _has_state(model, layer)}
    return found or {_padded(context)}


def _layer_bytes(model: Hyperparameters, layer: int, context: int) -> int:
    if _has_state(model, layer):
        return _state_bytes(model)
    heads = model.number("attention.head_count")
    size = model.number("embedding_length") // heads
    key, value = model.number("attention.key_length", size), model.number("attention.value_length", size)
    if model.number("attention.key_length_mla"):
        value = 0  # latent attention: values are a part of what is kept as keys
    kv_heads = model.of_layer("attention.head_count_kv", layer, heads)
    return _cells(model, layer, context) * kv_heads * (key + value) * _HALF


def _cells(model: Hyperparameters, layer: int, context: int) -> int:
    window = _window(model, layer)
    return _padded(min(context, window + MICRO_BATCH) if window else context)


def _has_state(model: Hyperparameters, layer: int) -> bool:
    interval = model.number("full_attention_interval", _INTERVAL.get(model.architecture, 0))
    kv_heads = model.of_layer("attention.head_count_kv", layer, model.number("attention.head_count"))
    return bool(interval and (layer + 1) % interval) or not kv_heads


def _state_bytes(model: Hyperparameters) -> int:
    """Of one layer: the last inputs of its convolution, and what it has summed."""
    if kept := model.number("shortconv.l_cache"):
        return model.number("embedding_length") * (kept - 1) * _SINGLE
    inner, state = model.number("ssm.inner_size"), model.number("ssm.state_size")
    convolved = inner + 2 * model.number("ssm.group_count") * state
    return (max(model.number("ssm.conv_kernel") - 1, 0) * convolved + state * inner) * _SINGLE


def _window(model: Hyperparameters, layer: int) -> int:
    """Tokens that the layer looks back over; 0 for all of them."""
    if model.architecture in _WINDOW_IN_EVERY_LAYER:
        return model.number("attention.sliding_window")
    every, usual = _WINDOWED.get(model.architecture, (0, None))
    window = model.number("attention.sliding_window", usual or 0)
    if not every or not window or (model.architecture == "exaone4" and model.layers != _EXAONE_WITH_WINDOW):
        return 0
    if model.architecture == "llama4":
        window = usual or window
    pattern = model.values.get("attention.sliding_window_pattern", every)
    if isinstance(pattern, tuple):
        return window if layer < len(pattern) and pattern[layer] else 0
    return window if not pattern or layer % pattern < pattern - 1 else 0


def _padded(cells: int) -> int:
    return cells + -cells % _PADDING

"""The sizes of a transformer, by the names that tables of tensors use."""

from __future__ import annotations

from ggufactory.architectures.configuration import Config, first_of, positive_integer
from ggufactory.errors import InputError

MAX_HEAD_DIM = 4096


def head_dim(config: Config) -> int:
    """Rows of a query head. InputError unless it is an even number."""
    if config.get("head_dim") is not None:
        size = positive_integer(config, "head_dim")
    else:
        size = positive_integer(config, "hidden_size", "n_embd") // positive_integer(
            config, "num_attention_heads", "n_heads", "n_head"
        )
    if size % 2 or not 0 < size <= MAX_HEAD_DIM:
        raise InputError(f"config.json: heads of {size} rows, wanted an even number up to {MAX_HEAD_DIM}")
    return size


def transformer_sizes(config: Config) -> dict[str, int]:
    """vocabulary, width, inner, heads, kv_heads, head, queries (rows of all query heads), keys (of all key heads)."""
    heads = positive_integer(config, "num_attention_heads", "n_heads", "n_head")
    kv_heads = heads
    if first_of(config, "num_key_value_heads", "n_kv_heads") is not None:
        kv_heads = positive_integer(config, "num_key_value_heads", "n_kv_heads")
    head = head_dim(config)
    return {
        "vocabulary": positive_integer(config, "vocab_size"),
        "width": positive_integer(config, "hidden_size", "n_embd"),
        "inner": positive_integer(config, "intermediate_size", "n_inner"),
        "heads": heads,
        "kv_heads": kv_heads,
        "head": head,
        "queries": heads * head,
        "keys": kv_heads * head,
    }

"""What a tensor is to the recipe: its category, whether it is touched at all, and its place in the order.

Source: llama.cpp, `src/llama-quant.cpp` (`tensor_get_category`, `tensor_allows_quantization`) and
`weight_name_comparer` in `src/llama-model-loader.h`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from ggufactory.plan.options import NO_OPTIONS, Options


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """What the rules read of a tensor. `ne` as ggml orders it: columns first."""

    name: str
    ne: tuple[int, ...]
    type: str
    """Its type before quantization, kept where the tensor is not to be quantized."""

    @property
    def dimensions(self) -> int:
        """ggml's count: trailing dimensions of one do not count."""
        return max((i + 1 for i, n in enumerate(self.ne) if n > 1), default=1)

    @property
    def matrices(self) -> int:
        return self.ne[2] if len(self.ne) > 2 else 1


class Category(Enum):
    OUTPUT = auto()
    TOKEN_EMBD = auto()
    ATTN_QKV = auto()
    ATTN_KV_B = auto()
    ATTN_V = auto()
    ATTN_K = auto()
    ATTN_Q = auto()
    ATTN_OUTPUT = auto()
    FFN_UP = auto()
    FFN_GATE = auto()
    FFN_DOWN = auto()
    OTHER = auto()


# By substring, in this order: the first that occurs in the name decides.
_SUBSTRINGS = (
    ("attn_qkv.weight", Category.ATTN_QKV),
    ("attn_kv_b.weight", Category.ATTN_KV_B),
    ("attn_v.weight", Category.ATTN_V),
    ("attn_k.weight", Category.ATTN_K),
    ("attn_q.weight", Category.ATTN_Q),
    ("attn_output.weight", Category.ATTN_OUTPUT),
    ("ffn_up", Category.FFN_UP),
    ("ffn_gate", Category.FFN_GATE),
    ("ffn_down", Category.FFN_DOWN),
)

ATTN_V_LIKE = frozenset({Category.ATTN_V, Category.ATTN_QKV, Category.ATTN_KV_B})

# Small, or too sensitive: kept in the type that they came with.
_KEPT_SUBSTRINGS = (
    *("_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel"),
    *("per_layer_model_proj", "ssm_conv1d", "shortconv.conv.weight"),
    *("indexer.k_proj.weight", "indexer.q_proj.weight", "time_mix_first.weight"),
    *(f"time_mix_{part}.weight" for part in ("w0", "w1", "w2", "v0", "v1", "v2", "a0", "a1", "a2", "g1", "g2")),
    *("time_mix_decay_w1.weight", "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight"),
    *("attn_rel_b.weight", ".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos"),
    *(".patch_embd", ".patch_merger", "a.rvq.codebook", "mm.a.code_embd"),
)
_KEPT_NAMES = frozenset({"position_embd.weight", "token_types.weight"})
_KEPT_OF_GLM5_NEXT = (
    *("hc_", "indexer.attn_q_b", "indexer.attn_k", "indexer.proj"),
    *("indexer_compressor_gate", "indexer_compressor_ape"),
    *(f"ssm_{part}.weight" for part in ("f_a", "f_b", "g_a", "g_b", "beta")),
    *("attn_kv_a_mqa.weight", "attn_k_b.weight", "attn_v_b.weight"),
)

BLOCK_NUMBER = re.compile(r"blk\.([0-9]+)")
"""As the reference's sscanf of "blk.%d.", which is content without the last point."""


def reference_order(name: str) -> tuple[int, bytes]:
    """Sort key of llama-quantize's tensor order: block number (none first), then name by bytes."""
    match = BLOCK_NUMBER.match(name)
    return (int(match[1]) if match else -1, name.encode())


def category(name: str) -> Category:
    if name == "output.weight":
        return Category.OUTPUT
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return Category.TOKEN_EMBD
    return next((found for part, found in _SUBSTRINGS if part in name), Category.OTHER)


def is_quantizable(tensor: TensorFacts, architecture: str, options: Options = NO_OPTIONS) -> bool:
    """Whether llama-quantize touches this tensor at all."""
    if options.leave_output and tensor.name == "output.weight":
        return False
    if architecture == "glm5-next" and any(part in tensor.name for part in _KEPT_OF_GLM5_NEXT):
        return False
    return (
        tensor.dimensions >= 2
        and tensor.name.endswith("weight")
        and tensor.name not in _KEPT_NAMES
        and not any(part in tensor.name for part in _KEPT_SUBSTRINGS)
    )

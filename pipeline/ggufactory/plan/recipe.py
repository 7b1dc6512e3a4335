"""The recipe: which type each tensor takes on a rung, as llama-quantize decides it.

Source: llama.cpp, `src/llama-quant.cpp` (`tensor_allows_quantization`, `llama_tensor_get_type_impl`,
`tensor_type_fallback`, `tensor_requires_imatrix`). The reference walks the tensors in its order and
counts as it goes; here every counter is a rank, computed once from the sorted list, so that a type
depends on nothing but the tensor, the model's facts, the rung and whether there is an importance
matrix. Branches of the reference that cannot be reached are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from ggufactory.plan.facts import ModelFacts
from ggufactory.plan.ftypes import FileType
from ggufactory.plan.options import NO_OPTIONS, Options
from ggufactory_kernels.types import TENSOR_TYPES


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


@dataclass(frozen=True, slots=True)
class Decision:
    """The type of one tensor on one rung, and what the user should know about it."""

    type: str
    wanted: str = ""
    """Set when the width forced another type: the one that the rules asked for."""
    needs_importance: bool = False
    """llama-quantize refuses to make this tensor without an importance matrix."""
    refused: bool = False
    """No type stands in for this one where the block does not divide the width: llama-quantize gives up."""


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

_ATTN_V_LIKE = frozenset({Category.ATTN_V, Category.ATTN_QKV, Category.ATTN_KV_B})

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
_Q8_0_OF_GLM5_NEXT = ("attn_q_a", "attn_q_b", "nextn.eh_proj")

_IQ1_IQ2 = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M"})

_MIXTRAL_ATTN_OUTPUT = frozenset(
    (
        "Q2_K",
        "IQ3_XS",
        "IQ3_XXS",
        "Q3_K_S",
        "Q3_K_M",
        "IQ4_NL",
        "Q4_K_S",
        "Q4_K_M",
        "IQ3_S",
        "IQ3_M",
        "IQ4_XS",
    )
)

# When the columns are no multiple of the type's block; if the substitute's block does not divide
# them either, F16.
_FALLBACK = {
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
    **dict.fromkeys(("Q2_0", "Q2_K", "Q3_K", "TQ1_0", "TQ2_0"), "Q4_0"),
    **{"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"},
}

_BLOCK_NUMBER = re.compile(r"blk\.([0-9]+)")
"""As the reference's sscanf of "blk.%d.", which is content without the last point."""


def reference_order(name: str) -> tuple[int, bytes]:
    """Sort key of llama-quantize's tensor order: block number (none first), then name by bytes."""
    match = _BLOCK_NUMBER.match(name)
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


def decide_types(
    tensors: Sequence[TensorFacts],
    facts: ModelFacts,
    rung: FileType,
    *,
    has_importance: bool,
    options: Options = NO_OPTIONS,
    in_order: bool = False,
) -> dict[str, Decision]:
    """The type of every tensor on `rung`; independent of the order of `tensors`.

    Unless they are `in_order`: that of the source's split, which the reference keeps on request.
    """
    ordered = tensors if in_order else sorted(tensors, key=lambda t: reference_order(t.name))
    decisions = {t.name: Decision(t.type) for t in ordered}
    mixed = []
    for tensor in (t for t in ordered if is_quantizable(t, facts.architecture, options)):
        if named := _named_type(tensor, options):
            decisions[tensor.name] = _decision(tensor, named, rung, exact=True)
        elif not rung.is_mix:
            decisions[tensor.name] = Decision(rung.base)
        elif pinned := options.pinned_type(tensor.name) or (rung.base if options.pure else None):
            decisions[tensor.name] = _decision(tensor, pinned, rung)
        else:
            mixed.append(tensor)
    rules = _Rules(
        facts=facts,
        rung=rung.name,
        has_importance=has_importance,
        tied=not any(category(t.name) is Category.OUTPUT for t in ordered),
        attn_v_count=sum(category(t.name) in _ATTN_V_LIKE for t in ordered),
        output_type=options.output_type,
    )
    for tensor, rank in zip(mixed, _ranks([category(t.name) for t in mixed]), strict=True):
        wanted = rules.type_of(tensor, category(tensor.name), rank, rung.base)
        decisions[tensor.name] = _decision(tensor, wanted, rung)
    return decisions


def _named_type(tensor: TensorFacts, options: Options) -> str | None:
    """The type that an option names for the output or the token embeddings themselves."""
    found = category(tensor.name)
    if found is Category.OUTPUT:
        return options.output_type
    # The per-layer embeddings are a large table of their own: a regular expression may name them.
    by_expression = tensor.name == "per_layer_token_embd.weight" and options.pinned_type(tensor.name)
    return options.token_embedding_type if found is Category.TOKEN_EMBD and not by_expression else None


def _decision(tensor: TensorFacts, wanted: str, rung: FileType, *, exact: bool = False) -> Decision:
    """`exact`: nothing stands in for a type whose block does not divide the width."""
    chosen = _fit_width(wanted, tensor.ne[0])
    no_substitute = exact or (wanted not in _FALLBACK and TENSOR_TYPES[wanted].block > 32)
    return Decision(
        type=chosen,
        wanted=wanted if chosen != wanted else "",
        needs_importance=_needs_importance(category(tensor.name), chosen, rung.name),
        refused=chosen != wanted and no_substitute,
    )


def _ranks(categories: Sequence[Category]) -> list[int]:
    """Each tensor's index among those that share its counter in the reference."""
    counts: dict[str, int] = {}
    ranks = []
    for found in categories:
        counter = "attn_v" if found in _ATTN_V_LIKE else found.name
        ranks.append(counts.get(counter, 0))
        counts[counter] = ranks[-1] + 1
    return ranks


def _fit_width(wanted: str, columns: int) -> str:
    if columns % TENSOR_TYPES[wanted].block == 0:
        return wanted
    substitute = _FALLBACK.get(wanted, wanted)
    return substitute if columns % TENSOR_TYPES[substitute].block == 0 else "F16"


def _needs_importance(found: Category, chosen: str, rung: str) -> bool:
    if found in (Category.OUTPUT, Category.TOKEN_EMBD):
        return False
    if chosen == "Q2_K":
        return rung == "Q2_K_S"
    return chosen in ("IQ3_XXS", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_M", "IQ1_S")


def _more_bits(layer: int, layers: int) -> bool:
    """The layers that a mix gives more bits: the first and last eighth, and every third between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


@dataclass(frozen=True, slots=True)
class _Rules:
    """The mixes. Every method: (base type, tensor, its rank) to type."""

    facts: ModelFacts
    rung: str
    has_importance: bool
    tied: bool
    attn_v_count: int
    output_type: str | None

    def type_of(self, tensor: TensorFacts, found: Category, rank: int, base: str) -> str:
        if self.facts.architecture == "glm5-next" and any(part in tensor.name for part in _Q8_0_OF_GLM5_NEXT):
            return "Q8_0"
        if found is Category.OUTPUT or (self.tied and found is Category.TOKEN_EMBD):
            return self._output(tensor, base)
        if self.rung == "MXFP4_MOE":
            return self._mxfp4_moe(tensor, found)
        if found is Category.TOKEN_EMBD:
            return self._token_embd(base)
        if self.rung in _IQ1_IQ2:
            return self._iq1_iq2(found, rank, base)
        rules: Mapping[Category, Callable[[TensorFacts, int, str], str]] = {
            **dict.fromkeys(_ATTN_V_LIKE, self._attn_v),
            Category.ATTN_K: self._attn_k,
            Category.ATTN_Q: self._attn_q,
            Category.ATTN_OUTPUT: self._attn_output,
            Category.FFN_DOWN: self._ffn_down,
            Category.FFN_GATE: self._ffn_gate_up,
            Category.FFN_UP: self._ffn_gate_up,
        }
        rule = rules.get(found)
        return rule(tensor, rank, base) if rule else base

    def _output(self, tensor: TensorFacts, base: str) -> str:
        if self.output_type:
            return self.output_type
        unfit = tensor.ne[0] % TENSOR_TYPES[base].block != 0
        if self.rung == "MXFP4_MOE" or self.facts.architecture == "falcon" or unfit:
            return "Q8_0"
        if self.rung in _IQ1_IQ2 or self.rung == "IQ3_XXS":
            return "Q5_K"
        return base if base == "Q8_0" else "Q6_K"

    def _mxfp4_moe(self, tensor: TensorFacts, found: Category) -> str:
        is_expert = found in (Category.FFN_UP, Category.FFN_GATE, Category.FFN_DOWN)
        stacked = tensor.matrices > 1 and (self.facts.architecture != "bailingmoe3" or is_expert)
        return "MXFP4" if stacked else "Q8_0"

    def _token_embd(self, base: str) -> str:
        if self.rung in ("IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ1_M"):
            return "Q2_K"
        if self.rung in ("IQ2_S", "IQ2_M", "IQ3_XXS"):
            return "IQ3_S"
        return "Q4_K" if self.rung in ("TQ1_0", "TQ2_0", "Q2_0") else base

    def _iq1_iq2(self, found: Category, rank: int, base: str) -> str:
        better = "IQ3_S" if self.rung in ("IQ2_S", "IQ2_M") else "Q2_K"
        if found in _ATTN_V_LIKE:
            return "Q4_K" if self.facts.gqa >= 4 or self.facts.experts >= 4 else better
        if found is Category.ATTN_K and self.facts.experts == 8:
            return "Q4_K"
        if found is Category.FFN_DOWN:
            return better if rank < self.facts.layers // 8 else base
        if found is Category.ATTN_OUTPUT:
            if self.facts.experts == 8:
                return "Q5_K"
            if self.rung in ("IQ1_S", "IQ1_M"):
                return "IQ2_XXS"
            return "IQ3_S" if self.rung in ("IQ2_S", "IQ2_M") else base
        return base

    def _attn_v(self, _tensor: TensorFacts, rank: int, base: str) -> str:
        chosen = self._attn_v_mix(rank, base)
        if self.facts.is_70b and chosen in ("Q3_K", "Q4_K"):
            # Eight query heads share these weights there: more bits cost next to nothing.
            chosen = "Q5_K"
        return "Q8_0" if self.facts.experts == 8 else chosen

    def _attn_v_mix(self, rank: int, base: str) -> str:
        shared = self.facts.gqa >= 4
        match self.rung:
            case "Q2_K":
                return "Q4_K" if shared else "Q3_K"
            case "Q2_K_S" | "IQ3_XS" | "IQ3_S":
                return "Q4_K" if shared else base
            case "IQ3_XXS":
                return "Q4_K" if shared else base if self.has_importance else "IQ3_S"
            case "IQ3_M":
                return "Q4_K"
            case "Q3_K_M":
                return "Q5_K" if rank < 2 else "Q4_K"
            case "Q3_K_L":
                return "Q5_K"
            case "IQ4_NL" | "IQ4_XS":
                return "Q5_K" if shared else base
            case "Q4_K_M" | "Q5_K_M":
                return "Q6_K" if _more_bits(rank, self.attn_v_count) else base
            case "Q4_K_S":
                return "Q5_K" if rank < 4 else base
        return base

    def _attn_k(self, _tensor: TensorFacts, _rank: int, base: str) -> str:
        return "Q8_0" if self.facts.experts == 8 else self._attn_q(_tensor, _rank, base)

    def _attn_q(self, _tensor: TensorFacts, _rank: int, base: str) -> str:
        return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(self.rung, base)

    def _attn_output(self, _tensor: TensorFacts, _rank: int, base: str) -> str:
        if self.facts.architecture == "falcon":
            return "Q4_K" if self.rung == "Q3_K_L" else base
        if self.facts.experts == 8:
            return "Q5_K" if self.rung in _MIXTRAL_ATTN_OUTPUT else base
        mix = {"Q2_K": "Q3_K", "IQ3_XXS": "IQ3_S", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K", "IQ3_M": "Q4_K"}
        return mix.get(self.rung, base)

    def _layer(self, tensor: TensorFacts, rank: int) -> int:
        """The layer: by rank, or in a mixture of experts by name."""
        if self.facts.experts <= 1:
            return rank
        match = _BLOCK_NUMBER.match(tensor.name)
        return int(match[1]) if match else rank

    def _ffn_down(self, tensor: TensorFacts, rank: int, base: str) -> str:
        layer, layers = self._layer(tensor, rank), self.facts.layers
        first_eighth, first_sixteenth = layer < layers // 8, layer < layers // 16
        falcon = self.facts.architecture == "falcon"
        match self.rung:
            case "Q2_K":
                return "Q3_K"
            case "Q2_K_S":
                return "Q4_K" if first_eighth else base
            case "IQ3_XXS" if not self.has_importance:
                return "Q4_K" if first_eighth else "Q3_K"
            case "Q3_K_M":
                better = "Q4_K" if not falcon or _more_bits(layer, layers) else "Q3_K"
                return "Q5_K" if first_sixteenth else better
            case "IQ3_M":
                mixtral = self.facts.experts == 8 and _more_bits(layer, layers)
                return "Q4_K" if first_eighth or mixtral else base
            case "Q3_K_L":
                return "Q4_K" if falcon else "Q5_K"
            case "Q4_K_M" if falcon:
                return "Q6_K" if first_sixteenth else "Q5_K" if _more_bits(layer, layers) else "Q4_K"
            case "Q4_K_M" | "Q5_K_M":
                return "Q6_K" if _more_bits(layer, layers) else base
            case "IQ4_NL" | "IQ4_XS" if not self.has_importance:
                return "Q5_K" if first_eighth else base
            case "Q4_K_S":
                return "Q5_K" if first_eighth and not falcon else base
            case "Q4_0" | "Q5_0" if self.has_importance:
                return {"Q4_0": "Q4_1", "Q5_0": "Q5_1"}[self.rung] if first_eighth else base
        return base

    def _ffn_gate_up(self, tensor: TensorFacts, rank: int, base: str) -> str:
        layer, layers = self._layer(tensor, rank), self.facts.layers
        in_the_middle = layers // 8 <= layer < 7 * layers // 8
        return "IQ3_XXS" if self.rung == "IQ3_XS" and in_the_middle else base

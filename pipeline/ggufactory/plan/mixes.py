"""The mixes: which type a file type gives a tensor, by its category, its rank and the model's facts.

Source: llama.cpp, `llama_tensor_get_type_impl` in `src/llama-quant.cpp`. Branches that cannot be
reached are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ggufactory.plan.facts import ModelFacts
from ggufactory.plan.roles import ATTN_V_LIKE, BLOCK_NUMBER, Category, TensorFacts
from ggufactory_kernels.types import TENSOR_TYPES

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

_Q8_0_OF_GLM5_NEXT = ("attn_q_a", "attn_q_b", "nextn.eh_proj")


def _more_bits(layer: int, layers: int) -> bool:
    """The layers that a mix gives more bits: the first and last eighth, and every third between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


@dataclass(frozen=True, slots=True)
class Mix:
    """A file type's rules for one model. Every rule: (tensor, its rank, base type) to type."""

    facts: ModelFacts
    rung: str
    """Name of the file type."""
    has_importance: bool
    tied: bool
    """The model has no output.weight: its token embeddings take that one's type."""
    attn_v_count: int
    output_type: str | None
    """What an option names for the output, which tied embeddings follow."""

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
            **dict.fromkeys(ATTN_V_LIKE, self._attn_v),
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
        if found in ATTN_V_LIKE:
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
        match = BLOCK_NUMBER.match(tensor.name)
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

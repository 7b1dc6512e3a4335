"""The recipe: which type each tensor takes on a rung, as llama-quantize decides it.

Source: llama.cpp, `src/llama-quant.cpp` (`llama_tensor_get_type`, `tensor_type_fallback`,
`tensor_requires_imatrix`). The reference walks the tensors in its order and counts as it goes; here
every counter is a rank, computed once from the sorted list, so that a type depends on nothing but the
tensor, the model's facts, the rung and whether there is an importance matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ggufactory.plan.facts import ModelFacts
from ggufactory.plan.ftypes import FileType
from ggufactory.plan.mixes import Mix
from ggufactory.plan.options import NO_OPTIONS, Options
from ggufactory.plan.roles import ATTN_V_LIKE, Category, TensorFacts, category, is_quantizable, reference_order
from ggufactory_kernels.types import TENSOR_TYPES

# When the columns are no multiple of the type's block; if the substitute's block does not divide
# them either, F16.
_FALLBACK = {
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
    **dict.fromkeys(("Q2_0", "Q2_K", "Q3_K", "TQ1_0", "TQ2_0"), "Q4_0"),
    **{"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"},
}


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
    rules = Mix(
        facts=facts,
        rung=rung.name,
        has_importance=has_importance,
        tied=not any(category(t.name) is Category.OUTPUT for t in ordered),
        attn_v_count=sum(category(t.name) in ATTN_V_LIKE for t in ordered),
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
        counter = "attn_v" if found in ATTN_V_LIKE else found.name
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

"""Ladders: which files a job makes. A rung is a file type with its options, under a name of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ggufactory.errors import InputError, did_you_mean
from ggufactory.plan.ftypes import ALIASES, FILE_TYPES, FileType, file_type
from ggufactory.plan.options import NO_OPTIONS, Options


@dataclass(frozen=True, slots=True)
class Rung:
    """One file of the ladder. `name` names the file: NAME-RUNG.gguf."""

    name: str
    file_type: FileType
    options: Options = NO_OPTIONS


_Q8_EMBEDDINGS = Options(output_type="Q8_0", token_embedding_type="Q8_0")

VARIANTS = {
    name: Rung(name, FILE_TYPES[base], _Q8_EMBEDDINGS)
    for name, base in (
        ("Q2_K_L", "Q2_K"),
        ("Q3_K_XL", "Q3_K_L"),
        ("Q4_K_L", "Q4_K_M"),
        ("Q5_K_L", "Q5_K_M"),
        ("Q6_K_L", "Q6_K"),
    )
}
"""Names that publishers have given to a mix whose embeddings and output stay at Q8_0."""

LADDERS: dict[str, tuple[str, ...]] = {
    "bartowski": (
        *("BF16", "Q8_0", "Q6_K_L", "Q6_K", "Q5_K_L", "Q5_K_M", "Q5_K_S", "Q4_1", "Q4_K_L", "Q4_K_M", "Q4_K_S"),
        *("Q4_0", "IQ4_NL", "IQ4_XS", "Q3_K_XL", "Q3_K_L", "Q3_K_M", "Q3_K_S", "IQ3_M", "IQ3_XS", "IQ3_XXS"),
        *("Q2_K_L", "Q2_K", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS"),
    ),
    "imatrix-small": (
        *("IQ4_XS", "IQ3_M", "IQ3_S", "IQ3_XS", "IQ3_XXS", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"),
    ),
    "classic": (
        *("Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_0"),
        *("Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K"),
    ),
    "all": tuple(FILE_TYPES),
}
"""Named ladders, from the largest file to the smallest."""


def resolve(ladder: Sequence[str | Rung], general: Options) -> tuple[list[Rung], list[str]]:
    """The rungs of a ladder, in order, `general` options under their own; and every fault in it.

    Entries are rungs, file types, variants or names of ladders.
    """
    rungs: list[Rung] = []
    faults: list[str] = []
    for entry in ladder:
        for wanted in LADDERS.get(entry, (entry,)) if isinstance(entry, str) else (entry,):
            try:
                rung = wanted if isinstance(wanted, Rung) else _rung(wanted)
            except InputError as error:
                faults.append(str(error))
                continue
            if rung.name in {r.name for r in rungs}:
                faults.append(f"rung {rung.name} is named twice in the ladder")
            else:
                rungs.append(Rung(rung.name, rung.file_type, rung.options.over(general)))
    if not ladder:
        faults.append("the ladder is empty: name at least one rung, such as Q4_K_M")
    return rungs, faults


def _rung(name: str) -> Rung:
    variant = VARIANTS.get(name.strip().upper())
    if variant is not None:
        return variant
    try:
        found = file_type(name)
    except InputError as error:
        names = (*FILE_TYPES, *VARIANTS, *ALIASES, *LADDERS)
        known = f"{', '.join(FILE_TYPES)}; {', '.join(VARIANTS)}; {', '.join(ALIASES)} (the _M of each)"
        fix = did_you_mean(name, names, f"{known}; ladders: {', '.join(LADDERS)}")
        raise InputError(error.message, fix=fix) from error
    return Rung(found.name, found)

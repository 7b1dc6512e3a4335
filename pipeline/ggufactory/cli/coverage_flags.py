"""The flags that say what is done about experts that few tokens reach."""

from __future__ import annotations

import argparse

from ggufactory.calibrate.coverage import POLICIES, Coverage
from ggufactory.calibrate.imatrix_statistics import FEW_TOKENS


def add_coverage_flags(parser: argparse._ActionsContainer) -> None:
    add = parser.add_argument
    add(
        "--coverage",
        choices=POLICIES,
        help="experts that few tokens reach: as llama.cpp, which takes ones where none did (default); a prior from the "
        "layer's other experts; or more chunks",
    )
    add("--coverage-tokens", type=int, metavar="N", help=f"how many are few: less than N (default: {FEW_TOKENS})")
    add("--coverage-chunks", type=int, metavar="N", help="with --coverage more: at most N chunks (default: all)")


def coverage_of(flags: argparse.Namespace, otherwise: Coverage) -> Coverage:
    """What the flags say, and `otherwise` where they say nothing. A policy of its own replaces all of that."""
    asked = {
        "policy": flags.coverage,
        "tokens": flags.coverage_tokens,
        "most_chunks": flags.coverage_chunks,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    if "policy" in given:
        return Coverage(**given)
    return Coverage(
        **{"policy": otherwise.policy, "tokens": otherwise.tokens, "most_chunks": otherwise.most_chunks, **given}
    )

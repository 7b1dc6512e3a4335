"""Figures for targets that no job made: what `evaluate` and the quantizing itself write into a manifest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ggufactory.publish import manifest
from ggufactory.publish.release import release
from ggufactory.storage import open_store

_RECORDED = Path(__file__).parent / "data" / "whole_files.json"
HYPERPARAMETERS = {
    "architecture": "llama",
    "vocabulary": 128256,
    "block_count": 32,
    "context_length": 131072,
    "embedding_length": 4096,
    "attention.head_count": 32,
    "attention.head_count_kv": 8,
}
"""Of Llama 3.1 8B."""
DENSE = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def recorded_quality(rung: str) -> dict[str, Any]:
    """llama-perplexity's figures of the bundled model, by the names that a manifest has them under."""
    files = json.loads(_RECORDED.read_text())["files"]
    found = files["imatrix" if files["imatrix"].get(rung) else "plain"][rung]["quality"]
    return {
        "perplexity": found["perplexity"],
        "perplexity_error": found["perplexity_error"],
        "reference_perplexity": 25.8,
        "kld_mean": found["kld_mean"],
        "kld_error": found["kld_mean"] / 50,
        "kld_median": found["kld_median"],
        "kld_99": found["kld_99"],
        "kld_99_9": found["kld_99.9"],
        "kld_max": found["kld_max"],
        "same_top": found["same_top_percent"] / 100,
        "rms_probability_change": found["rms_dp_percent"] / 100,
        "texts": [{"name": "evaluation.txt", "sha256": "e" * 64}],
        "context": 128,
        "chunks": 100,
        "compute_dtype": "float32",
    }


def recorded_rungs() -> dict[str, int]:
    """Every rung with figures, and the size of its file."""
    files = json.loads(_RECORDED.read_text())["files"]["imatrix"]
    return {rung: file["bytes"] for rung, file in files.items() if file and file["quality"]["kld_mean"] > 0}


def made_errors(level: float, layers: int, kinds: Iterable[str] = DENSE) -> dict[str, float]:
    """By tensor, around `level`; the same for the same arguments."""
    random = np.random.default_rng(layers)
    names = ["token_embd.weight", "output.weight"]
    names += [f"blk.{layer}.{kind}.weight" for layer in range(layers) for kind in kinds]
    return {name: float(level * factor) for name, factor in zip(names, random.uniform(0.5, 2, len(names)), strict=True)}


def add_figures(target: str, by_rung: Mapping[str, Mapping[str, Any]], *, draw: bool = True) -> None:
    """Put fields into the first entry of rungs, and, with `draw`, bring what lies beside in line."""
    store = open_store(target)
    entries = {}
    for name, entry in manifest.read(store)[0].items():
        fields = {} if "-00002-of-" in name else by_rung.get(entry["rung"], {})
        entries[name] = {**entry, **fields}
    manifest.merge(store, entries)
    if draw:
        release(store, None, lambda message: None)

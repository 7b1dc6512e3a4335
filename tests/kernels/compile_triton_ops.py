"""Compiles every Triton kernel for GPUs that need not be there; prints a line for each. Run by test_triton_ops.py, in
a process of its own, because in that of the tests Triton is interpreted."""

from __future__ import annotations

import re
from importlib import import_module
from itertools import product
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

CAPABILITIES = (80, 90, 100)
_WARP = 32
_TILES = {"TILE_ROWS": 8, "TILE_COLUMNS": 256}
_INEXACT = re.compile(r"\bfma\.\S*f32|\S+\.ftz\S*")
"""Instructions that round once where the CPU rounds twice, or make denormal numbers zero: decodes have none."""
FLAGS = [{"IS_ORDERED": both, "IS_BFLOAT16": both} for both in (False, True)]


def _decode(signature: dict[str, str], constants: list[dict[str, Any]]) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """Every variant, with the type of `out` and `order` that it is given."""
    return [
        (
            {
                **signature,
                "out": "*i16" if flags["IS_BFLOAT16"] else "*fp32",
                "order": "*i64" if flags["IS_ORDERED"] else signature["weights"],
            },
            {**flags, **some},
        )
        for flags, some in product(FLAGS, constants)
    ]


VARIANTS = {
    ("column_squares", "_column_squares"): [
        (
            {
                "rows": "*i16" if flags["IS_BFLOAT16"] else stored,
                "order": "*i64",
                "offsets": "*i64",
                "found": "*fp64",
                **dict.fromkeys(("columns", "stride", "part_rows"), "i32"),
            },
            {**flags, "TILE_ROWS": 64, "TILE_COLUMNS": 64},
        )
        for flags, stored in product(FLAGS, ("*fp32", "*fp16"))
    ],
    ("scaled_bytes", "_decode"): _decode(
        {
            "weights": "*u8",
            "scales": "*fp32",
            "scale_rows": "*i64",
            **dict.fromkeys(("rows", "columns", "blocks", "block_columns"), "i32"),
        },
        [{"FORMAT": number, **_TILES} for number in range(3)],
    ),
    ("four_bit_floats", "_decode"): _decode(
        {"weights": "*u8", "scales": "*u8", "rows": "i32", "columns": "i32"},
        [{"GROUP": group, **_TILES} for group in (16, 32)],
    ),
    ("column_ints", "_decode"): _decode(
        {
            "weights": "*i32",
            "zeros": "*i32",
            "scales": "*fp32",
            "groups": "*i64",
            **dict.fromkeys(("rows", "inputs", "weight_columns", "zero_columns", "outputs", "zero_offset"), "i32"),
        },
        [
            {"BITS": bits, "ALONG_INPUTS": along, "TILE": 32}
            for bits, along in ((2, True), (4, True), (8, True), (4, False))
        ],
    ),
}


def main() -> None:
    for (module, name), variants in VARIANTS.items():
        kernel = getattr(import_module(f"ggufactory_kernels.triton_ops.{module}"), name)
        for number, (types, constants) in enumerate(variants):
            # All variants for one GPU; the last one, which rounds to BF16 and permutes, for all.
            for capability in CAPABILITIES if number == len(variants) - 1 else CAPABILITIES[1:2]:
                names = kernel.arg_names
                signature = {n: "constexpr" if n in constants else types[n] for n in names}
                source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
                made = triton.compile(source, target=GPUTarget("cuda", capability, _WARP))
                if module != "column_squares" and (wrong := _INEXACT.findall(made.asm["ptx"])):
                    raise SystemExit(f"{module}: the CPU rounds otherwise than {', '.join(wrong)}")
                print(module, capability, len(made.asm["cubin"]), made.metadata.shared, flush=True)


if __name__ == "__main__":
    main()

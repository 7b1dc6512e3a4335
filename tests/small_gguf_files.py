"""Small GGUF files of several architectures, each with something that the bundled model lacks. Written the same
every time.

`tests/data/gguf_sources.json` records what `llama-quantize --allow-requantize` (commit 0c1e5709, built for
x86-64) makes of each, without and with `write_importance`'s file: the SHA-256 of every file type's file, or null
where it refuses. Left out is what it crashes on: mixes that ask an encoder of images for its heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from hashlib import shake_256
from pathlib import Path

import numpy as np

import ggufactory_kernels as gk
from gguf_files import Contents, Stored, converted, f32, text, u32, write_gguf
from ggufactory.container.metadata import KeyValue, ValueType

_DTYPES = {"I8": "<i1", "I32": "<i4", "I64": "<i8", "F64": "<f8"}


def _array(key: str, item_type: ValueType, *values: bool | int | float | str | bytes) -> KeyValue:
    return KeyValue(key, ValueType.ARRAY, values, item_type)


def _tensor(name: str, type: str, *ne: int) -> Stored:
    """Weights that look random, within 1/8 of zero; whole numbers in the types of those."""
    count = int(np.prod(ne))
    numbers = np.frombuffer(shake_256(name.encode()).digest(2 * count), "<i2")
    weights = numbers.astype("<f4") / (1 << 18)
    if type in _DTYPES:
        data = (numbers % 100).astype(_DTYPES[type]).tobytes()
    else:
        data = gk.quantize(weights.reshape(-1, ne[0]), type).tobytes()
    return Stored(name, type, ne, data)


def _tensors(rows: Iterable[tuple[str, str, tuple[int, ...]]]) -> tuple[Stored, ...]:
    return tuple(_tensor(name, type, *ne) for name, type, ne in rows)


def _sizes(architecture: str, blocks: int, width: int, inner: int, heads: int, kv_heads: int) -> tuple[KeyValue, ...]:
    return (
        text("general.architecture", architecture),
        u32(f"{architecture}.block_count", blocks),
        u32(f"{architecture}.context_length", 512),
        u32(f"{architecture}.embedding_length", width),
        u32(f"{architecture}.feed_forward_length", inner),
        u32(f"{architecture}.attention.head_count", heads),
        u32(f"{architecture}.attention.head_count_kv", kv_heads),
        f32(f"{architecture}.attention.layer_norm_rms_epsilon", 1e-6),
        f32(f"{architecture}.attention.layer_norm_epsilon", 1e-6),
    )


def _attention(block: int, type: str, width: int, kv_width: int) -> list[tuple[str, str, tuple[int, ...]]]:
    name = f"blk.{block}."
    return [
        (name + "attn_norm.weight", "F32", (width,)),
        (name + "attn_q.weight", type, (width, width)),
        (name + "attn_k.weight", type, (width, kv_width)),
        (name + "attn_v.weight", type, (width, kv_width)),
        (name + "attn_q.bias", "F32", (width,)),
        (name + "attn_output.weight", type, (width, width)),
    ]


def _feed_forward(block: int, type: str, width: int, inner: int) -> list[tuple[str, str, tuple[int, ...]]]:
    name = f"blk.{block}."
    return [
        (name + "ffn_norm.weight", "F32", (width,)),
        (name + "ffn_gate.weight", type, (width, inner)),
        (name + "ffn_up.weight", type, (width, inner)),
        (name + "ffn_down.weight", type, (inner, width)),
    ]


def _tied_half() -> Contents:
    """Tied embeddings, half precision; keys of every kind, in an order that no converter writes."""
    metadata = (
        u32("general.file_type", 7),
        u32("general.alignment", 32),
        *_sizes("qwen2", 2, 256, 512, 8, 2),
        u32("general.quantization_version", 1),
        KeyValue("a.small.number", ValueType.INT8, -3),
        KeyValue("a.large.number", ValueType.UINT64, 2**63),
        KeyValue("a.double", ValueType.FLOAT64, 1e300),
        KeyValue("a.bool", ValueType.BOOL, True),
        KeyValue("a.text", ValueType.STRING, "before\0after"),
        _array("bools", ValueType.BOOL, True, False),
        _array("shorts", ValueType.INT16, -1, 2),
        _array("tokenizer.ggml.tokens", ValueType.STRING, "<s>", b"\xff", "a\0b", "", "ü"),
    )
    rows = [("output_norm.weight", "F32", (256,)), ("token_embd.weight", "F16", (256, 40))]
    for block in (1, 0):
        rows += [*_feed_forward(block, "F16", 256, 512), *_attention(block, "F16", 256, 64)]
    return Contents(metadata, _tensors(rows))


def _eight_experts() -> Contents:
    """Three dimensions, single precision; tables of whole numbers and of doubles, which are copied."""
    metadata = (*_sizes("llama", 3, 256, 256, 4, 4), u32("llama.expert_count", 8), u32("llama.expert_used_count", 2))
    rows = [("token_embd.weight", "F32", (256, 24)), ("output.weight", "F32", (256, 24))]
    for block in range(3):
        name = f"blk.{block}."
        rows += _attention(block, "F32", 256, 256)
        rows += [
            (name + "ffn_gate_inp.weight", "F32", (256, 8)),
            (name + "ffn_gate_exps.weight", "F32", (256, 32, 8)),
            (name + "ffn_up_exps.weight", "F32", (256, 32, 8)),
            (name + "ffn_down_exps.weight", "F32", (256, 256, 8)),
            (name + "ffn_gate_tid2eid.weight", "I32", (2, 40)),
        ]
    rows += [("a.table", "I8", (3, 5)), ("b.table", "I64", (3,)), ("c.table", "F64", (3, 2))]
    return Contents(metadata, _tensors(rows))


def _hybrid() -> Contents:
    """Numbers by layer, and layers without attention."""
    sizes = (kv for kv in _sizes("lfm2", 3, 256, 512, 8, 2) if not kv.key.endswith("head_count_kv"))
    metadata = (
        *sizes,
        _array("lfm2.attention.head_count_kv", ValueType.INT32, 0, 2, 0),
        u32("lfm2.shortconv.l_cache", 3),
    )
    rows = [("token_embd.weight", "BF16", (256, 40)), ("token_embd_norm.weight", "F32", (256,))]
    for block in range(3):
        name = f"blk.{block}."
        rows += _feed_forward(block, "BF16", 256, 512)
        rows += (
            _attention(block, "BF16", 256, 64)
            if block == 1
            else [
                (name + "attn_norm.weight", "F32", (256,)),
                (name + "shortconv.conv.weight", "F32", (3, 256)),
                (name + "shortconv.in_proj.weight", "BF16", (256, 768)),
                (name + "shortconv.out_proj.weight", "BF16", (256, 256)),
            ]
        )
    return Contents(metadata, _tensors(rows))


def _images() -> Contents:
    """An encoder of images: no layers in the metadata, four dimensions, no embeddings."""
    metadata = (text("general.architecture", "clip"), KeyValue("clip.has_vision_encoder", ValueType.BOOL, True))
    rows = [
        ("v.patch_embd.weight", "F16", (14, 14, 3, 32)),
        ("v.position_embd.weight", "F16", (256, 9)),
        ("mm.0.weight", "F16", (256, 64)),
        ("mm.0.bias", "F32", (64,)),
    ]
    for block in range(2):
        name = f"v.blk.{block}."
        rows += [(name + f"attn_{part}.weight", "F16", (256, 256)) for part in ("q", "k", "v", "out")]
        rows += [(name + "ffn_up.weight", "F16", (256, 512)), (name + "ffn_down.weight", "F16", (512, 256))]
    return Contents(metadata, _tensors(rows))


def _embedding() -> Contents:
    """Embeddings of positions and token types, and a width of no super-block."""
    metadata = _sizes("bert", 2, 96, 200, 4, 4)
    rows = [
        ("token_embd.weight", "F16", (96, 40)),
        ("position_embd.weight", "F32", (96, 64)),
        ("token_types.weight", "F32", (96, 2)),
        ("token_embd_norm.weight", "F32", (96,)),
    ]
    for block in range(2):
        rows += [*_attention(block, "F16", 96, 96), *_feed_forward(block, "F16", 96, 200)]
    return Contents(metadata, _tensors(rows))


def _quantized() -> Contents:
    """Already quantized, in several types."""
    rows = [
        ("output_norm.weight", "F32", (256,)),
        ("output.weight", "Q6_K", (256, 40)),
        ("token_embd.weight", "Q4_K", (256, 40)),
    ]
    for block in range(3):
        rows += [*_attention(block, "Q8_0", 256, 64), *_feed_forward(block, "BF16", 256, 512)]
    return Contents(_sizes("qwen2", 3, 256, 512, 8, 2), _tensors(rows))


def write_importance(contents: Contents, path: Path) -> Path:
    """An importance matrix of every matrix of a block, as llama-imatrix writes it. The second of several
    experts saw no token."""
    tensors = []
    for tensor in sorted(contents.tensors, key=lambda t: t.name):
        if not tensor.name.startswith("blk.") or tensor.type in _DTYPES or len(tensor.ne) < 2:
            continue
        columns, matrices = tensor.ne[0], tensor.ne[2] if len(tensor.ne) > 2 else 1
        sums = np.frombuffer(shake_256(tensor.name.encode()).digest(2 * columns * matrices), "<u2")
        squares = (sums.astype("<f4") / 256).reshape(matrices, columns)
        counts = np.arange(24, 24 + matrices, dtype="<f4")
        if matrices > 1:
            squares[1], counts[1] = 0, 0
        tensors += [
            Stored(f"{tensor.name}.in_sum2", "F32", (columns, matrices), squares.tobytes()),
            Stored(f"{tensor.name}.counts", "F32", (1, matrices), counts.tobytes()),
        ]
    metadata = (
        text("general.type", "imatrix"),
        _array("imatrix.datasets", ValueType.STRING, "made-up.txt"),
        u32("imatrix.chunk_count", 3),
        u32("imatrix.chunk_size", 512),
    )
    return write_gguf(path, metadata, tensors)


def _bundled(kind: str) -> Contents:
    """The bundled model as the converter writes it in another type than BF16."""
    return converted(str(Path(__file__).parent / "data" / "tinylm"), kind)


SOURCES: dict[str, Callable[[], Contents]] = {
    "tied_half": _tied_half,
    "eight_experts": _eight_experts,
    "hybrid": _hybrid,
    "images": _images,
    "embedding": _embedding,
    "quantized": _quantized,
    "bundled_f16": partial(_bundled, "F16"),
    "bundled_f32": partial(_bundled, "F32"),
}

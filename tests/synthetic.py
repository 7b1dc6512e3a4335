"""Makes checkpoints for tests and benchmarks: Llama-shaped, of any size, without a trained model.

Weights are written tensor by tensor, so memory does not grow with the model.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from statistics import NormalDist
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

DATA = Path(__file__).parent / "data"
DTYPE_BYTES = {"BF16": 2, "F16": 2, "F32": 4}

_CHUNK_ELEMENTS = 4 << 20
_WEIGHT_DEVIATION = 0.02
_NORM_DEVIATION = 0.05


@dataclass(frozen=True, slots=True)
class LlamaShape:
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    vocab: int

    def tensors(self) -> list[tuple[str, tuple[int, ...]]]:
        """Name and shape of every tensor, in the order of the model's modules."""
        head_size = self.hidden // self.heads
        kv = self.kv_heads * head_size
        named: list[tuple[str, tuple[int, ...]]] = [("model.embed_tokens.weight", (self.vocab, self.hidden))]
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}."
            named += [
                (prefix + "self_attn.q_proj.weight", (self.hidden, self.hidden)),
                (prefix + "self_attn.k_proj.weight", (kv, self.hidden)),
                (prefix + "self_attn.v_proj.weight", (kv, self.hidden)),
                (prefix + "self_attn.o_proj.weight", (self.hidden, self.hidden)),
                (prefix + "mlp.gate_proj.weight", (self.intermediate, self.hidden)),
                (prefix + "mlp.up_proj.weight", (self.intermediate, self.hidden)),
                (prefix + "mlp.down_proj.weight", (self.hidden, self.intermediate)),
                (prefix + "input_layernorm.weight", (self.hidden,)),
                (prefix + "post_attention_layernorm.weight", (self.hidden,)),
            ]
        return [*named, ("model.norm.weight", (self.hidden,)), ("lm_head.weight", (self.vocab, self.hidden))]

    def config(self, **other: Any) -> dict[str, Any]:
        """config.json of a LlamaForCausalLM of this shape."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.hidden // self.heads,
            "vocab_size": self.vocab,
            "rms_norm_eps": 1e-05,
            "tie_word_embeddings": False,
            **other,
        }


LLAMA_8B = LlamaShape(layers=32, hidden=4096, intermediate=14336, heads=32, kv_heads=8, vocab=128256)
LLAMA_70B = LlamaShape(layers=80, hidden=8192, intermediate=28672, heads=64, kv_heads=8, vocab=128256)
LLAMA_405B = LlamaShape(layers=126, hidden=16384, intermediate=53248, heads=128, kv_heads=8, vocab=128256)


def write_llama_checkpoint(
    folder: Path,
    *,
    layers: int,
    hidden: int,
    intermediate: int,
    heads: int,
    kv_heads: int,
    vocab: int,
    shards: int,
    dtype: str = "BF16",
    seed: int = 0,
) -> None:
    """A whole checkpoint with tinylm's SentencePiece tokenizer of 2048 tokens, which a larger `vocab`
    pads. Every tensor's values depend on `seed` and its name alone: normal, around 0 with deviation
    0.02 for matrices, around 1 for norms."""
    shape = LlamaShape(layers, hidden, intermediate, heads, kv_heads, vocab)
    rope = {"rope_theta": 10000.0, "rope_type": "default"}
    config = shape.config(
        dtype={"BF16": "bfloat16", "F16": "float16", "F32": "float32"}[dtype],
        bos_token_id=1,
        eos_token_id=2,
        max_position_embeddings=2048,
        rope_parameters=rope,
    )
    tokenizer_files = ("tokenizer.model", "tokenizer_config.json", "generation_config.json")
    _write_small_files(folder, config, DATA / "tinylm", tokenizer_files)
    quantiles = {
        "weight": _normal_table(0.0, _WEIGHT_DEVIATION, dtype),
        "norm": _normal_table(1.0, _NORM_DEVIATION, dtype),
    }
    for path, tensors in _write_shard_headers(folder, shape, shards, dtype):
        with path.open("ab") as file:
            for name, tensor_shape in tensors:
                table = quantiles["norm" if len(tensor_shape) == 1 else "weight"]
                _write_random(file, table, prod(tensor_shape), np.random.SFC64([seed, zlib.crc32(name.encode())]))


def write_headers_only_405b(folder: Path) -> None:
    """Llama 3.1 405B: 191 files of 812 GB."""
    write_headers_only_llama31(folder, LLAMA_405B, shards=191)


def write_headers_only_llama31(folder: Path, shape: LlamaShape, shards: int) -> None:
    """A Llama 3.1 by its headers: sparse files of the right sizes that take no space.

    The tokenizer is llama31's of 512 tokens, padded by the configuration to the shape's vocabulary.
    """
    source = DATA / "architectures" / "llama31" / "checkpoint"
    rope = {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_theta": 500000.0,
        "rope_type": "llama3",
    }
    config = shape.config(
        dtype="bfloat16",
        bos_token_id=508,
        eos_token_id=[509],
        max_position_embeddings=131072,
        rope_parameters=rope,
    )
    tokenizer_files = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")
    _write_small_files(folder, config, source, tokenizer_files)
    for path, tensors in _write_shard_headers(folder, shape, shards, "BF16"):
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size + sum(prod(shape) * 2 for _, shape in tensors))


def write_safetensors_header(path: Path, tensors: list[tuple[str, tuple[int, ...]]], dtype: str) -> None:
    """The length and the header of a safetensors file whose tensors follow each other in this order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in tensors:
        begin, end = end, end + prod(shape) * DTYPE_BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text)


def _write_small_files(folder: Path, config: dict[str, Any], source: Path, names: tuple[str, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    for name in names:
        shutil.copyfile(source / name, folder / name)


def _write_shard_headers(
    folder: Path, shape: LlamaShape, shards: int, dtype: str
) -> Iterator[tuple[Path, list[tuple[str, tuple[int, ...]]]]]:
    """Write the index, then each shard's header: yields the file and the tensors whose data follow."""
    tensors = shape.tensors()
    total = sum(prod(size) for _, size in tensors)
    contents = _split_evenly(tensors, shards)
    single = shards == 1
    names = (
        ["model.safetensors"]
        if single
        else [f"model-{k:05d}-of-{shards:05d}.safetensors" for k in range(1, shards + 1)]
    )
    if not single:
        weight_map = {name: file for file, held in zip(names, contents, strict=True) for name, _ in held}
        index = {
            "metadata": {"total_size": total * DTYPE_BYTES[dtype]},
            "weight_map": dict(sorted(weight_map.items())),
        }
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    for name, held in zip(names, contents, strict=True):
        write_safetensors_header(folder / name, held, dtype)
        yield folder / name, held


def _split_evenly(tensors: list[tuple[str, tuple[int, ...]]], shards: int) -> list[list[tuple[str, tuple[int, ...]]]]:
    """Runs of tensors of about the same size, none of them empty."""
    if len(tensors) < shards:
        raise ValueError(f"{len(tensors)} tensors cannot fill {shards} shards")
    contents: list[list[tuple[str, tuple[int, ...]]]] = []
    rest = list(reversed(tensors))
    for unfilled in range(shards, 0, -1):
        share = sum(prod(size) for _, size in rest) / unfilled
        held = [rest.pop()]
        held_size = prod(held[0][1])
        while len(rest) >= unfilled and held_size + prod(rest[-1][1]) / 2 <= share:
            held.append(rest.pop())
            held_size += prod(held[-1][1])
        contents.append(held)
    return contents


def _normal_table(mean: float, deviation: float, dtype: str) -> npt.NDArray[np.unsignedinteger[Any]]:
    """The 65,536 quantiles of a normal distribution, as bits of `dtype`: 16 random bits pick one."""
    normal = NormalDist(mean, deviation)
    values = np.array([normal.inv_cdf((k + 0.5) / 65536) for k in range(65536)], np.float32)
    if dtype == "F16":
        return values.astype(np.float16).view(np.uint16)
    return values.view(np.uint32) if dtype == "F32" else (values.view(np.uint32) >> 16).astype(np.uint16)


def _write_random(file: BinaryIO, table: npt.NDArray[Any], count: int, bits: np.random.SFC64) -> None:
    for start in range(0, count, _CHUNK_ELEMENTS):
        wanted = min(_CHUNK_ELEMENTS, count - start)
        picks = bits.random_raw(-(-wanted // 4)).view(np.uint16)[:wanted]
        file.write(table[picks].data)

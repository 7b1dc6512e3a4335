"""What llama.cpp's converter makes of a checkpoint (expected.json), and the same of a described one.

expected.json holds {"kv": {key: [type, value]}, "tensors": [[name, type, [ne0, ne1, …], SHA-256], …]}, both
in the converter's order.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ggufactory.architectures.model import Model, OutputTensor
from ggufactory.architectures.options import ConversionOptions
from ggufactory.cluster.descriptor import PieceWork
from ggufactory.cluster.span_reader import SpanReader
from ggufactory.cluster.stage_clock import StageClock
from ggufactory.cluster.work import sources_of
from ggufactory.container.metadata import KeyValue, ValueType
from ggufactory.plan.memory import READERS
from ggufactory.storage import open_store

DATA = Path(__file__).parent / "data" / "architectures"
TOLD = {
    *("cohere", "cohere2", "dots1", "exaone4", "falcon", "gpt2", "granite", "granitemoe", "llama4_text"),
    *("modernbert", "olmo2", "olmoe", "qwen2_moe", "roberta", "smollm3", "stablelm", "starcoder2"),
}
"""The converter was told the name of the family's published pre-tokenizer, and so are we: these
vocabularies were made on the spot, and all of their tokenizer.json files split text as Llama 3's do."""
TOLD_FOR_SMALL = {
    *("bert_classifier", "bert_unnamed_classes", "cohere2_biases", "cohere_norms", "distilbert_classifier"),
    *("exaone4_llama3", "falcon_multi_query", "gemma3_images", "gpt2_published", "lfm2_fixed", "ministral3"),
    *("mistral3_images", "modern_bert_classifier", "phi2", "phi3_longrope", "roberta_classifier", "stablelm_heads"),
}
"""The same for small checkpoints."""


def expected(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / name / "expected.json").read_text(encoding="utf-8"))
    return found


def conversion(name: str) -> ConversionOptions:
    """How the recorded checkpoint was converted."""
    if name not in TOLD | TOLD_FOR_SMALL:
        return ConversionOptions()
    return ConversionOptions(pre_tokenizer=expected(name)["kv"]["tokenizer.ggml.pre"][1])


def metadata_rows(model: Model) -> list[tuple[str, list[Any]]]:
    return [(kv.key, key_value_row(kv)) for kv in model.metadata]


def tensor_rows(model: Model, folder: Path) -> list[list[Any]]:
    return [
        [t.name, t.converted_type, list(reversed(t.shape)), sha256(tensor_bytes(t, folder)).hexdigest()]
        for t in model.tensors
    ]


def tensor_bytes(tensor: OutputTensor, folder: Path) -> bytes:
    """The whole tensor, as a worker reads it."""
    return read_rows(tensor, folder, 0, tensor.rows)[0].tobytes()


def read_rows(tensor: OutputTensor, folder: Path, start: int, stop: int) -> tuple[npt.NDArray[np.uint8], int]:
    """Rows [start, stop) as a worker reads them, [rows, bytes per row], and how many bytes it fetched."""
    skipped, sources = sources_of(tensor, start, stop)
    piece = PieceWork(
        tensor=tensor.name,
        columns=tensor.columns,
        start=start,
        stop=stop,
        rows_per_matrix=tensor.rows_per_matrix,
        converted_type=tensor.converted_type,
        sources=sources,
        skipped_rows=skipped,
        row_map=tensor.row_map,
        value_map=tensor.value_map,
        values=tensor.values,
        padded=False,
    )
    store = open_store(str(folder))
    etags = {info.name: info.etag for info in store.list()}
    with ThreadPoolExecutor(READERS) as pool:
        reader = SpanReader(store, etags, (piece,), StageClock(), pool)
        fetched = reader.finish()
    return np.concatenate([tile.rows for tile in reader.tiles(0)]), fetched


def key_value_row(kv: KeyValue) -> list[Any]:
    if kv.type is ValueType.ARRAY:
        assert kv.item_type is not None
        assert isinstance(kv.value, tuple)
        return [f"ARRAY/{kv.item_type.name}", list(kv.value)]
    return [kv.type.name, kv.value]

"""One span by itself, without Ray: what it reads, makes and refuses."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from corruptions import read_header
from ggufactory.architectures import describe
from ggufactory.architectures.model import Model
from ggufactory.assemble import uploads
from ggufactory.checkpoint import open_checkpoint
from ggufactory.checkpoint.rows import SourceRows
from ggufactory.cluster.span_pipeline import make_span
from ggufactory.cluster.work import missing_spans
from ggufactory.container.decode import decode_header
from ggufactory.errors import InputError, SourceChangedError
from ggufactory.plan import plan as planning
from ggufactory.plan.plan import Plan
from ggufactory.storage import open_store
from small_checkpoints import write_checkpoint

KERNELS = frozenset({"Q8_0", "Q6_K", "Q4_K", "BF16", "F16", "F32"})


def _plan(source: Path, target: Path, ladder: tuple[str, ...], model: Model | None = None, span: int = 1 << 30) -> Plan:
    checkpoint = open_checkpoint(str(source))
    return planning.make(
        model or describe(checkpoint),
        ladder,
        name="m",
        source=str(source),
        files=checkpoint.files,
        limits=open_store(str(target)).limits,
        quantizable=KERNELS,
        span_bytes=span,
    )


def _make(plan: Plan, target: Path, importance: Mapping[str, np.ndarray] | None = None) -> dict[str, bytes]:
    """Every span in turn, completed: the files' bytes."""
    store = open_store(str(target))
    progress = uploads.begin(store, plan)
    headers = {file.name: plan.header(rung, file) for rung in plan.rungs for file in rung.files}
    for work in missing_spans(plan, progress, str(target)):
        begun = {p.upload.name: headers[p.upload.name] for p in work.parts if p.header_bytes}
        for name, part in make_span(work, begun, importance or {}).parts:
            progress.parts[name][part.number] = part
    for file in plan.files.values():
        uploads.complete(store, file, progress)
    return {name: (target / name).read_bytes() for name in plan.files}


def _poison(source: Path, tensor: str, bits: int, row: int, column: int) -> None:
    """Overwrite one BF16 weight."""
    for path in source.glob("*.safetensors"):
        header = read_header(path)
        if tensor in header:
            data = bytearray(path.read_bytes())
            start = 8 + int.from_bytes(data[:8], "little") + header[tensor]["data_offsets"][0]
            at = start + (row * header[tensor]["shape"][1] + column) * 2
            data[at : at + 2] = bits.to_bytes(2, "little")
            path.write_bytes(data)


def test_what_the_receipt_has_measured(source: Path, tmp_path: Path) -> None:
    """Each type of a piece counts once: rungs that share it take what is there."""
    target = tmp_path / "out"
    plan = _plan(source, target, ("Q8_0", "Q6_K", "Q4_K_M"))
    progress = uploads.begin(open_store(str(target)), plan)
    (work,) = missing_spans(plan, progress, str(target))
    headers = {file.name: plan.header(rung, file) for rung in plan.rungs for file in rung.files}
    receipt = make_span(work, headers, {})
    made = {(t.name, rung.decisions[t.name].type) for rung in plan.rungs for t in plan.tensors}
    elements = {t.name: t.rows * t.columns for t in plan.tensors}
    held = {t.name: t.converted_type for t in plan.tensors}
    expected: dict[str, int] = {}
    for name, kind in made:
        if kind != held[name]:
            expected[kind] = expected.get(kind, 0) + elements[name]
    assert {kind: q.weights for kind, q in receipt.quantized.items()} == expected
    assert set(expected) == {"Q8_0", "Q6_K", "Q4_K"}
    assert all(q.seconds > 0 for q in receipt.quantized.values())
    assert set(receipt.stages) == {"read", "convert", "quantize", "measure", "upload"}
    assert receipt.stages["quantize"] >= sum(q.seconds for q in receipt.quantized.values())


@pytest.fixture
def source(tmp_path: Path, tinylm: str) -> Path:
    return Path(shutil.copytree(tinylm, tmp_path / "model"))


@pytest.mark.parametrize("rung", ["Q4_K_M", "F16", "BF16"])
def test_weights_that_are_not_finite(source: Path, tmp_path: Path, rung: str) -> None:
    """Also where nothing is quantized: llama-quantize checks what it copies."""
    _poison(source, "model.layers.1.mlp.up_proj.weight", 0x7FC0, row=5, column=7)
    with pytest.raises(InputError, match=r"tensor blk\.1\.ffn_up\.weight, rows 0 to 768.*row 5, column 7"):
        _make(_plan(source, tmp_path / "out", (rung,)), tmp_path / "out")


def test_a_source_that_was_replaced(source: Path, tmp_path: Path) -> None:
    plan = _plan(source, tmp_path / "out", ("Q8_0",))
    shard = source / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes())
    with pytest.raises(SourceChangedError, match="model-00002-of-00002"):
        _make(plan, tmp_path / "out")


@pytest.mark.parametrize("span", [20_000, 1 << 30])
def test_a_stack_of_matrices_keeps_to_each_ones_importance(source: Path, tmp_path: Path, span: int) -> None:
    """Two feed-forward matrices stacked as experts would be: the bytes are those of each by itself."""
    model = describe(open_checkpoint(str(source)))
    named = {t.name: t for t in model.tensors}
    up = [named[f"blk.{i}.ffn_up.weight"] for i in range(2)]
    sources: tuple[SourceRows, ...] = tuple(s for t in up for s in t.sources)
    stacked = replace(up[0], name="blk.0.ffn_up_exps.weight", shape=(2, *up[0].shape), sources=sources)
    values = np.random.default_rng(5).chisquare(1, (2, up[0].columns)).astype(np.float32)

    def made(tensors: tuple[object, ...], importance: dict[str, np.ndarray], where: str) -> list[bytes]:
        plan = _plan(source, tmp_path / where, ("Q6_K",), replace(model, tensors=tensors), span)  # type: ignore[arg-type]
        (data,) = _make(plan, tmp_path / where, importance).values()
        return [data[plan.rungs[0].files[0].header_bytes :]]

    together = made((stacked,), {stacked.name: values}, "stacked")
    apart = [made((t,), {t.name: v[None]}, t.name)[0] for t, v in zip(up, values, strict=True)]
    assert together[0] == b"".join(apart)


FIXTURES = Path(__file__).parents[1] / "data" / "architectures"


def _recorded(name: str) -> list[tuple[str, str, list[int], str]]:
    tensors: list[tuple[str, str, list[int], str]] = json.loads((FIXTURES / name / "expected.json").read_text())[
        "tensors"
    ]
    return tensors


def _without_ones(ne: list[int]) -> list[int]:
    return _without_ones(ne[:-1]) if len(ne) > 1 and ne[-1] == 1 else ne


PLAIN = sorted(
    name
    for name in (path.parent.name for path in FIXTURES.glob("*/expected.json"))
    if {kind for _, kind, _, _ in _recorded(name)} <= {"F32", "BF16"}
)
"""Those that have a BF16 rung without being quantized anew."""


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("span", [3_000, 1 << 30])
def test_every_architecture_fixture(tmp_path: Path, name: str, span: int) -> None:
    """The BF16 rung, made in small pieces and in one: every tensor's bytes are the converter's."""
    recorded = FIXTURES / name / "checkpoint"
    source = recorded if recorded.exists() else write_checkpoint(name, tmp_path)
    plan = _plan(source, tmp_path / "out", ("BF16",), span=span)
    (data,) = _make(plan, tmp_path / "out").values()
    header = decode_header(lambda offset, length: data[offset : offset + length], len(data))
    # Where the converter has a last dimension of one, ggml has none.
    expected = {n: [kind, _without_ones(ne), digest] for n, kind, ne, digest in _recorded(name)}
    found = {}
    for info in header.tensors:
        kind = {0: "F32", 30: "BF16"}[info.type]
        start = header.data_offset + info.offset
        size = math.prod(info.ne) * {"F32": 4, "BF16": 2}[kind]
        found[info.name] = [kind, list(info.ne), hashlib.sha256(data[start : start + size]).hexdigest()]
    assert found == expected

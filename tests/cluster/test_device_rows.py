"""A span on a GPU, emulated: sent once, made every type, within the memory that the plan says, or with less."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from emulated_device import EmulatedDevice, torch_memory_of

import ggufactory_kernels as gk
from corruptions import read_header
from ggufactory.architectures import describe
from ggufactory.architectures.model import Model
from ggufactory.assemble import uploads
from ggufactory.checkpoint import open_source
from ggufactory.cluster import device_rows, span_task
from ggufactory.cluster.span_pipeline import make_span
from ggufactory.cluster.work import missing_spans
from ggufactory.errors import DamagedSourceError
from ggufactory.plan import device_memory
from ggufactory.plan import plan as planning
from ggufactory.plan.plan import Plan
from ggufactory.plan.tensor_errors import PieceErrors
from ggufactory.storage import open_store
from ggufactory_kernels.cuda.courier import Courier

LADDER = ("Q8_0", "Q4_K_M", "Q4_0", "F16")
SLICE = 20_000
Arrays = Mapping[str, np.ndarray]


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several of a piece, and memory counted to the byte."""
    for module in (device_rows, device_memory):
        monkeypatch.setattr(module, "SLICE_WEIGHTS", SLICE)
        monkeypatch.setattr(module, "SMALLEST_SLICE_WEIGHTS", SLICE // 4)
    monkeypatch.setattr(device_memory, "_ROUNDING", 1)


def _plan(source: str, target: Path, ladder: tuple[str, ...] = LADDER, model: Model | None = None) -> Plan:
    checkpoint = open_source(source)
    return planning.make(
        model or describe(checkpoint),
        ladder,
        name="m",
        source=checkpoint.store.uri,
        files=checkpoint.files,
        limits=open_store(str(target)).limits,
        quantizable=frozenset(kind for kind in gk.TENSOR_TYPES if gk.quantizable(kind)),
        allow_requantize=True,
        span_bytes=600_000,
    )


def _make(
    plan: Plan, target: Path, importance: Arrays, device: str, errors: list[PieceErrors] | None = None
) -> dict[str, bytes]:
    """The files; what they lose is added to `errors`."""
    store = open_store(str(target))
    progress = uploads.begin(store, plan)
    headers = {file.name: plan.header(rung, file) for rung in plan.rungs for file in rung.files}
    for work in missing_spans(plan, progress, str(target)):
        weighed = replace(work, parts=tuple(_weighted(part, work.pieces, importance) for part in work.parts))
        receipt = make_span(weighed, headers_of(weighed, headers), importance, device=device)
        for name, part in receipt.parts:
            progress.parts[name][part.number] = part
        if errors is not None:
            errors += receipt.errors
    for file in plan.files.values():
        uploads.complete(store, file, progress)
    return {name: (target / name).read_bytes() for name in plan.files}


def headers_of(work: span_task.SpanWork, headers: Mapping[str, bytes]) -> dict[str, bytes]:
    return {part.upload.name: headers[part.upload.name] for part in work.parts if part.header_bytes}


def _weighted(part: span_task.PartWork, pieces: tuple[span_task.PieceWork, ...], arrays: Arrays) -> span_task.PartWork:
    """As a plan with importance for these tensors would say."""
    return replace(part, weighted=tuple(piece.tensor in arrays for piece in pieces))


@contextmanager
def _gpu(
    library: Path, monkeypatch: pytest.MonkeyPatch, late: frozenset[int] = frozenset(), memory: int | None = None
) -> Iterator[EmulatedDevice]:
    device = EmulatedDevice(library, late, memory)
    courier = Courier(device, buffer_bytes=5000)
    monkeypatch.setattr(span_task, "own_courier", lambda: courier)
    with torch_memory_of(device):
        yield device


@pytest.fixture(scope="module")
def importance(tinylm: str) -> dict[str, np.ndarray]:
    """Of half of the tensors."""
    rng = np.random.default_rng(5)
    tensors = [t for t in describe(open_source(tinylm)).tensors if t.rows > 1]
    return {t.name: rng.chisquare(1, (1, t.columns)).astype(np.float32) for t in tensors[::2]}


@pytest.fixture(scope="module")
def lost() -> list[PieceErrors]:
    """By what CPUs make."""
    return []


@pytest.fixture(scope="module")
def wanted(
    tinylm: str, tmp_path_factory: pytest.TempPathFactory, importance: Arrays, lost: list[PieceErrors]
) -> dict[str, bytes]:
    """What CPUs make."""
    target = tmp_path_factory.mktemp("cpu")
    return _make(_plan(tinylm, target), target, importance, "cpu", lost)


@pytest.mark.parametrize("late", [frozenset(), frozenset({0, 1}), frozenset({0}), frozenset({1})], ids=str)
def test_sent_once_and_made_every_type(
    tinylm: str,
    tmp_path: Path,
    wanted: dict[str, bytes],
    importance: Arrays,
    lost: list[PieceErrors],
    emulated_cuda_library: Path,
    monkeypatch: pytest.MonkeyPatch,
    late: frozenset[int],
) -> None:
    plan = _plan(tinylm, tmp_path)
    errors: list[PieceErrors] = []
    with _gpu(emulated_cuda_library, monkeypatch, late) as device:
        assert _make(plan, tmp_path, importance, "cuda", errors) == wanted
    assert [e[:4] for e in errors] == [e[:4] for e in lost]
    for found, on_cpu in zip(errors, lost, strict=True):
        assert found[4:] == pytest.approx(on_cpu[4:], rel=1e-12)
    made = {t.name for r in plan.rungs for t in plan.tensors if gk.TENSOR_TYPES[r.decisions[t.name].type].is_quantized}
    sent = sum(2 * t.rows * t.columns for t in plan.tensors if t.name in made)
    pieces = [plan.tensors[piece.tensor] for span in plan.spans for piece in span]
    weights = sum(importance[t.name].nbytes for t in pieces if t.name in importance and t.name in made)
    assert {t.converted_type for t in plan.tensors if t.name in made} == {"BF16"}
    assert device.copied_to_device == sent + weights
    planned = plan.device_bytes - device_memory.BASE_BYTES
    assert late or planned / 2 < device.peak <= planned


@pytest.mark.parametrize("share", [0.9, 0.1])
def test_with_less_memory(
    tinylm: str,
    tmp_path: Path,
    wanted: dict[str, bytes],
    importance: Arrays,
    emulated_cuda_library: Path,
    monkeypatch: pytest.MonkeyPatch,
    share: float,
) -> None:
    """Rows are sent again for every type, and in smaller slices."""
    plan = _plan(tinylm, tmp_path)
    memory = int(share * (plan.device_bytes - device_memory.BASE_BYTES))
    with _gpu(emulated_cuda_library, monkeypatch, memory=memory) as device:
        assert _make(plan, tmp_path, importance, "cuda") == wanted
    assert device.released
    assert device.peak <= memory


def test_too_little_memory_is_an_error_that_may_pass(
    tinylm: str, tmp_path: Path, emulated_cuda_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        _gpu(emulated_cuda_library, monkeypatch, memory=5000) as device,
        pytest.raises(MemoryError, match="bytes wanted"),
    ):
        _make(_plan(tinylm, tmp_path), tmp_path, {}, "cuda")
    assert device.released == 2, "from a whole slice to a fourth of it"
    assert device.held == 0


def test_a_source_that_is_quantized(
    tmp_path: Path, wanted: dict[str, bytes], emulated_cuda_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source-Q8_0.gguf"
    source.write_bytes(wanted["m-Q8_0.gguf"])
    plan = _plan(str(source), tmp_path / "cpu", ("Q8_0", "Q4_K_M", "F16"))
    on_cpu = _make(plan, tmp_path / "cpu", {}, "cpu")
    with _gpu(emulated_cuda_library, monkeypatch) as device:
        assert _make(plan, tmp_path / "cuda", {}, "cuda") == on_cpu
    assert "dequantize_q8_0" in device.launched
    assert device.peak <= plan.device_bytes - device_memory.BASE_BYTES


def test_a_stack_of_matrices(
    tinylm: str, tmp_path: Path, emulated_cuda_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = describe(open_source(tinylm))
    named = {t.name: t for t in model.tensors}
    up = [named[f"blk.{layer}.ffn_up.weight"] for layer in range(2)]
    sources = (*up[0].sources, *up[1].sources)
    both = replace(up[0], name="blk.0.ffn_up_exps.weight", shape=(2, *up[0].shape), sources=sources)
    weights = {both.name: np.random.default_rng(5).chisquare(1, (2, both.columns)).astype(np.float32)}
    plan = _plan(tinylm, tmp_path, ("Q6_K", "Q4_0"), replace(model, tensors=(both,)))
    on_cpu = _make(plan, tmp_path / "cpu", weights, "cpu")
    with _gpu(emulated_cuda_library, monkeypatch) as device:
        assert _make(plan, tmp_path / "cuda", weights, "cuda") == on_cpu
    assert "quantize_q6_k_weighted" in device.launched
    assert device.peak <= plan.device_bytes - device_memory.BASE_BYTES


@pytest.mark.parametrize("late", [frozenset(), frozenset({0, 1})], ids=str)
def test_damaged_weights_are_named(
    tinylm: str, tmp_path: Path, emulated_cuda_library: Path, monkeypatch: pytest.MonkeyPatch, late: frozenset[int]
) -> None:
    """In a later slice, after others have been launched."""
    source = Path(shutil.copytree(tinylm, tmp_path / "model"))
    tensor = "model.layers.1.mlp.up_proj.weight"
    for path in source.glob("*.safetensors"):
        header = read_header(path)
        if tensor in header:
            data = bytearray(path.read_bytes())
            start = 8 + int.from_bytes(data[:8], "little") + header[tensor]["data_offsets"][0]
            at = start + (500 * header[tensor]["shape"][1] + 7) * 2
            data[at : at + 2] = b"\xc0\x7f"
            path.write_bytes(data)
    plan = _plan(str(source), tmp_path / "out", ("Q4_K_M",))
    with (
        _gpu(emulated_cuda_library, monkeypatch, late),
        pytest.raises(DamagedSourceError) as refused,
    ):
        _make(plan, tmp_path / "out", {}, "cuda")
    found = refused.value.message
    assert "tensor blk.1.ffn_up.weight, rows " in found
    first = int(found.split("rows ")[1].split(" ")[0])
    row = int(found.split("in row ")[1].split(",")[0])
    assert first + row == 500
    assert found.endswith("column 7")

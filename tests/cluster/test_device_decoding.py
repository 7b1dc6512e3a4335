"""Packed sources on a GPU: sent as they are stored, decoded there, and the ladder is what CPUs make of it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from emulated_ladders import emulated_gpu, make_ladder, plan_ladder, use_small_slices
from ggufactory.architectures import describe
from ggufactory.architectures.model import Model
from ggufactory.checkpoint import open_source
from ggufactory.checkpoint.packing import column_ints
from ggufactory.checkpoint.packing.encoded_rows import EncodedRows
from ggufactory.checkpoint.rows import StoredRows
from ggufactory.cluster import device_decoding
from ggufactory.errors import DamagedSourceError
from ggufactory.plan import device_memory, memory
from ggufactory.plan.plan import Plan
from ggufactory_kernels import backends, triton_check
from packed_llama import PACKINGS, write_packed_llama

pytest.importorskip("triton", reason="Triton has no wheel for this machine")

LADDER = ("Q8_0", "Q4_0")
EMULATED = pytest.mark.skipif(torch.cuda.is_available(), reason="the kernels are compiled for the GPU of this machine")
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in multiply:RuntimeWarning")
"""Of the interpreter's NumPy, where numbers are not finite."""


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Several tiles of a piece, of two heads each, several slices of it, which end elsewhere, and what is missing asked
    anew."""
    use_small_slices(monkeypatch)
    monkeypatch.setattr(memory, "TILE_BYTES", 66_000)
    monkeypatch.setattr(column_ints, "UNIT_BYTES", 100_000)
    device_decoding._triton_decodes.cache_clear()
    triton_check.missing()  # while torch's memory is not yet the emulated GPU's
    yield
    device_decoding._triton_decodes.cache_clear()


@pytest.fixture(scope="module")
def sources(tinylm: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("packed")
    return {packing: write_packed_llama(folder / packing, tinylm, packing) for packing in PACKINGS}


def _model(source: Path, tensors: slice = slice(None)) -> Model:
    """Some of these: queries and keys, whose rows are permuted, a norm, and the matrices of two layers as a stack."""
    model = describe(open_source(str(source)))
    named = {t.name: t for t in model.tensors}
    kept = [named[f"blk.0.{name}.weight"] for name in ("attn_q", "attn_k", "attn_norm")]
    experts = [named[f"blk.{layer}.ffn_up.weight"] for layer in range(2)]
    stacked = tuple(source for expert in experts for source in expert.sources)
    stack = replace(experts[0], name="blk.1.ffn_up_exps.weight", shape=(2, *experts[0].shape), sources=stacked)
    return replace(model, tensors=(*kept, stack)[tensors])


def _plan(source: Path, target: Path, ladder: tuple[str, ...] = LADDER, tensors: slice = slice(None)) -> Plan:
    """Spans begin in the middle of heads, of blocks and of words."""
    return plan_ladder(str(source), target, ladder, _model(source, tensors), span_bytes=170_000)


def _importance(model: Model) -> dict[str, np.ndarray]:
    """Of the stack, for each matrix its own."""
    stack = model.tensors[-1]
    return {stack.name: np.random.default_rng(5).chisquare(1, (2, stack.columns)).astype(np.float32)}


@EMULATED
@pytest.mark.parametrize(
    ("packing", "late"),
    [*((packing, frozenset()) for packing in PACKINGS), ("fp8", frozenset({0, 1}))],
    ids=str,
)
def test_decoded_there(
    sources: dict[str, Path],
    packing: str,
    late: frozenset[int],
    tmp_path: Path,
    emulated_cuda_library: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, plan = _model(sources[packing]), _plan(sources[packing], tmp_path)
    importance = _importance(model)
    on_cpu = make_ladder(plan, tmp_path / "cpu", importance, "cpu")
    with emulated_gpu(emulated_cuda_library, monkeypatch, late) as device:
        assert make_ladder(plan, tmp_path / "cuda", importance, "cuda") == on_cpu
    assert device.enqueued
    matrices = [t for t in model.tensors if t.rows > 1]
    assert {t.converted_type for t in matrices} == {"BF16"}
    as_bfloat16 = sum(2 * t.rows * t.columns for t in matrices)
    sent = device.copied_to_device - sum(weights.nbytes for weights in importance.values())
    # Once, whatever the slices: scales and orders are a tenth of such short rows.
    assert sent < as_bfloat16 * (0.6 if packing in ("fp8", "int8") else 0.4)
    assert late or device.peak <= plan.device_bytes - device_memory.BASE_BYTES


@EMULATED
@pytest.mark.parametrize("packing", ["fp8", "gptq"])
def test_with_less_memory(
    sources: dict[str, Path],
    packing: str,
    tmp_path: Path,
    emulated_cuda_library: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tiles are sent again for every slice and type, and of a tile the rows that a slice wants are decoded."""
    plan = _plan(sources[packing], tmp_path, tensors=slice(1, 3))
    on_cpu = make_ladder(plan, tmp_path / "cpu", {}, "cpu")
    memory = (plan.device_bytes - device_memory.BASE_BYTES) // 3
    with emulated_gpu(emulated_cuda_library, monkeypatch, memory=memory) as device:
        assert make_ladder(plan, tmp_path / "cuda", {}, "cuda") == on_cpu
    assert device.released
    assert device.peak <= memory


@EMULATED
def test_plain_numbers_take_the_way_of_the_cpu(
    sources: dict[str, Path], tmp_path: Path, emulated_cuda_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = _plan(sources["fp8"], tmp_path, ("Q4_0", "BF16"))
    on_cpu = make_ladder(plan, tmp_path / "cpu", {}, "cpu")
    with emulated_gpu(emulated_cuda_library, monkeypatch) as device:
        assert make_ladder(plan, tmp_path / "cuda", {}, "cuda") == on_cpu
    assert not device.enqueued


@EMULATED
def test_without_triton_the_cpu_decodes(
    sources: dict[str, Path],
    tmp_path: Path,
    emulated_cuda_library: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(triton_check, "missing", lambda: "Triton is not installed")
    plan = _plan(sources["fp8"], tmp_path, LADDER)
    on_cpu = make_ladder(plan, tmp_path / "cpu", {}, "cpu")
    assert len(plan.spans) > 1, plan.spans
    with emulated_gpu(emulated_cuda_library, monkeypatch) as device, caplog.at_level(logging.WARNING):
        assert make_ladder(plan, tmp_path / "cuda", {}, "cuda") == on_cpu
    assert not device.enqueued
    assert [r.getMessage() for r in caplog.records] == [
        "packed weights are decoded by the CPU: Triton is not installed"
    ]


def test_a_tile_as_it_is_stored_is_in_the_plan(sources: dict[str, Path], tmp_path: Path) -> None:
    """Beside what the same weights take that are not packed."""
    model = _model(sources["fp8"])
    plain = [
        replace(t, sources=tuple(StoredRows("t", s.file, s.offset, "F32", s.rows, s.columns) for s in t.sources))
        for t in model.tensors
    ]
    plans = [
        plan_ladder(str(sources["fp8"]), tmp_path, LADDER, replace(model, tensors=tuple(tensors)))
        for tensors in (model.tensors, plain)
    ]
    assert plans[0].device_bytes - plans[1].device_bytes == memory.tile_rows(256, 1) * 2 * 256


def _nan_in_queries(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.layers.0.self_attn.q_proj.weight"].view(torch.uint8)[100, 7] = 0x7F


def _infinite_scale(tensors: dict[str, torch.Tensor]) -> None:
    """Of the second matrix of the stack."""
    tensors["model.layers.1.mlp.up_proj.weight_scale"][200] = torch.inf


def _infinite_group(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.layers.0.self_attn.k_proj.scales"][3, 20] = torch.inf


def _no_such_group(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.layers.0.self_attn.k_proj.g_idx"][9] = 8


@EMULATED
@pytest.mark.parametrize(
    ("packing", "damage", "words"),
    [
        ("fp8", _nan_in_queries, "found nan in row"),
        ("int8", _infinite_scale, "tensor model.layers.1.mlp.up_proj.weight, rows"),
        ("gptq", _infinite_group, "tensor model.layers.0.self_attn.k_proj.qweight, rows"),
        ("gptq", _no_such_group, "puts input 9 into group 8"),
    ],
)
def test_damage_is_told_in_the_same_words(
    sources: dict[str, Path],
    packing: str,
    damage: Callable[[dict[str, torch.Tensor]], None],
    words: str,
    tmp_path: Path,
    emulated_cuda_library: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = Path(shutil.copytree(sources[packing], tmp_path / "model"))
    tensors = load_file(source / "model.safetensors")
    damage(tensors)
    save_file(tensors, source / "model.safetensors")
    plan = _plan(source, tmp_path)
    with pytest.raises(DamagedSourceError, match=words) as on_cpu:
        make_ladder(plan, tmp_path / "cpu", {}, "cpu")
    with (
        emulated_gpu(emulated_cuda_library, monkeypatch),
        pytest.raises(DamagedSourceError) as on_gpu,
    ):
        make_ladder(plan, tmp_path / "cuda", {}, "cuda")
    assert on_gpu.value.message == on_cpu.value.message
    assert on_gpu.value.fix == on_cpu.value.fix


@pytest.mark.gpu
@pytest.mark.parametrize("packing", PACKINGS)
def test_on_a_gpu(sources: dict[str, Path], packing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = backends.missing("cuda", "Q8_0")
    if reason is not None:
        pytest.skip(reason)
    decoded: list[int] = []

    def decode(rows: EncodedRows, sent: list[torch.Tensor], to: torch.Tensor) -> None:
        decoded.append(rows.rows)
        on_gpu(rows, sent, to)

    on_gpu = device_decoding._decode
    monkeypatch.setattr(device_decoding, "_decode", decode)
    plan = _plan(sources[packing], tmp_path)
    on_cpu = make_ladder(plan, tmp_path / "cpu", {}, "cpu")
    assert make_ladder(plan, tmp_path / "cuda", {}, "cuda") == on_cpu
    assert decoded

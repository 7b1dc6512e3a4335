"""A span on a GPU, emulated: sent once, made every type, within the memory that the plan says, or with less."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ggufactory_kernels as gk
from corruptions import read_header
from emulated_ladders import Arrays, emulated_gpu, make_ladder, plan_ladder, use_small_slices
from ggufactory.architectures import describe
from ggufactory.checkpoint import open_source
from ggufactory.errors import DamagedSourceError
from ggufactory.plan import device_memory
from ggufactory.plan.tensor_errors import PieceErrors


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    use_small_slices(monkeypatch)


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
    return make_ladder(plan_ladder(tinylm, target), target, importance, "cpu", lost)


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
    plan = plan_ladder(tinylm, tmp_path)
    errors: list[PieceErrors] = []
    with emulated_gpu(emulated_cuda_library, monkeypatch, late) as device:
        assert make_ladder(plan, tmp_path, importance, "cuda", errors) == wanted
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
    plan = plan_ladder(tinylm, tmp_path)
    memory = int(share * (plan.device_bytes - device_memory.BASE_BYTES))
    with emulated_gpu(emulated_cuda_library, monkeypatch, memory=memory) as device:
        assert make_ladder(plan, tmp_path, importance, "cuda") == wanted
    assert device.released
    assert device.peak <= memory


def test_too_little_memory_is_an_error_that_may_pass(
    tinylm: str, tmp_path: Path, emulated_cuda_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        emulated_gpu(emulated_cuda_library, monkeypatch, memory=5000) as device,
        pytest.raises(MemoryError, match="bytes wanted"),
    ):
        make_ladder(plan_ladder(tinylm, tmp_path), tmp_path, {}, "cuda")
    assert device.released == 2, "from a whole slice to a fourth of it"
    assert device.held == 0


def test_a_source_that_is_quantized(
    tmp_path: Path, wanted: dict[str, bytes], emulated_cuda_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source-Q8_0.gguf"
    source.write_bytes(wanted["m-Q8_0.gguf"])
    plan = plan_ladder(str(source), tmp_path / "cpu", ("Q8_0", "Q4_K_M", "F16"))
    on_cpu = make_ladder(plan, tmp_path / "cpu", {}, "cpu")
    with emulated_gpu(emulated_cuda_library, monkeypatch) as device:
        assert make_ladder(plan, tmp_path / "cuda", {}, "cuda") == on_cpu
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
    plan = plan_ladder(tinylm, tmp_path, ("Q6_K", "Q4_0"), replace(model, tensors=(both,)))
    on_cpu = make_ladder(plan, tmp_path / "cpu", weights, "cpu")
    with emulated_gpu(emulated_cuda_library, monkeypatch) as device:
        assert make_ladder(plan, tmp_path / "cuda", weights, "cuda") == on_cpu
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
    plan = plan_ladder(str(source), tmp_path / "out", ("Q4_K_M",))
    with (
        emulated_gpu(emulated_cuda_library, monkeypatch, late),
        pytest.raises(DamagedSourceError) as refused,
    ):
        make_ladder(plan, tmp_path / "out", {}, "cuda")
    found = refused.value.message
    assert "tensor blk.1.ffn_up.weight, rows " in found
    first = int(found.split("rows ")[1].split(" ")[0])
    row = int(found.split("in row ")[1].split(",")[0])
    assert first + row == 500
    assert found.endswith("column 7")

"""square_errors() against the same sums of NumPy, from ggml's own dequantized floats."""

from __future__ import annotations

import re
from typing import Any

import emulated_cuda
import numpy as np
import numpy.typing as npt
import oracle
import pytest
import torch
from weight_families import make_importance, make_weights

import ggufactory_kernels as gk
from ggufactory_kernels import cuda
from ggufactory_kernels.cuda import driver
from ggufactory_kernels.cuda.row_errors import add_row_errors

SOURCES = ("F32", "F16", "BF16")


def in_numpy(rows: Any, source: str, packed: Any, kind: str, columns: int, importance: Any) -> npt.NDArray[np.float64]:
    def floats(data: Any, type_: str) -> npt.NDArray[np.float64]:
        decoded = data.view(np.float32) if type_ == "F32" else oracle.dequantize(data, type_, columns)
        return decoded.astype(np.float64)

    x, y = floats(rows, source), floats(packed, kind)
    w = np.ones(columns) if importance is None else importance.astype(np.float64)
    return np.stack([(w * (x - y) ** 2).sum(1), (w * x**2).sum(1)], axis=1)


def sample(kind: str, source: str, columns: int, rows: int = 7) -> tuple[Any, Any, Any]:
    """Rows, the rows made of them, and importance."""
    importance = make_importance("random", 3, columns)
    held = gk.quantize(make_weights("heavy_tail", 5, rows, columns), source)
    return held, gk.quantize(gk.dequantize(held, source, columns), kind, importance), importance


@pytest.mark.parametrize("source", SOURCES)
def test_every_type_and_instruction_set(kernel_type: str, isa: str, source: str) -> None:
    block = gk.TENSOR_TYPES[kernel_type].block
    columns = 3 * block if block > 1 else 269  # less than all lanes, and more than a piece of columns
    held, packed, importance = sample(kernel_type, source, columns)
    for given in (None, importance):
        found = gk.square_errors(held, source, packed, kernel_type, columns, given, isa=isa)
        np.testing.assert_allclose(found, in_numpy(held, source, packed, kernel_type, columns, given), rtol=1e-13)
        # Not only close: whoever measures it, a tensor's error is one number.
        plain = gk.square_errors(held, source, packed, kernel_type, columns, given, isa="scalar")
        assert np.array_equal(found, plain)


def test_a_quantized_source() -> None:
    held = gk.quantize(make_weights("normal", 5, 4, 512), "Q8_0")
    packed = gk.quantize(gk.dequantize(held, "Q8_0", 512), "Q4_K")
    found = gk.square_errors(held, "Q8_0", packed, "Q4_K", 512)
    np.testing.assert_allclose(found, in_numpy(held, "Q8_0", packed, "Q4_K", 512, None), rtol=1e-13)
    assert not gk.square_errors(held, "Q8_0", held, "Q8_0", 512)[:, 0].any()


def test_threads_and_row_splits_change_nothing() -> None:
    held, packed, importance = sample("Q4_K", "BF16", 2304, rows=90)
    whole = gk.square_errors(held, "BF16", packed, "Q4_K", 2304, importance)
    for threads in (2, 5):
        assert np.array_equal(whole, gk.square_errors(held, "BF16", packed, "Q4_K", 2304, importance, threads))
    part = gk.square_errors(held[17:40], "BF16", packed[17:40], "Q4_K", 2304, importance)
    assert np.array_equal(whole[17:40], part)
    assert gk.square_errors(held[:0], "BF16", packed[:0], "Q4_K", 2304).shape == (0, 2)


def test_differences_too_small_for_single_precision_count() -> None:
    """Their squares are less than any float, and more than nothing."""
    held = np.full((1, 32), 1e-30, np.float32)
    ((error, magnitude),) = gk.square_errors(held.view(np.uint8), "F32", np.zeros((1, 128), np.uint8), "F32", 32)
    assert error == magnitude == pytest.approx(32e-60)


def test_torch_in_torch_out() -> None:
    held, packed, _ = sample("Q6_K", "F16", 512)
    found = gk.square_errors(torch.from_numpy(held), "F16", torch.from_numpy(packed), "Q6_K", 512)
    assert isinstance(found, torch.Tensor)
    assert np.array_equal(found.numpy(), gk.square_errors(held, "F16", packed, "Q6_K", 512))


@pytest.mark.parametrize("machine", ["emulated", pytest.param("gpu", marks=pytest.mark.gpu)])
@pytest.mark.parametrize(("source", "kind"), [("BF16", "Q4_K"), ("F16", "IQ2_XS"), ("F32", "F16"), ("Q8_0", "Q6_K")])
def test_on_a_gpu(
    request: pytest.FixtureRequest, machine: str, source: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces of a few rows, the last one smaller; the same sums to the last bit."""
    held, packed, importance = sample(kind, source, 512, rows=11)
    wanted = [gk.square_errors(held, source, packed, kind, 512, given) for given in (None, importance)]
    if machine == "gpu":
        if (missing := cuda.missing()) is not None:
            pytest.skip(f"CUDA kernels cannot run here: {missing}")
        found = [gk.square_errors(held, source, packed, kind, 512, i, device="cuda") for i in (None, importance)]
        launcher: Any = driver.gpu(torch.cuda.current_device())
    else:
        launcher = emulated_cuda.EmulatedGpu(request.getfixturevalue("emulated_cuda_library"))
        found = []
    monkeypatch.setattr("ggufactory_kernels.cuda.row_errors._WEIGHTS_AT_ONCE", 9 * 512 + 100)
    device = "cuda" if machine == "gpu" else "cpu"
    rows, made = torch.from_numpy(held).to(device), torch.from_numpy(packed).to(device)
    types = gk.TENSOR_TYPES[source], gk.TENSOR_TYPES[kind]
    for given in (None, importance):
        sums = add_row_errors(rows, types[0], made, types[1], 512, given, launcher)
        found.append(sums.cpu().numpy())
    for sums, expected in zip(found, [*wanted, *wanted], strict=False):
        assert np.array_equal(sums, expected)


HELD, PACKED, IMPORTANCE = sample("Q4_K", "BF16", 512, rows=3)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"type": "Q4_X"}, ValueError, "unknown tensor type 'Q4_X'"),
        ({"source_type": "F32"}, ValueError, "packed F32 rows have the shape [rows, 2048], found [3, 1024]"),
        ({"packed": PACKED[:2]}, ValueError, "each row has its packed row: found 3 and 2"),
        ({"columns": 256}, ValueError, "packed BF16 rows have the shape [rows, 512], found [3, 1024]"),
        ({"columns": 0}, ValueError, "multiples of 1 weights, found 0"),
        ({"importance": IMPORTANCE[:5]}, ValueError, "one value for each of 512 columns, found [5]"),
        ({"importance": -IMPORTANCE}, ValueError, "finite and not negative"),
        ({"rows": HELD.view(np.int8)}, TypeError, "uint8, found int8"),
        ({"threads": 0}, ValueError, "at least 1, found 0"),
        ({"isa": "avx9"}, ValueError, "'avx9' is not available"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {"rows": HELD, "source_type": "BF16", "packed": PACKED, "type": "Q4_K", "columns": 512, **changes}
    with pytest.raises(error, match=re.escape(message)):
        gk.square_errors(**arguments)

"""quantize() and quantize_into(): what they accept, what they refuse, and in which words."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from weight_families import make_importance, make_weights

import ggufactory_kernels as gk
from ggufactory_kernels import backends
from ggufactory_kernels.cpu import KERNEL_TYPES

X = make_weights("normal", 0, 6, 512)
PACKED = gk.quantize(X, "Q4_K")
IMPORTANCE = make_importance("random", 1, 512)


def with_value(value: float, row: int, column: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    x = X.copy()
    x[row, column] = value
    return x


def test_numpy_in_numpy_out_torch_in_torch_out() -> None:
    assert isinstance(PACKED, np.ndarray)
    assert PACKED.dtype == np.uint8
    assert PACKED.shape == (6, 288)
    packed = gk.quantize(torch.from_numpy(X), "Q4_K")
    assert isinstance(packed, torch.Tensor)
    assert packed.dtype == torch.uint8
    assert np.array_equal(packed.numpy(), PACKED)


def test_rows_need_not_lie_together() -> None:
    assert np.array_equal(gk.quantize(np.repeat(X, 2, axis=0)[::2], "Q4_K"), PACKED)
    assert np.array_equal(gk.quantize(np.asfortranarray(X), "Q4_K"), PACKED)
    assert np.array_equal(gk.quantize(torch.from_numpy(X.T.copy()).T, "Q4_K").numpy(), PACKED)


def test_half_precision_and_bfloat16_are_read_exactly() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        x = torch.from_numpy(X).to(dtype)
        assert torch.equal(gk.quantize(x, "Q6_K"), gk.quantize(x.float(), "Q6_K"))
    half = X.astype(np.float16)
    assert np.array_equal(gk.quantize(half, "Q8_0"), gk.quantize(half.astype(np.float32), "Q8_0"))


def test_every_half_precision_number_is_read_exactly() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    x = every[np.isfinite(every)].reshape(1, -1)
    assert np.array_equal(gk.quantize(x, "F32").view(np.float32), x.astype(np.float32))
    assert np.array_equal(gk.quantize(x, "F16").view(np.uint16), x.view(np.uint16))


def test_numpy_bfloat16_is_accepted() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="NumPy has no bfloat16 of its own")
    x = X.astype(ml_dtypes.bfloat16)
    assert np.array_equal(gk.quantize(x, "Q4_K"), gk.quantize(x.astype(np.float32), "Q4_K"))


def test_no_rows_are_no_bytes() -> None:
    assert gk.quantize(np.empty((0, 512), np.float32), "Q4_K").shape == (0, 288)
    gk.quantize_into(b"", "BF16", "Q4_K", 512, bytearray())


def test_buffers_may_start_at_any_byte() -> None:
    raw = torch.from_numpy(X).to(torch.bfloat16).view(torch.uint8).numpy().tobytes()
    wanted = gk.quantize(torch.from_numpy(X).to(torch.bfloat16), "Q4_K").numpy().tobytes()
    for offset in (1, 2, 3, 7):
        source = memoryview(b"\xff" * offset + raw)[offset:]
        out = bytearray(offset + len(wanted) + 1)
        gk.quantize_into(source, "BF16", "Q4_K", 512, memoryview(out)[offset:-1], threads=2)
        assert bytes(out) == b"\0" * offset + wanted + b"\0"


def test_misaligned_importance_is_read() -> None:
    importance = make_importance("random", 1, 512)
    assert importance is not None
    shifted = np.frombuffer(b"\0" + importance.tobytes(), np.uint8)[1:].view(np.float32)
    assert np.array_equal(gk.quantize(X, "Q4_K", shifted), gk.quantize(X, "Q4_K", importance))
    assert np.array_equal(gk.quantize(X, "Q4_K", torch.from_numpy(importance)), gk.quantize(X, "Q4_K", importance))


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        (X, {"type": "Q4_X"}, ValueError, r"unknown tensor type 'Q4_X'; known: F32, "),
        (X, {"type": "I32"}, ValueError, r"cannot quantize to I32; it can to F32, .*Q6_K"),
        (X[:, :500], {"type": "Q4_K"}, ValueError, "Q4_K: rows are multiples of 256 weights, found 500"),
        (X[:, :0], {"type": "Q8_0"}, ValueError, "Q8_0: rows are multiples of 32 weights, found 0"),
        (X[0], {"type": "Q4_K"}, ValueError, r"shape \[rows, columns\], found \[512\]"),
        (X.tolist(), {"type": "Q4_K"}, TypeError, "NumPy array or a torch tensor, found list"),
        (X.astype(np.float64), {"type": "Q4_K"}, TypeError, "float32, float16 or bfloat16, found float64"),
        (X.astype(">f4"), {"type": "Q4_K"}, TypeError, "float32, float16 or bfloat16, found >f4"),
        (X, {"type": "Q4_K", "threads": 0}, ValueError, "threads must be at least 1, found 0"),
        (X, {"type": "Q4_K", "device": "tpu"}, ValueError, "'tpu' is unknown; known: cpu, cuda, auto"),
        (X, {"type": "Q4_K", "isa": "x86-64-v9"}, ValueError, "'x86-64-v9' is not available; here are .*scalar"),
        (X, {"type": "IQ2_XS"}, ValueError, "IQ2_XS needs an importance matrix"),
    ],
)
def test_wrong_arguments_are_refused(x: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gk.quantize(x, **options)


def test_a_device_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "missing", lambda backend, type: "no driver")
    with pytest.raises(ValueError, match="device 'cuda' cannot be used for Q4_K: no driver"):
        gk.quantize(X, "Q4_K", device="cuda")


@pytest.mark.parametrize("source_dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_first_weight_that_is_not_finite_is_named(kernel_type: str, source_dtype: torch.dtype) -> None:
    x = torch.from_numpy(np.tile(X, (100, 1))).to(source_dtype)
    for value, threads in itertools.product((float("nan"), float("inf"), float("-inf")), (1, 3)):
        x[123, 45], x[123, 46], x[555, 0] = value, float("nan"), float("nan")
        with pytest.raises(ValueError, match=rf"found {value} in row 123, column 45$"):
            gk.quantize(x, kernel_type, IMPORTANCE, threads=threads)


@pytest.mark.parametrize(("first", "second"), [(60, 255), (127, 128)])
def test_the_first_of_two_faults_is_named_whichever_thread_is_faster(first: int, second: int) -> None:
    x = np.tile(X, (50, 1))  # a thread takes 128 of these rows at a time
    x[[first, second], 500] = np.nan
    with pytest.raises(ValueError, match=f"in row {first}, column 500$"):
        gk.quantize(x, "Q4_K", threads=2)


@pytest.mark.parametrize("position", [(0, 0), (5, 511)])
def test_weights_at_both_ends_are_checked(kernel_type: str, isa: str, position: tuple[int, int]) -> None:
    row, column = position
    with pytest.raises(ValueError, match=f"in row {row}, column {column}$"):
        gk.quantize(with_value(float("nan"), row, column), kernel_type, IMPORTANCE, isa=isa)


def test_a_scale_that_overflows_is_named(isa: str) -> None:
    x = with_value(-1e9, 4, 300)
    for type_, columns in (("Q4_K", "256 to 511"), ("Q6_K", "256 to 511"), ("Q8_0", "288 to 319")):
        with pytest.raises(ValueError, match=f"row 4, columns {columns}: .*{type_} .*largest weight is 1e\\+09"):
            gk.quantize(x, type_, isa=isa)
    with pytest.raises(ValueError, match=r"weight 65520 in row 4, column 300 is too large for F16"):
        gk.quantize(with_value(65520.0, 4, 300), "F16", isa=isa)
    with pytest.raises(ValueError, match=r"row 4, column 300 is too large for BF16"):
        gk.quantize(with_value(float(np.finfo(np.float32).max), 4, 300), "BF16", isa=isa)
    assert gk.quantize(with_value(65519.0, 4, 300), "F16", isa=isa).view(np.float16)[4, 300] == 65504


# Not IQ1: where errors overflow, its split finds nothing and it stores zeros.
@pytest.mark.parametrize("type_", [name for name in KERNEL_TYPES if name.startswith(("IQ2", "IQ3"))])
def test_a_search_that_leaves_its_grid_is_named(type_: str, isa: str) -> None:
    x = X.copy()
    x[4, 256:] *= np.float32(1e19)
    with pytest.raises(ValueError, match=f"row 4, columns 256 to 511: the search for {type_} left its grid, .*e\\+17$"):
        gk.quantize(x, type_, IMPORTANCE, isa=isa)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.5])
def test_wrong_importance_is_refused(value: float) -> None:
    importance = np.ones(512, np.float32)
    importance[[77, 78]] = value
    with pytest.raises(ValueError, match=f"found {value} in column 77$"):
        gk.quantize(X, "Q4_K", importance)
    with pytest.raises(ValueError, match=r"one value for each of 512 columns, found \[256\]"):
        gk.quantize(X, "Q4_K", np.ones(256, np.float32))
    with pytest.raises(TypeError, match="importance is a float32"):
        gk.quantize(X, "Q4_K", np.ones(512))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((X, "F64", "Q4_K", 512, bytearray(1728)), ValueError, "'F64': weights are read from F32, F16, BF16"),
        ((X, "F32", "Q4_K", 512, bytearray(1727)), ValueError, "take 1728 bytes, found 1727"),
        ((X, "F32", "Q4_K", 1024, bytearray(1729)), ValueError, "6 rows|take 1728 bytes, found 1729"),
        ((X.tobytes()[1:], "F32", "Q4_K", 512, bytearray(1728)), ValueError, "no whole number of rows of 512 F32"),
        ((X, "F32", "Q4_K", 512, bytes(1728)), ValueError, "out is read-only"),
        ((X[:, ::2], "F32", "Q4_K", 256, bytearray(864)), ValueError, "source is not C-contiguous"),
        ((1, "F32", "Q4_K", 512, bytearray(1728)), TypeError, "source is an object with a buffer, found int"),
        ((X, "F32", "Q4_K", 0, bytearray(0)), ValueError, "rows are multiples of"),
    ],
)
def test_wrong_buffers_are_refused(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gk.quantize_into(*arguments)


def test_quantizable_tells_what_this_build_can() -> None:
    assert gk.quantizable("Q4_K")
    assert not gk.quantizable("I32")
    with pytest.raises(ValueError, match="unknown tensor type"):
        gk.quantizable("Q4_X")


def test_numpy_callers_do_not_import_torch() -> None:
    program = (
        "import sys, numpy as np, ggufactory_kernels as gk; gk.quantize(np.ones((1, 32), np.float32), 'Q8_0'); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_explain_names_the_instruction_set_of_each_type() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ggufactory_kernels", "explain"], capture_output=True, text=True, check=True
    )
    lines = {words[0]: words[1:] for words in map(str.split, done.stdout.splitlines())}
    assert set(gk.TENSOR_TYPES) < set(lines)
    assert lines["Q4_K"][0].startswith("cpu/")
    assert lines["I32"][0] == "none:"


def test_a_reader_of_explain_that_has_enough() -> None:
    command = [sys.executable, "-m", "ggufactory_kernels", "explain"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == ""
    assert running.returncode == 0

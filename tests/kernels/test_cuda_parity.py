"""The CUDA kernels give the CPU's bytes, which are ggml's: emulated everywhere, and on a GPU where there is one."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import emulated_cuda
import numpy as np
import numpy.typing as npt
import oracle
import pytest
import torch
from cuda_machines import Machine
from weight_families import BEYOND_ROUNDING_RANGE, WEIGHTS, make_importance, make_weights, oracle_differs

import ggufactory_kernels as gk
from ggufactory_kernels import cuda
from ggufactory_kernels.cuda import driver
from ggufactory_kernels.cuda.kernels import KERNELS
from ggufactory_kernels.mismatch import first_mismatch
from ggufactory_kernels.types import WEIGHED_BY_ROW

SOURCES = (torch.float32, torch.float16, torch.bfloat16)


@pytest.fixture(params=["emulated", pytest.param("gpu", marks=pytest.mark.gpu)])
def machine(request: pytest.FixtureRequest) -> Machine:
    if request.param == "emulated":
        return Machine("cpu", emulated_cuda.EmulatedGpu(request.getfixturevalue("emulated_cuda_library")))
    missing = cuda.missing()
    if missing is not None:
        pytest.skip(f"CUDA kernels cannot run here: {missing}")
    return Machine("cuda", driver.gpu(torch.cuda.current_device()))


def modes_of(type_: str) -> tuple[str, ...]:
    """No importance, and some, where the type knows either."""
    if gk.TENSOR_TYPES[type_].needs_importance:
        return ("random",)
    return ("none", "random") if gk.TENSOR_TYPES[type_].uses_importance else ("none",)


def on_cpu(x: Any, type_: str, importance: Any) -> tuple[npt.NDArray[np.uint8] | None, str | None]:
    """The CPU's bytes, or what it says instead."""
    try:
        return gk.quantize(x, type_, importance), None
    except ValueError as error:
        return None, str(error)


def test_there_are_kernels_for_all_types_of_the_cpu(kernel_type: str) -> None:
    assert kernel_type in cuda.KERNEL_TYPES


def test_golden_blocks(machine: Machine, golden_blocks: Any, kernel_type: str) -> None:
    for number, key in enumerate(key for key in golden_blocks.files if key.startswith(f"q/{kernel_type}/")):
        _, _, family, mode = key.split("/")
        x = golden_blocks[f"x/{family}"]
        importance = None if mode == "none" else golden_blocks[f"w/{mode}"]
        if machine.emulated:
            machine.emulated.backwards = number % 2 == 1
        packed = machine.quantize(x, kernel_type, importance)
        mismatch = first_mismatch(golden_blocks[key], packed, kernel_type, x.shape[1])
        assert mismatch is None, f"{family}, importance {mode}: {mismatch}"


def test_rounding_beyond_its_range(machine: Machine) -> None:
    recorded = np.load(Path(__file__).parent / "affine_beyond_rounding_range.npz")
    for type_ in BEYOND_ROUNDING_RANGE:
        for x, importance, wanted in zip(*(recorded[f"{part}/{type_}"] for part in "xwq"), strict=True):
            packed = machine.quantize(x.reshape(1, -1), type_, importance)
            assert first_mismatch(wanted, packed, type_, x.size) is None, type_


def test_every_family_of_weights(machine: Machine, kernel_type: str) -> None:
    """Against the CPU; on a GPU the weights are new each time, and ggml itself is asked too."""
    seed = 11 if machine.emulated else int(np.random.default_rng().integers(2**31))
    columns = 3 * max(gk.TENSOR_TYPES[kernel_type].block, 32)
    for family, mode in itertools.product(WEIGHTS, modes_of(kernel_type)):
        x, importance = make_weights(family, seed, 5, columns), make_importance(mode, seed, columns)
        wanted, refusal = on_cpu(x, kernel_type, importance)
        if not machine.emulated and not oracle_differs(kernel_type, family, mode):
            wanted = oracle.quantize_unless_aborted(x, kernel_type, importance)
        if refusal is not None:
            with pytest.raises(ValueError, match=re.escape(refusal)):
                machine.quantize(x, kernel_type, importance)
            continue
        assert wanted is not None
        mismatch = first_mismatch(wanted, machine.quantize(x, kernel_type, importance), kernel_type, columns)
        assert mismatch is None, f"seed {seed}, {family}, importance {mode}: {mismatch}"


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_any_distance_of_rows_and_number_of_blocks(machine: Machine, kernel_type: str, source: torch.dtype) -> None:
    """Thread blocks that are full, and one that is not; rows that lie apart, together, or on top of each other."""
    block = gk.TENSOR_TYPES[kernel_type].block
    columns, rows = (3 * block, 67 if block > 32 else 45) if block > 1 else (1032, 3)
    whole = torch.from_numpy(make_weights("normal", 3, rows, columns + 24)).to(source)
    importance = make_importance(modes_of(kernel_type)[-1], 4, columns)
    for x in (whole[:, :columns], whole[::2, 16 : 16 + columns], whole[:1, :columns].expand(rows, columns)):
        check_rows(machine, x, whole, kernel_type, importance)


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_rows_that_begin_anywhere(machine: Machine, kernel_type: str, source: torch.dtype) -> None:
    """Where units of memory are never, or not in all rows, aligned: the first row, the distance, the importance."""
    block = gk.TENSOR_TYPES[kernel_type].block
    columns, rows = (block * (1 if block > 32 else 3), 67 if block > 32 else 25) if block > 1 else (1030, 3)
    importance = make_importance(modes_of(kernel_type)[-1], 4, columns + 1)
    importance = None if importance is None else importance[1:]
    for apart in (columns + 32, columns + 37):
        whole = torch.from_numpy(make_weights("normal", 3, rows, apart)).to(source)
        for first in (0, 1, 4):
            check_rows(machine, whole[:, first : first + columns], whole, kernel_type, importance)


def check_rows(machine: Machine, x: torch.Tensor, whole: torch.Tensor, kernel_type: str, importance: Any) -> None:
    wanted = gk.quantize(x.contiguous(), kernel_type, importance).numpy()
    packed = machine.quantize(machine.like(x, whole), kernel_type, importance)
    mismatch = first_mismatch(wanted, packed, kernel_type, x.shape[1])
    assert mismatch is None, f"{x.storage_offset()}, {tuple(x.stride())}: {mismatch}"


def test_columns_that_do_not_lie_side_by_side_are_copied(machine: Machine) -> None:
    x = torch.from_numpy(make_weights("normal", 3, 64, 5))
    wanted = gk.quantize(x.T.contiguous(), "Q8_0").numpy()
    assert first_mismatch(wanted, machine.quantize(machine.tensor(x).T, "Q8_0"), "Q8_0", 64) is None
    assert machine.quantize(x[:0].T[:, :0].reshape(0, 64), "Q8_0").shape == (0, 68)


def test_dequantizing_any_bytes(machine: Machine, kernel_type: str) -> None:
    type_ = gk.TENSOR_TYPES[kernel_type]
    columns = 3 * type_.block if type_.block > 1 else 130
    row_bytes = type_.row_bytes(columns)
    whole = torch.from_numpy(np.random.default_rng(5).integers(0, 256, (67, row_bytes + 8), np.uint8))
    for packed in (whole[:, :row_bytes], whole[::3, 8:]):
        wanted = gk.dequantize(packed.contiguous(), kernel_type, columns).numpy()
        found = machine.dequantize(machine.like(packed, whole), kernel_type, columns)
        # A number that is none has no bits of its own.
        same = (wanted.view(np.uint32) == found.view(np.uint32)) | (np.isnan(wanted) & np.isnan(found))
        assert same.all()


@pytest.mark.parametrize("place", [(0, 0), (66, 700)])
def test_weights_that_are_not_finite_are_named(machine: Machine, kernel_type: str, place: tuple[int, int]) -> None:
    x = make_weights("normal", 6, 67, 768)
    x[place] = np.inf
    importance = make_importance(modes_of(kernel_type)[-1], 4, 768)
    with pytest.raises(ValueError, match=f"found inf in row {place[0]}, column {place[1]}$"):
        machine.quantize(x, kernel_type, importance)


def test_the_first_of_many_faults_is_named(machine: Machine) -> None:
    x = make_weights("normal", 6, 300, 768)
    x[70:, 300] = np.nan
    with pytest.raises(ValueError, match=r"in row 70, column 300$"):
        machine.quantize(x, "Q6_K")


def test_scales_that_overflow_and_searches_that_leave_their_grid_are_named(machine: Machine) -> None:
    x = make_weights("normal", 6, 6, 768)
    x[4, 300] = -1e9
    for type_, columns in (("Q4_K", "256 to 511"), ("Q8_0", "288 to 319")):
        with pytest.raises(ValueError, match=f"row 4, columns {columns}: .*{type_} .*largest weight is 1e\\+09"):
            machine.quantize(x, type_)
    with pytest.raises(ValueError, match=r"row 4, column 300 is too large for F16"):
        machine.quantize(x, "F16")
    x[4, 256:512] = make_weights("normal", 7, 1, 256)[0] * np.float32(1e19)
    with pytest.raises(ValueError, match=r"row 4, columns 256 to 511: the search for IQ2_XS left its grid"):
        machine.quantize(x, "IQ2_XS", np.ones(768, np.float32))


def test_kernels_are_chosen_by_type_and_importance(machine: Machine) -> None:
    if machine.emulated is None:
        pytest.skip("a GPU keeps no list of its launches")
    x, importance = make_weights("normal", 6, 2, 256), np.ones(256, np.float32)
    for type_ in cuda.KERNEL_TYPES:
        machine.quantize(x, type_, importance)
        if not gk.TENSOR_TYPES[type_].needs_importance:
            machine.quantize(x, type_)
        machine.dequantize(gk.quantize(x, type_, importance), type_, 256)
    assert set(machine.emulated.launched) == set(KERNELS) - {"row_errors"}
    assert machine.emulated.launched.count("mean_squares") == len(WEIGHED_BY_ROW)

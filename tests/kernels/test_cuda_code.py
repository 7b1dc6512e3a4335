"""The code that NVRTC makes for GPUs, run instruction by instruction, gives the CPU's bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import ptx_operations as ptx
import pytest
import torch
from ptx_machine import PtxMachine, Warp
from ptx_program import parse
from weight_families import make_importance, make_weights

import ggufactory_kernels as gk
from ggufactory_kernels.cuda import compiler
from ggufactory_kernels.cuda.tensors import dequantize_tensor, quantize_tensor
from ggufactory_kernels.mismatch import first_mismatch

needs_nvrtc = pytest.mark.skipif(compiler.missing() is not None, reason=f"no NVRTC: {compiler.missing()}")

QUICKLY_RUN = ("BF16", "Q8_0", "Q5_1", "Q4_K", "IQ1_M", "IQ3_S")
"""One of each form of kernel, with searches in both kinds of grid."""
FAMILIES = (
    "normal",
    "integers",
    "cauchy",
    "block_mix",
    "element_mix",
    "zeros",
    "signs",
    "least_denormals",
    "scale_denormal",
)


def check(type_: str, *, weighted: bool) -> None:
    """Rows of all kinds, among them some whose quotients are no numbers, in a thread block that is not full."""
    target = gk.TENSOR_TYPES[type_]
    columns = max(target.block, 32)
    x = np.concatenate([make_weights(family, 3, 7, columns) for family in FAMILIES])
    importance = make_importance("some_zero", 4, columns) if weighted else None
    packed = quantize_tensor(torch.from_numpy(x), target, importance, PtxMachine()).numpy()
    mismatch = first_mismatch(gk.quantize(x, type_, importance), packed, type_, columns)
    assert mismatch is None, str(mismatch)
    found = dequantize_tensor(torch.from_numpy(packed), target, columns, PtxMachine()).numpy()
    assert np.array_equal(found, gk.dequantize(packed, type_, columns))


@needs_nvrtc
@pytest.mark.parametrize("type_", QUICKLY_RUN)
def test_forms_of_code_give_the_bytes(type_: str) -> None:
    check(type_, weighted=gk.TENSOR_TYPES[type_].uses_importance)


@needs_nvrtc
@pytest.mark.cuda_compile
def test_all_code_gives_the_bytes(kernel_type: str) -> None:
    type_ = gk.TENSOR_TYPES[kernel_type]
    for weighted in (False, True):
        if (type_.uses_importance or not weighted) and (weighted or not type_.needs_importance):
            check(kernel_type, weighted=weighted)


@needs_nvrtc
def test_what_is_wrong_with_weights_is_found_by_the_code() -> None:
    x = make_weights("normal", 6, 3, 256)
    x[1, 7] = np.nan
    x[2, 9] = np.inf
    with pytest.raises(ValueError, match=r"found nan in row 1, column 7$"):
        quantize_tensor(torch.from_numpy(x), gk.TENSOR_TYPES["IQ1_M"], None, PtxMachine())


def lanes(*numbers: float, type_: Any = np.uint32) -> ptx.Lanes:
    return np.array(numbers, type_)


def test_instructions_do_what_the_manual_says() -> None:
    nan = np.float32("nan")
    assert ptx.truncated(lanes(-1.9, 3e9, -3e9, nan, type_=np.float32)).tolist() == [-1, 2**31 - 1, -(2**31), 0]
    offset = lanes(3 << 21, 3 << 21, 3 << 21, type_=np.float32)
    summands = lanes(-1e-30, 0.75, -0.5, type_=np.float32)
    assert (ptx.sum_rounded_down(summands, offset) - offset).tolist() == [-0.5, 0.5, -0.5]
    assert ptx.shifted_left(lanes(1, 1), lanes(31, 32)).tolist() == [2**31, 0]
    assert ptx.shifted_right(lanes(-8, -8, type_=np.int32), lanes(1, 40)).tolist() == [-4, -1]
    assert ptx.quotient(lanes(-7, 7, type_=np.int64), lanes(2, 0, type_=np.int64)).tolist() == [-3, 7]
    assert ptx.permuted(lanes(0x33221100), lanes(0x77665544), 0x7604).tolist() == [0x77660044]
    assert ptx.inserted(lanes(0xFF), lanes(0), 8, 4).tolist() == [0xF00]
    assert ptx.reversed_bits(lanes(1, 6)).tolist() == [2**31, 3 << 29]
    assert ptx.leading_zeros(lanes(1, 2**31, 0)).tolist() == [31, 0, 2**32 - 1]
    assert ptx.bits_set(lanes(0, 0xF00F)).tolist() == [0, 8]
    assert ptx.comparison("ltu", True)(lanes(nan, 2, type_=np.float32), np.float32(1)).tolist() == [True, False]
    assert ptx.product(lanes(2**31), lanes(4), ["wide"]).tolist() == [2**33]
    with np.errstate(all="ignore"):
        for made in (ptx.quotient(lanes(0, type_=np.float32), lanes(0, type_=np.float32)), ptx.BINARY["add"](nan, nan)):
            assert made.view(np.uint32) == 0x7FFFFFFF
    with pytest.raises(KeyError, match=r"setp\.xyz"):
        ptx.comparison("xyz", False)


def test_registers_are_put_together_and_taken_apart() -> None:
    program = parse(
        ".visible .entry k(\n)\n.maxntid 64, 1, 1\n{\n"
        "\tmov.u16 \t%rs1, 7;\n\tmov.u16 \t%rs2, 9;\n\tmov.b32 \t%r1, {%rs1, %rs2};\n"
        "\tmov.b32 \t{%rs3, %rs4}, %r1;\n\tcvt.rn.f32.u16 \t%f1, %rs4;\n\tcvt.rn.f16.f32 \t%rs5, %f1;\n\tret;\n}\n"
    )
    warp = Warp(program, {}, 0, 0)
    list(warp.run())
    found = {name: int(warp._register(name)[5]) for name in ("%r1", "%rs3", "%rs4", "%rs5")}
    assert found == {"%r1": 9 << 16 | 7, "%rs3": 7, "%rs4": 9, "%rs5": int(np.float16(9).view(np.uint16))}
    assert {name for name in warp.executed() if "pack" in name} == {"pack.b32", "unpack.b32"}


def test_pieces_end_where_lanes_part_or_meet() -> None:
    program = parse(
        ".global .align 4 .u32 table[2] = {1, 0x10};\n.visible .entry k(\n)\n.maxntid 64, 1, 1\n{\n"
        "\t.reg .pred %p<2>;\n\tmov.u32 \t%r1, %tid.x;\n\t@!%p1 bra \t$L__2;\n\tbar.sync \t0;\n$L__2:\n\tret;\n}\n"
    )
    assert [piece.last for piece in program.pieces] == ["bra", "bar", "ret", ""]
    assert program.labels == {"$L__2": 2}
    assert program.pieces[0].instructions[1].guard == "!%p1"
    assert program.declared[0].values == (1, 16)

"""Quantizing and dequantizing torch tensors where they lie: shapes, strides, tables, and what went wrong."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ggufactory_kernels import _cpu, faults
from ggufactory_kernels.cuda.kernels import KERNELS, NUMBERS_OF_THREAD, PIECE, THREADS, dequantizer, quantizer
from ggufactory_kernels.cuda.launch import Launch, Launcher
from ggufactory_kernels.types import WEIGHED_BY_ROW, TensorType

if TYPE_CHECKING:
    import torch

_FORMATS = {"torch.float32": 0, "torch.float16": 1, "torch.bfloat16": 2}
"""SourceFormat of csrc/backend.h."""
_NO_FAULT = -1


def quantize_tensor(
    x: torch.Tensor, target: TensorType, importance: npt.NDArray[np.float32] | None, launcher: Launcher
) -> torch.Tensor:
    """`x` [rows, columns] of float32, float16 or bfloat16 as `target`: uint8 [rows, bytes per row], beside it.

    Rows may lie any distance apart. `importance` has been checked. Waits for the result, and raises the
    ValueError that the CPU does for the first weight or block that is at fault.
    """
    import torch

    x, columns = _with_dense_rows(x.detach()), x.shape[1]
    out = torch.empty((x.shape[0], target.row_bytes(columns)), dtype=torch.uint8, device=x.device)
    if not x.numel():
        return out
    weights = None if importance is None else torch.from_numpy(importance).to(x.device)
    fault = no_fault(x.device)
    enqueue_quantize(x, target, weights, launcher, out, fault)
    raise_fault(int(fault.item()), x, target, weighted=weights is not None)
    return out


def enqueue_quantize(
    x: torch.Tensor,
    target: TensorType,
    importance: torch.Tensor | None,
    launcher: Launcher,
    out: torch.Tensor,
    fault: torch.Tensor,
) -> None:
    """As quantize_tensor, into `out` [rows, bytes per row], and nothing is waited for.

    `x` has rows, and its columns lie side by side; `importance` is beside it, float32 [columns], and stays there
    until the work is done; `fault` is as `no_fault` makes it, and is read by `raise_fault` then.
    """
    import torch

    weighted = importance is not None and target.uses_importance
    arguments = source_of(x, x.shape[1] // target.block)
    arguments.out, arguments.fault = out.data_ptr(), fault.data_ptr()
    if importance is not None and weighted:
        assert importance.dtype == torch.float32
        arguments.importance = importance.data_ptr()
        if target.name in WEIGHED_BY_ROW:
            means = _mean_squares(x, launcher)
            arguments.mean_squares = means.data_ptr()
    if target.name in _WITH_CODEBOOK:
        tables = _codebook(target.number, x.device)
        arguments.entries, arguments.lists, arguments.groups = (table.data_ptr() for table in tables)
    blocks = _thread_blocks(arguments.blocks) if target.is_quantized else _thread_blocks_of_rows(x)
    launcher.launch(quantizer(target, weighted=weighted), blocks, arguments)


def no_fault(device: torch.device) -> torch.Tensor:
    """Where a kernel says what is wrong, before it has run: int64 [1]."""
    import torch

    return torch.full((1,), _NO_FAULT, dtype=torch.int64, device=device)


def raise_fault(found: int, x: torch.Tensor, target: TensorType, *, weighted: bool) -> None:
    """The ValueError for what a kernel has said of `x`; `weighted`: with importance given."""
    if found == _NO_FAULT:
        return
    kind, block = faults.Kind(found & 3), found >> 2
    weights_of = faults.Weights(x.shape[1], lambda first, count: _floats(x, first, count))
    weighted = weighted and target.uses_importance
    raise ValueError(faults.message(kind, block, 1, target, weights_of, weighted=weighted))


def numbers(raw: torch.Tensor, kind: str) -> torch.Tensor:
    """Bytes [rows, bytes per row] as plain numbers of the tensor type `kind`, [rows, columns]. Not copied."""
    import torch

    return raw.view({"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[kind])


def dequantize_tensor(packed: torch.Tensor, source: TensorType, columns: int, launcher: Launcher) -> torch.Tensor:
    """The weights of `packed` [rows, bytes per row], whose rows may lie any distance apart: float32, beside it."""
    import torch

    packed = _with_dense_rows(packed)
    out = torch.empty((packed.shape[0], columns), dtype=torch.float32, device=packed.device)
    if not out.numel():
        return out
    if source.is_quantized:
        arguments = source_of(packed, columns // source.block)
        thread_blocks = _thread_blocks(arguments.blocks)
    else:  # numbers are read as such, and so are aligned
        x = numbers(packed.contiguous(), source.name)
        arguments, thread_blocks = source_of(x, columns), _thread_blocks_of_rows(x)
    arguments.out = out.data_ptr()
    launcher.launch(dequantizer(source), thread_blocks, arguments)
    return out


_WITH_CODEBOOK = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"})


@cache
def _codebook(type_number: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The tables of a type on a device: made and sent once in a process."""
    import torch

    entries, lists, groups = (
        torch.frombuffer(bytearray(table), dtype=torch.uint8).to(device, copy=True)
        for table in _cpu.codebook(type_number)
    )
    return entries, lists, groups


def source_of(rows: torch.Tensor, blocks_per_row: int) -> Launch:
    """The part of a launch that says where `rows` lie: plain numbers, or packed blocks as bytes."""
    return Launch(
        source=rows.data_ptr(),
        row_stride=rows.stride(0) * rows.element_size(),
        blocks_per_row=blocks_per_row,
        blocks=rows.shape[0] * blocks_per_row,
        format=_FORMATS.get(str(rows.dtype), 0),
    )


def _mean_squares(x: torch.Tensor, launcher: Launcher) -> torch.Tensor:
    import torch

    means = torch.empty(x.shape[0], dtype=torch.float32, device=x.device)
    arguments = source_of(x, x.shape[1] // PIECE)
    arguments.out = means.data_ptr()
    launcher.launch(KERNELS["mean_squares"], _thread_blocks(x.shape[0]), arguments)
    return means


def _thread_blocks(threads: int) -> int:
    return -(-threads // THREADS)


def _thread_blocks_of_rows(x: torch.Tensor) -> int:
    """Of conversions, whose thread blocks do not reach over rows."""
    return int(x.shape[0]) * -(-x.shape[1] // (THREADS * NUMBERS_OF_THREAD))


def _with_dense_rows(x: torch.Tensor) -> torch.Tensor:
    return x if x.shape[1] == 1 or x.stride(1) == 1 else x.contiguous()


def _floats(x: torch.Tensor, first: int, count: int) -> npt.NDArray[np.float32]:
    """Weights first ... first + count of the rows one after another, for a message."""
    row, column = divmod(first, x.shape[1])
    rows = x[row : row + -(-(column + count) // x.shape[1])].float().cpu().numpy().reshape(-1)
    floats: npt.NDArray[np.float32] = rows[column : column + count]
    return floats

"""Rows sent to a GPU as their source stores them, and decoded there by Triton: fewer bytes over the link, and no core
that decodes. The numbers are those that the CPU decodes, to the last bit.
"""

from __future__ import annotations

import logging
from functools import cache, partial
from typing import TYPE_CHECKING, assert_never

import numpy as np

from ggufactory.checkpoint.packing.encoded_rows import ColumnInts, EncodedRows, EncodedSource, ScaledBytes
from ggufactory.cluster.descriptor import SpanWork
from ggufactory.plan.device_memory import is_made_on_device
from ggufactory_kernels import triton_check
from ggufactory_kernels.cuda.courier import Courier, bytes_together

if TYPE_CHECKING:
    import torch

_DECODED_TYPES = ("F32", "BF16")
"""Into which Triton's kernels decode."""


def decoded_on_device(work: SpanWork) -> frozenset[int]:
    """The pieces whose rows a GPU decodes: their sources can be handed over as they are stored, nothing is done to
    their numbers, and every rung makes them a type that a GPU makes. Plain numbers are made by the CPU, from numbers.

    None where Triton cannot decode here. MemoryError where the GPU is full.
    """
    found = frozenset(number for number in range(len(work.pieces)) if _may_be_sent_encoded(work, number))
    return found if found and _triton_decodes() else frozenset()


def _may_be_sent_encoded(work: SpanWork, number: int) -> bool:
    piece = work.pieces[number]
    kinds = [part.types[number] for part in work.parts]
    kinds += [kind for measured, kind, _ in work.only_measured if measured == number]
    return (
        piece.values is None
        and piece.value_map is None
        and piece.converted_type in _DECODED_TYPES
        and all(isinstance(source, EncodedSource) and source.columns == piece.columns for source in piece.sources)
        and all(is_made_on_device(kind, piece.converted_type) for kind in kinds)
    )


@cache
def _triton_decodes() -> bool:
    """What is missing is logged once in a process."""
    reason = triton_check.missing()
    if reason is not None:
        logging.getLogger(__name__).warning("packed weights are decoded by the CPU: %s", reason)
    return reason is None


def send_encoded(rows: EncodedRows, to: torch.Tensor, courier: Courier) -> None:
    """Into `to`, float32 or bfloat16 [rows, columns] on the GPU, for what the courier's queue does next."""
    arrays = rows.arrays
    raw = [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in arrays]
    there = courier.send_together(raw, courier.device.empty(bytes_together(raw)))
    courier.device.enqueue(partial(_decode, rows, there, to))


def _decode(rows: EncodedRows, sent: list[torch.Tensor], to: torch.Tensor) -> None:
    """`sent`: the bytes of `rows.arrays`."""
    import torch

    from ggufactory_kernels import triton_ops

    tensors = [
        raw.view(getattr(torch, array.dtype.name)).view(array.shape)
        for raw, array in zip(sent, rows.arrays, strict=True)
    ]
    order = None if rows.order is None else tensors.pop()
    stored = rows.stored
    match stored:
        case ScaledBytes():
            weights, scales, scale_rows = tensors
            kind = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I8": torch.int8}[stored.dtype]
            triton_ops.decode_scaled_bytes(
                weights.view(kind), scales, scale_rows, stored.block_columns, to.dtype, order, to
            )
        case ColumnInts():
            weights, zeros, scales, groups = tensors
            triton_ops.decode_column_ints(
                weights,
                zeros,
                scales,
                groups,
                stored.bits,
                along_inputs=stored.along_inputs,
                zero_offset=stored.zero_offset,
                dtype=to.dtype,
                order=order,
                out=to,
            )
        case _:
            assert_never(stored)

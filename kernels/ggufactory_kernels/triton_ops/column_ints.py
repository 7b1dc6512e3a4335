"""GPTQ's and AWQ's integers of a few bits: rows of the result are columns of what is stored.

(integer - zero point) * scale in single precision, as `dequant_gptq` of llama.cpp's conversion/base.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ggufactory_kernels.triton_ops.decoded_rows import rows_for, source_row, store, stored

_TILE = 32
_WORD_BITS = 32
_AWQ_BITS = 4


def decode_column_ints(
    weights: torch.Tensor,
    zeros: torch.Tensor,
    scales: torch.Tensor,
    groups: torch.Tensor,
    bits: int,
    *,
    along_inputs: bool,
    zero_offset: int,
    dtype: torch.dtype = torch.float32,
    order: torch.Tensor | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """[outputs, inputs] of `dtype` (float32 or bfloat16) of integers of `bits` (2, 4 or 8), packed in int32 words.

    `along_inputs` (GPTQ): `weights` [inputs / n, outputs], n = 32 / bits, the first input in the lowest bits; else
    (AWQ, 4 bits) [inputs, outputs / 8], of which outputs 0, 2, 4, 6, 1, 3, 5, 7 lie from the lowest bits up. `zeros`
    [groups, outputs / n] are packed along the outputs, AWQ's in the order of its weights; `zero_offset` is added to
    each. `scales` [groups, outputs]; `groups` int64 [inputs]: the group of each input.
    With `order` (int64 [n]) the result has n rows, of which k is output order[k]. It lies in `out`, where that is
    given. TypeError and ValueError for what does not fit; that `groups` and `order` name no row that is not there is
    the caller's to know.
    """
    if bits not in (2, 4, 8) or (not along_inputs and bits != _AWQ_BITS):
        raise ValueError(f"bits: wanted 2, 4 or 8 (4 along the outputs), found {bits}")
    for name, tensor, wanted in (("weights", weights, torch.int32), ("zeros", zeros, torch.int32)):
        if tensor.dtype is not wanted:
            raise TypeError(f"{name}: wanted {wanted}, found {tensor.dtype}")
    if groups.dtype is not torch.int64:
        raise TypeError(f"groups: wanted int64, found {groups.dtype}")
    per_word = _WORD_BITS // bits
    inputs, outputs = len(groups), scales.shape[1]
    stored_as = (inputs // per_word, outputs) if along_inputs else (inputs, outputs // per_word)
    if inputs % (per_word if along_inputs else 1) or weights.shape != stored_as or not weights.is_contiguous():
        raise ValueError(f"weights: wanted {list(stored_as)}, contiguous, found {list(weights.shape)}")
    if zeros.shape != (len(scales), -(-outputs // per_word)) or not zeros.is_contiguous():
        raise ValueError(f"zeros: wanted {[len(scales), -(-outputs // per_word)]}, found {list(zeros.shape)}")
    out = rows_for((outputs, inputs), dtype, order, weights.device, out)
    if out.numel():
        _decode[(triton.cdiv(len(out), _TILE), triton.cdiv(inputs, _TILE))](
            weights,
            zeros,
            # Few beside the weights, and exact.
            scales.float().contiguous(),
            groups,
            weights if order is None else order,
            stored(out),
            len(out),
            inputs,
            weights.shape[1],
            zeros.shape[1],
            outputs,
            zero_offset,
            BITS=bits,
            ALONG_INPUTS=along_inputs,
            IS_ORDERED=order is not None,
            IS_BFLOAT16=dtype is torch.bfloat16,
            TILE=_TILE,
        )
    return out


@triton.jit
def _shift(output: tl.tensor, BITS: tl.constexpr, ALONG_INPUTS: tl.constexpr) -> tl.tensor:
    """How far up in its word the number of `output` lies."""
    number = output % (32 // BITS)
    if ALONG_INPUTS:
        place = number
    else:
        place = (number >> 1) + (number & 1) * 4
    return (place * BITS).to(tl.int32)


@triton.jit(do_not_specialize=["rows", "zero_columns", "zero_offset"])
def _decode(
    weights: tl.tensor,
    zeros: tl.tensor,
    scales: tl.tensor,
    groups: tl.tensor,
    order: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    inputs: tl.tensor,
    weight_columns: tl.tensor,
    zero_columns: tl.tensor,
    outputs: tl.tensor,
    zero_offset: tl.tensor,
    BITS: tl.constexpr,
    ALONG_INPUTS: tl.constexpr,
    IS_ORDERED: tl.constexpr,
    IS_BFLOAT16: tl.constexpr,
    TILE: tl.constexpr,
) -> None:
    row = tl.program_id(0) * TILE + tl.arange(0, TILE)
    item = tl.program_id(1) * TILE + tl.arange(0, TILE)
    mask = (item < inputs)[:, None] & (row < rows)[None, :]
    output = source_row(order, row, row < rows, IS_ORDERED)
    group = tl.load(groups + item, mask=item < inputs, other=0)
    shift = _shift(output, BITS, ALONG_INPUTS)
    in_words = output // (32 // BITS)
    # Loaded as it is stored, [inputs, outputs]; the store transposes.
    if ALONG_INPUTS:
        place = (item // (32 // BITS)).to(tl.int64)[:, None] * weight_columns + output[None, :]
        weight_shift = ((item % (32 // BITS)) * BITS)[:, None]
    else:
        place = item.to(tl.int64)[:, None] * weight_columns + in_words[None, :]
        weight_shift = shift[None, :]
    number = (tl.load(weights + place, mask=mask, other=0) >> weight_shift) & ((1 << BITS) - 1)
    zero = tl.load(zeros + group[:, None] * zero_columns + in_words[None, :], mask=mask, other=0)
    zero = ((zero >> shift[None, :]) & ((1 << BITS) - 1)) + zero_offset
    scale = tl.load(scales + group[:, None] * outputs + output[None, :], mask=mask, other=0.0)
    numbers = (number - zero).to(tl.float32) * scale
    store(out, row.to(tl.int64)[None, :] * inputs + item[:, None], numbers, mask, IS_BFLOAT16)

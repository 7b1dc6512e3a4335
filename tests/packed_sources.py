"""Packed checkpoints for tests: written with safetensors, read by rows, with every byte counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file

from ggufactory.checkpoint import Checkpoint, open_checkpoint
from ggufactory.checkpoint.packing import unpacked
from ggufactory.checkpoint.weight_tensor import WeightTensor
from ggufactory_kernels.types import TENSOR_TYPES

Bytes = npt.NDArray[np.uint8]


@dataclass
class PackedSource:
    """A packed checkpoint and its logical tensors."""

    checkpoint: Checkpoint
    tensors: dict[str, WeightTensor]
    fetched: int = 0
    """Bytes of all reads so far."""

    def read(self, name: str, start: int = 0, stop: int | None = None, part: tuple[int, int] | None = None) -> Bytes:
        """Rows [start, stop) of the tensor, or of a part of it, as bytes."""
        source = self.tensors[name].source
        assert source is not None
        if part is not None:
            source = source.part(*part)
        stop = source.rows if stop is None else stop
        out = np.full((stop - start, TENSOR_TYPES[source.dtype].row_bytes(source.columns)), 0xA5, np.uint8)
        source.read_rows(start, stop, out, self._read_range)
        assert set(source.files) <= self.checkpoint.files.keys()
        return out

    def singles(self, name: str, start: int = 0, stop: int | None = None) -> npt.NDArray[np.float32]:
        """The same of a tensor in single precision."""
        return self.read(name, start, stop).view(np.float32)

    def _read_range(self, file: str, offset: int, buffer: memoryview) -> None:
        self.fetched += buffer.nbytes
        self.checkpoint.store.read_into(file, offset, buffer)


def packed_source(folder: Path, tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> PackedSource:
    """`config` is what quantization_config holds."""
    return open_packed(folder, tensors, {"quantization_config": config})


def open_packed(folder: Path, tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> PackedSource:
    """`config` is config.json's content."""
    folder.mkdir(exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}", encoding="utf-8")
    checkpoint = open_checkpoint(str(folder))
    return PackedSource(checkpoint, unpacked(checkpoint, config))


def same_bits(found: npt.NDArray[np.float32], wanted: torch.Tensor) -> bool:
    """Every number, to the last bit; any NaN is like any other."""
    values = wanted.numpy().reshape(found.shape)
    nans = np.isnan(values)
    return bool(np.array_equal(nans, np.isnan(found)) and (found.view("<u4") == values.view("<u4"))[~nans].all())

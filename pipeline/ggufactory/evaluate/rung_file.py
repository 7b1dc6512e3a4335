"""A GGUF file whose weights are compared with the checkpoint's, read by rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ggufactory.architectures.model import OutputTensor
from ggufactory.checkpoint.gguf_checkpoint import GgufCheckpoint, open_gguf_checkpoint
from ggufactory.errors import InputError
from ggufactory_kernels import TENSOR_TYPES, dequantize

Numbers = npt.NDArray[np.float32]
_SHOWN = 3
_SLAB_BYTES = 64 << 20
_DATASET = "quantize.imatrix.dataset"


class RungFile:
    """One rung: a file, or the files of a split. `name`: what it is called in results; `sums`: SHA-256 of its files, as
    its target's manifest has them."""

    def __init__(self, name: str, uri: str, sums: Sequence[str] = ()) -> None:
        self.name = name
        self.uri = uri
        self.sums = tuple(sums)
        self._gguf: GgufCheckpoint = open_gguf_checkpoint(uri)
        self._tensors = {tensor.name: tensor for tensor in self._gguf.tensors}
        self._scales: dict[str, Numbers] = {}

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(info.size for info in self._gguf.files.values())

    @property
    def identity(self) -> str:
        """Changes with any of its files."""
        return repr([(info.name, info.size, info.etag) for info in self._gguf.files.values()])

    @property
    def calibrated_with(self) -> str | None:
        """The text that the importance matrix of the file was made with, by the name that the matrix has for it."""
        told = next((kv.value for kv in self._gguf.metadata if kv.key == _DATASET), None)
        return told if isinstance(told, str) else None

    def check_model(self, outputs: Sequence[OutputTensor]) -> None:
        """InputError unless the file holds these tensors, by name and shape."""
        wanted = {output.name: tuple(reversed(output.shape)) for output in outputs}
        held = {tensor.name: tensor.ne for tensor in self._gguf.tensors}
        missing = sorted(wanted.keys() - held.keys())
        other = sorted(name for name, shape in wanted.items() if name in held and held[name] != shape)
        if missing or other:
            faults = [f"it has no {', '.join(missing[:_SHOWN])}"] if missing else []
            faults += [f"{name} is {list(held[name])}, wanted {list(wanted[name])}" for name in other[:_SHOWN]]
            raise InputError(
                f"{self.uri} was made from another model than the source: {'; '.join(faults)}",
                fix="Give the checkpoint that it was made from as --source",
            )

    def check_numbers(self, output: OutputTensor, wanted: Numbers) -> None:
        """InputError unless a tensor that every file keeps as it is holds the numbers that the source has."""
        found = self.read_rows(output.name, 0, output.rows)
        if not np.array_equal(found.ravel(), wanted.ravel()):
            raise InputError(
                f"{self.uri} was made from another model than the source: {output.name} holds other numbers",
                fix="Give the checkpoint, in the revision, that it was made from as --source",
            )

    def type_of(self, name: str) -> str:
        """What the tensor is stored as."""
        return self._tensors[name].type

    def read_rows(self, name: str, start: int, stop: int) -> Numbers:
        """Rows [start, stop) of a tensor, counted through all of its matrices, as numbers [rows, columns]."""
        tensor = self._tensors[name]
        columns, row_bytes = tensor.ne[0], TENSOR_TYPES[tensor.type].row_bytes(tensor.ne[0])
        numbers = np.empty((stop - start, columns), np.float32)
        step = max(_SLAB_BYTES // row_bytes, 1)
        for at in range(start, stop, step):
            end = min(at + step, stop)
            packed = np.empty((end - at, row_bytes), np.uint8)
            self._read(tensor.file, tensor.offset + at * row_bytes, packed)
            numbers[at - start : end - start] = dequantize(packed, tensor.type, columns)
        if name.endswith(".weight") and len(tensor.ne) > 1:
            self._scale(name, numbers, start, rows_per_matrix=tensor.ne[1])
        return numbers

    def _read(self, file: str, offset: int, into: npt.NDArray[np.uint8]) -> None:
        etag = self._gguf.files[file].etag
        self._gguf.store.read_into(file, offset, into.reshape(-1).data, etag=etag)

    def _scale(self, name: str, numbers: Numbers, start: int, rows_per_matrix: int) -> None:
        """Matrices that came from NVFP4 are multiplied by one number each, which the file keeps apart."""
        by = name.removesuffix(".weight") + ".scale"
        if by not in self._tensors:
            return
        if by not in self._scales:
            self._scales[by] = self.read_rows(by, 0, 1)[0]
        matrices = (start + np.arange(len(numbers))) // rows_per_matrix
        numbers *= self._scales[by][matrices if len(self._scales[by]) > 1 else 0 * matrices, np.newaxis]

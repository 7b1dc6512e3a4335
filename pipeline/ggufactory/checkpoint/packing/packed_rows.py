"""What all packed matrices have in common as `SourceRows`."""

from __future__ import annotations

from ggufactory.checkpoint.packing.stored_matrix import StoredMatrix


class PackedRows:
    """Weights in one tensor, and whatever else is needed to read them in others."""

    __slots__ = ()

    weights: StoredMatrix

    @property
    def companions(self) -> tuple[StoredMatrix, ...]:
        """The other tensors that are read."""
        raise NotImplementedError

    @property
    def tensor(self) -> str:
        return self.weights.tensor

    @property
    def file(self) -> str:
        return self.weights.file

    @property
    def offset(self) -> int:
        return self.weights.offset

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(matrix.file for matrix in (self.weights, *self.companions)))

    @property
    def unit(self) -> int:
        return 1

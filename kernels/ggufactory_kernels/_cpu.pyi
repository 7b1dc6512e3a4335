import numpy as np
import numpy.typing as npt

def quantize(
    isa: str,
    type: int,
    source_type: int,
    source: npt.NDArray[np.uint8],
    columns: int,
    importance: npt.NDArray[np.float32] | None,
    out: npt.NDArray[np.uint8],
    threads: int,
) -> tuple[int, int]: ...
def dequantize(
    isa: str, type: int, packed: npt.NDArray[np.uint8], out: npt.NDArray[np.float32], threads: int
) -> None: ...
def square_errors(
    isa: str,
    held_type: int,
    held: npt.NDArray[np.uint8],
    stored_type: int,
    stored: npt.NDArray[np.uint8],
    columns: int,
    importance: npt.NDArray[np.float32] | None,
    out: npt.NDArray[np.float64],
    threads: int,
) -> None: ...
def instruction_sets() -> list[tuple[str, bool]]: ...
def kernel_types() -> list[tuple[int, int, int]]: ...
def codebook(type: int) -> tuple[bytes, bytes, bytes]: ...

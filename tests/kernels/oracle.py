"""The reference for any input: ggml itself, through the shared object of the xllamacpp wheel."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ggufactory_kernels import TENSOR_TYPES


@cache
def ggml() -> ctypes.CDLL:
    """The library, with the signatures of the calls that tests make."""
    import xllamacpp

    package = Path(xllamacpp.__file__).parent
    library = ctypes.CDLL(str(next(package.glob("xllamacpp*.so"))))
    library.ggml_version.restype = ctypes.c_char_p
    library.ggml_type_name.restype = ctypes.c_char_p
    library.ggml_blck_size.restype = ctypes.c_int64
    library.ggml_type_size.restype = ctypes.c_size_t
    library.ggml_is_quantized.restype = ctypes.c_bool
    library.ggml_quantize_requires_imatrix.restype = ctypes.c_bool
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
    ]
    library.ggml_validate_row_data.restype = ctypes.c_bool
    library.ggml_validate_row_data.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
    return library


def ggml_version() -> str:
    """Such as "0.26.0"."""
    version: bytes = ggml().ggml_version()
    return version.decode()


def quantize_into(
    x: npt.NDArray[np.float32],
    type: str,
    out: npt.NDArray[np.uint8],
    importance: npt.NDArray[np.float32] | None = None,
) -> None:
    """ggml_quantize_chunk on contiguous rows [rows, columns], one thread."""
    assert x.flags.c_contiguous
    assert out.flags.c_contiguous
    written = ggml().ggml_quantize_chunk(
        TENSOR_TYPES[type].number,
        x.ctypes.data,
        out.ctypes.data,
        0,
        x.shape[0],
        x.shape[1],
        None if importance is None else importance.ctypes.data,
    )
    assert written == out.nbytes


def quantize(
    x: npt.NDArray[np.float32], type: str, importance: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.uint8]:
    """ggml's bytes of rows [rows, columns]: uint8 [rows, bytes per row]."""
    out = np.zeros((x.shape[0], TENSOR_TYPES[type].row_bytes(x.shape[1])), np.uint8)
    quantize_into(np.ascontiguousarray(x), type, out, importance)
    return out


def quantize_unless_aborted(
    x: npt.NDArray[np.float32], type: str, importance: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.uint8] | None:
    """ggml's bytes, or None where its assertions stop the process: in the searches of IQ types, when errors
    are too large for single precision. Large weights are therefore quantized in a process of their own.
    """
    if not type.startswith(("IQ1", "IQ2", "IQ3")) or float(np.abs(x).max(initial=0)) < 1e6:
        return quantize(x, type, importance)
    quantize(np.zeros((1, x.shape[1]), np.float32), type, importance)  # ggml's tables, once for all children
    shape = (x.shape[0], TENSOR_TYPES[type].row_bytes(x.shape[1]))
    with mmap.mmap(-1, shape[0] * shape[1]) as shared:
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.environ["GGML_NO_BACKTRACE"] = "1"
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            signal.signal(signal.SIGABRT, signal.SIG_DFL)
            quantize_into(np.ascontiguousarray(x), type, np.frombuffer(shared, np.uint8), importance)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGABRT:
            return None
        assert status == 0
        return np.frombuffer(shared[:], np.uint8).reshape(shape)


def is_valid(packed: npt.NDArray[np.uint8], type: str) -> bool:
    """ggml_validate_row_data: whether llama-quantize would accept these bytes."""
    data = np.ascontiguousarray(packed)
    return bool(ggml().ggml_validate_row_data(TENSOR_TYPES[type].number, data.ctypes.data, data.nbytes))


def dequantize(packed: npt.NDArray[np.uint8], type: str, columns: int) -> npt.NDArray[np.float32]:
    """ggml's dequantize_row_* of rows [rows, bytes per row]: float32 [rows, columns]."""
    rows = np.ascontiguousarray(packed)
    out = np.empty((rows.shape[0], columns), np.float32)
    names = {"F16": "ggml_fp16_to_fp32_row", "BF16": "ggml_bf16_to_fp32_row"}
    function = getattr(ggml(), names.get(type, f"dequantize_row_{type.lower().replace('_k', '_K')}"))
    function.restype = None
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    function(rows.ctypes.data, out.ctypes.data, out.size)
    return out

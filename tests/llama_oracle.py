"""llama.cpp's own forward, through the shared object of the xllamacpp wheel.

The structures are those of include/llama.h, with a pointer that the wheel's release has beside them;
`LlamaModel` checks the defaults that the library fills in before it trusts them.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from ctypes import c_bool, c_char_p, c_float, c_int8, c_int32, c_size_t, c_uint32, c_void_p
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

_F32 = 0
_LogCallback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, c_void_p)
_SILENT = _LogCallback(lambda level, text, data: None)


class _ModelParams(ctypes.Structure):
    _fields_ = (
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int32),
        ("load_mode", c_int32),
        ("lazy_mode", c_int32),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        ("vocab_only", c_bool),
        ("check_tensors", c_bool),
        ("use_extra_bufts", c_bool),
        ("no_host", c_bool),
        ("no_alloc", c_bool),
        ("load_mtp", c_bool),
    )


class _ContextParams(ctypes.Structure):
    _fields_ = (
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32),
        ("n_rs_seq", c_uint32),
        ("n_outputs_max", c_uint32),
        ("n_outputs_max_per_seq", c_uint32),
        ("n_threads", c_int32),
        ("n_threads_batch", c_int32),
        ("ctx_type", c_int32),
        ("rope_scaling_type", c_int32),
        ("pooling_type", c_int32),
        ("attention_type", c_int32),
        ("flash_attn_type", c_int32),
        ("rope_freq_base", c_float),
        ("rope_freq_scale", c_float),
        ("yarn_ext_factor", c_float),
        ("yarn_attn_factor", c_float),
        ("yarn_beta_fast", c_float),
        ("yarn_beta_slow", c_float),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p),
        ("type_k", c_int32),
        ("type_v", c_int32),
        ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p),
        ("newer_than_the_header", c_void_p),
        ("embeddings", c_bool),
        ("offload_kqv", c_bool),
        ("no_perf", c_bool),
        ("op_offload", c_bool),
        ("swa_full", c_bool),
        ("kv_unified", c_bool),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
    )


class _Batch(ctypes.Structure):
    _fields_ = (
        ("n_tokens", c_int32),
        ("token", ctypes.POINTER(c_int32)),
        ("embd", c_void_p),
        ("pos", ctypes.POINTER(c_int32)),
        ("n_seq_id", ctypes.POINTER(c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(c_int32))),
        ("logits", ctypes.POINTER(c_int8)),
    )


@cache
def _library() -> ctypes.CDLL:
    import xllamacpp

    library = ctypes.CDLL(str(next(Path(xllamacpp.__file__).parent.glob("xllamacpp*.so"))))
    library.llama_model_default_params.restype = _ModelParams
    library.llama_context_default_params.restype = _ContextParams
    library.llama_model_load_from_file.restype = c_void_p
    library.llama_model_load_from_file.argtypes = [c_char_p, _ModelParams]
    library.llama_init_from_model.restype = c_void_p
    library.llama_init_from_model.argtypes = [c_void_p, _ContextParams]
    library.llama_model_get_vocab.restype = c_void_p
    library.llama_model_get_vocab.argtypes = [c_void_p]
    library.llama_vocab_n_tokens.argtypes = [c_void_p]
    library.llama_vocab_get_add_bos.restype = c_bool
    for of_vocabulary in (library.llama_vocab_get_add_bos, library.llama_vocab_bos):
        of_vocabulary.argtypes = [c_void_p]
    library.llama_tokenize.argtypes = [c_void_p, c_char_p, c_int32, ctypes.POINTER(c_int32), c_int32, c_bool, c_bool]
    library.llama_batch_init.restype = _Batch
    library.llama_batch_init.argtypes = [c_int32, c_int32, c_int32]
    library.llama_batch_free.argtypes = [_Batch]
    library.llama_decode.argtypes = [c_void_p, _Batch]
    library.llama_get_logits.restype = ctypes.POINTER(c_float)
    library.llama_get_logits.argtypes = [c_void_p]
    library.llama_get_memory.restype = c_void_p
    library.llama_get_memory.argtypes = [c_void_p]
    library.llama_memory_clear.argtypes = [c_void_p, c_bool]
    library.llama_free.argtypes = [c_void_p]
    library.llama_model_free.argtypes = [c_void_p]
    library.llama_log_set.argtypes = [_LogCallback, c_void_p]
    library.llama_log_set(_SILENT, None)
    library.llama_backend_init()
    return library


class LlamaVocabulary:
    """The vocabulary of a GGUF file, which need not have tensors."""

    def __init__(self, path: str) -> None:
        library = _library()
        model = library.llama_model_default_params()
        model.vocab_only = True
        model.n_gpu_layers = 0
        self._model = library.llama_model_load_from_file(path.encode(), model)
        if not self._model:
            raise ValueError(f"llama.cpp does not load the vocabulary of {path}")
        self._vocabulary = library.llama_model_get_vocab(self._model)

    @property
    def adds_bos(self) -> bool:
        return bool(_library().llama_vocab_get_add_bos(self._vocabulary))

    @property
    def bos(self) -> int | None:
        found = int(_library().llama_vocab_bos(self._vocabulary))
        return found if found >= 0 else None

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        data = text.encode()
        room = len(data) + 4
        tokens = (c_int32 * room)()
        count = _library().llama_tokenize(self._vocabulary, data, len(data), tokens, room, add_special, parse_special)
        if not 0 <= count <= room:
            raise ValueError(f"llama.cpp makes no tokens of the text: {count}")
        return tokens[:count]

    def close(self) -> None:
        _library().llama_model_free(self._model)


class LlamaModel:
    """A GGUF file, loaded by llama.cpp; attention in single precision, nothing repacked."""

    def __init__(self, path: str, *, context: int, threads: int = 1) -> None:
        library = _library()
        model, run = library.llama_model_default_params(), library.llama_context_default_params()
        assert (model.n_gpu_layers, model.use_extra_bufts, model.vocab_only) == (-1, True, False)
        assert (run.n_ctx, run.n_batch, run.type_k, run.offload_kqv) == (512, 2048, 1, True)
        model.use_extra_bufts = False
        model.n_gpu_layers = 0
        self._model = library.llama_model_load_from_file(path.encode(), model)
        if not self._model:
            raise ValueError(f"llama.cpp does not load {path}")
        run.n_ctx = run.n_batch = run.n_ubatch = context
        run.n_outputs_max = run.n_outputs_max_per_seq = 0
        run.n_threads = run.n_threads_batch = threads
        run.type_k = run.type_v = _F32
        run.flash_attn_type = 0
        self._context = library.llama_init_from_model(self._model, run)
        if not self._context:
            raise ValueError(f"llama.cpp makes no context for {path}")
        self.vocabulary = int(library.llama_vocab_n_tokens(library.llama_model_get_vocab(self._model)))

    def logits(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """Of every position, [tokens, vocabulary]; the tokens stand alone."""
        library = _library()
        library.llama_memory_clear(library.llama_get_memory(self._context), True)
        batch = library.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
            batch.seq_id[i][0] = 0
        try:
            if library.llama_decode(self._context, batch) != 0:
                raise ValueError("llama.cpp does not evaluate these tokens")
            found = library.llama_get_logits(self._context)
            held = np.ctypeslib.as_array(found, shape=(len(tokens), self.vocabulary))
            return np.array(held)
        finally:
            library.llama_batch_free(batch)

    def close(self) -> None:
        _library().llama_free(self._context)
        _library().llama_model_free(self._model)


def buffers(path: str, context: int) -> tuple[float, float]:
    """What llama.cpp allocates for a context of one sequence, keys and values in 16 bits, by its own log, in MiB: the
    cache, states of recurrent layers included, and the compute buffer."""
    library = _library()
    lines: list[str] = []
    heard = _LogCallback(lambda level, text, data: lines.append(text.decode(errors="replace")))
    model_options, run = library.llama_model_default_params(), library.llama_context_default_params()
    model_options.n_gpu_layers = 0
    run.n_ctx, run.swa_full = context, False
    library.llama_log_set(heard, None)
    try:
        model = library.llama_model_load_from_file(path.encode(), model_options)
        made = library.llama_init_from_model(model, run)
        library.llama_free(made)
        library.llama_model_free(model)
    finally:
        library.llama_log_set(_SILENT, None)
    found = re.findall(r"(KV|RS|compute) buffer size = +([\d.]+) MiB", "".join(lines))
    sizes = {kind: sum(float(size) for name, size in found if name == kind) for kind in ("KV", "RS", "compute")}
    return sizes["KV"] + sizes["RS"], sizes["compute"]

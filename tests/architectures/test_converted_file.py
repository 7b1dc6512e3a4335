"""The whole file that the converter writes of the bundled model, from its header to its last byte."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from converted_rows import tensor_bytes
from ggufactory.architectures.registry import describe
from ggufactory.checkpoint import open_checkpoint
from ggufactory.container.header import DEFAULT_ALIGNMENT, TensorInfo, encode_header, padded

NUMBERS = {"F32": 0, "BF16": 30}


def test_the_converters_bf16_file(tinylm: str) -> None:
    model = describe(open_checkpoint(tinylm))
    infos, digest, offset = [], sha256(), 0
    bodies = []
    for tensor in model.tensors:
        body = tensor_bytes(tensor, Path(tinylm))
        infos.append(TensorInfo(tensor.name, tensor.shape[::-1], NUMBERS[tensor.converted_type], offset))
        body += bytes(padded(len(body), DEFAULT_ALIGNMENT) - len(body))
        bodies.append(body)
        offset += len(body)
    digest.update(encode_header(model.metadata, infos))
    for body in bodies:
        digest.update(body)
    recorded: Any = json.loads((Path(tinylm).parent / "whole_files.json").read_text(encoding="utf-8"))
    assert digest.hexdigest() == recorded["converted"]["BF16"]["sha256"]

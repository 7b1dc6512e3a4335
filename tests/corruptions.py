"""Ways in which a checkpoint is broken: name -> what it does to a sharded safetensors folder in place.

`CORRUPTIONS` are found when the checkpoint is opened; `UNUSABLE` leave a valid checkpoint that no
model can be made of. Both must end in an InputError.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

Mutation = Callable[[Path], object]


def _first_shard(folder: Path) -> Path:
    return min(folder.glob("model*.safetensors"))


def read_header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    assert isinstance(header, dict)
    return header


def replace_header(path: Path, header: dict[str, Any] | bytes, *, length: int | None = None) -> None:
    """Write another header (and, with `length`, a lie about its length) in front of the same data."""
    with path.open("rb") as file:
        (old_length,) = struct.unpack("<Q", file.read(8))
        file.seek(8 + old_length)
        data = file.read()
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


def _edit_tensor(edit: Callable[[dict[str, Any]], object]) -> Mutation:
    """Edit the header's entry of the last matrix of the first shard."""

    def mutate(folder: Path) -> None:
        path = _first_shard(folder)
        header = read_header(path)
        matrices = [entry for entry in header.values() if len(entry.get("shape", ())) == 2]
        edit(max(matrices, key=lambda entry: int(entry["data_offsets"][0])))
        replace_header(path, header)

    return mutate


def _edit_header(edit: Callable[[dict[str, Any]], object]) -> Mutation:
    def mutate(folder: Path) -> None:
        path = _first_shard(folder)
        header = read_header(path)
        edit(header)
        replace_header(path, header)

    return mutate


def _edit_index(edit: Callable[[dict[str, Any]], object]) -> Mutation:
    def mutate(folder: Path) -> None:
        path = folder / "model.safetensors.index.json"
        index = json.loads(path.read_text())
        edit(index["weight_map"])
        path.write_text(json.dumps(index))

    return mutate


def _edit_config(**changes: Any) -> Mutation:
    def mutate(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return mutate


def _write_header(text: bytes, *, length: int | None = None) -> Mutation:
    return lambda folder: replace_header(_first_shard(folder), text, length=length)


def _truncate(folder: Path) -> None:
    path = max(folder.glob("model*.safetensors"))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1000)


def _append(folder: Path) -> None:
    with _first_shard(folder).open("ab") as file:
        file.write(bytes(16))


def _duplicate_key(folder: Path) -> None:
    path = _first_shard(folder)
    header = read_header(path)
    name = next(name for name in header if name != "__metadata__")
    text = json.dumps(header)
    replace_header(path, (text[:-1] + f", {json.dumps(name)}: {json.dumps(header[name])}}}").encode())


def _duplicate_tensor(folder: Path) -> None:
    """The first shard's name of a tensor again in the last shard, instead of one that it held."""
    first, last = _first_shard(folder), max(folder.glob("model*.safetensors"))
    name = next(name for name in read_header(first) if name != "__metadata__")
    header = read_header(last)
    replaced = next(name for name in header if name != "__metadata__")
    header[name] = header.pop(replaced)
    replace_header(last, header)


def _remove_shard(folder: Path) -> None:
    max(folder.glob("model*.safetensors")).unlink()


def _remove_shard_and_index(folder: Path) -> None:
    _remove_shard(folder)
    (folder / "model.safetensors.index.json").unlink()


def _pickle_only(folder: Path) -> None:
    for path in folder.glob("model*.safetensors*"):
        path.unlink()
    (folder / "pytorch_model-00001-of-00001.bin").write_bytes(b"PK\x03\x04")


def _remove_weights(folder: Path) -> None:
    for path in folder.glob("model*.safetensors*"):
        path.unlink()


def _empty_folder(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _shift(entry: dict[str, Any], begin: int, end: int) -> None:
    entry["data_offsets"] = [entry["data_offsets"][0] + begin, entry["data_offsets"][1] + end]


CORRUPTIONS: dict[str, Mutation] = {
    "shard truncated": _truncate,
    "shard too long": _append,
    "shard empty": lambda folder: _first_shard(folder).write_bytes(b""),
    "shard missing": _remove_shard,
    "shard missing, no index": _remove_shard_and_index,
    "header length beyond the file": _write_header(b"{}", length=1 << 40),
    "header length 2^64-1": _write_header(b"{}", length=(1 << 64) - 1),
    "header not JSON": _write_header(b'{"a": '),
    "header not UTF-8": _write_header(b'{"\xff": 1}'),
    "header an array": _write_header(b"[1, 2]"),
    "header nested deeply": _write_header(b'{"a":' + b"[" * 100_000),
    "header of a million values": _write_header(b'{"a":[' + b"[]," * 2_500_000 + b"0]}"),
    "header with a huge number": _write_header(b'{"a":' + b"9" * 10_000 + b"}"),
    "metadata not strings": _edit_header(lambda header: header.update(__metadata__={"format": 1})),
    "duplicate key": _duplicate_key,
    "duplicate tensor in two shards": _duplicate_tensor,
    "tensor name too long": _edit_header(lambda header: header.update({"x" * 5000: header.popitem()[1]})),
    "tensor name with a newline": _edit_header(lambda header: header.update({"a\nb": header.popitem()[1]})),
    "tensor not an object": _edit_header(lambda header: header.update(x=[1])),
    "tensor without dtype": _edit_tensor(lambda entry: entry.pop("dtype")),
    "dtype unknown": _edit_tensor(lambda entry: entry.update(dtype="Q4_K")),
    "dtype of another size": _edit_tensor(lambda entry: entry.update(dtype="F32")),
    "shape negative": _edit_tensor(lambda entry: entry.update(shape=[-n for n in entry["shape"]])),
    "shape fractional": _edit_tensor(lambda entry: entry.update(shape=[float(n) for n in entry["shape"]])),
    "shape overflowing": _edit_tensor(lambda entry: entry.update(shape=[1 << 62, 1 << 62, 1 << 62])),
    "shape of many sizes": _edit_tensor(lambda entry: entry.update(shape=[1] * 1000 + entry["shape"])),
    "shape too small": _edit_tensor(lambda entry: entry.update(shape=[entry["shape"][0] - 1, *entry["shape"][1:]])),
    "offsets overlapping": _edit_tensor(lambda entry: _shift(entry, -2, -2)),
    "offsets with a hole": _edit_tensor(lambda entry: _shift(entry, 2, 2)),
    "offsets backwards": _edit_tensor(lambda entry: entry["data_offsets"].reverse()),
    "offsets beyond the file": _edit_tensor(lambda entry: _shift(entry, 1 << 50, 1 << 50)),
    "offsets negative": _edit_tensor(lambda entry: _shift(entry, -(1 << 50), -(1 << 50))),
    "index not JSON": lambda folder: (folder / "model.safetensors.index.json").write_text("{"),
    "index without a weight map": lambda folder: (folder / "model.safetensors.index.json").write_text("{}"),
    "index names a missing tensor": _edit_index(lambda index: index.update(ghost=next(iter(index.values())))),
    "index lacks a tensor": _edit_index(lambda index: index.popitem()),
    "index names a missing file": _edit_index(lambda index: index.update(ghost="model-9.safetensors")),
    "index climbs out": _edit_index(lambda index: index.update(ghost="../model.safetensors")),
    "index names a file in a folder": _edit_index(lambda index: index.update(ghost="sub/model.safetensors")),
    "index names an absolute path": _edit_index(lambda index: index.update(ghost="/etc/passwd")),
    "index names a number": _edit_index(lambda index: index.update(ghost=3)),
    "pickle only": _pickle_only,
    "no weights": _remove_weights,
    "no config": lambda folder: (folder / "config.json").unlink(),
    "empty folder": _empty_folder,
}

UNUSABLE: dict[str, Mutation] = {
    "config not JSON": lambda folder: (folder / "config.json").write_text("{"),
    "config not an object": lambda folder: (folder / "config.json").write_text("[]"),
    "architecture unknown": _edit_config(architectures=["NoSuchForCausalLM"]),
    "architecture not a list": _edit_config(architectures=3),
}

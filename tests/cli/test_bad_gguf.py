"""GGUF sources that are wrong, or asked for what they cannot be: one message, exit code 2, nothing left behind."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gguf_files import Contents, Stored, converted, text, u32, write_gguf, write_split
from ggufactory.cli import main
from ggufactory_kernels import TENSOR_TYPES

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """One command in this process: its exit code and what it said."""

    def command(*arguments: str) -> tuple[int, str]:
        code = main(arguments)
        return code, capsys.readouterr().err

    return command


@pytest.fixture(scope="module")
def contents(tinylm: str) -> Contents:
    return converted(tinylm)


@pytest.fixture
def source(tmp_path: Path, contents: Contents) -> Path:
    return write_gguf(tmp_path / "tinylm-BF16.gguf", contents.metadata, contents.tensors)


def _assert_refused(code: int, said: str, target: Path) -> None:
    assert code == 2
    assert said.startswith("ggufactory: ")
    assert "Traceback" not in said
    assert len(said) < 2000
    assert not target.exists()


def _change(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        assert data.count(old) >= 1
        return data.replace(old, new, 1)

    return change


def _description(name: str, *ne: int) -> bytes:
    """The beginning of a tensor's description: its name and shape."""
    return struct.pack("<Q", len(name)) + name.encode() + struct.pack(f"<I{len(ne)}Q", len(ne), *ne)


UP = "blk.1.ffn_up.weight"
CORRUPTIONS = {
    "empty": lambda data: b"",
    "cut in the header": lambda data: data[:5000],
    "cut in the data": lambda data: data[:-1000],
    "not GGUF": _change(b"GGUF", b"PK\x03\x04"),
    "a tensor twice": _change(_description(UP, 256, 768), _description("blk.0.ffn_up.weight", 256, 768)),
    "a tensor larger than it is": _change(_description(UP, 256, 768), _description(UP, 256, 769)),
    "a tensor larger than any": _change(_description(UP, 256, 768), _description(UP, 1 << 40, 1 << 40)),
    "a tensor without columns": _change(_description(UP, 256, 768), _description(UP, 0, 768)),
    "an unknown type": _change(
        _description(UP, 256, 768) + struct.pack("<I", 30), _description(UP, 256, 768) + struct.pack("<I", 77)
    ),
    "another type": _change(
        _description(UP, 256, 768) + struct.pack("<I", 30), _description(UP, 256, 768) + struct.pack("<I", 0)
    ),
    "no architecture": _change(b"general.architecture", b"general.architectura"),
    "another architecture": _change(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0gemma"),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_broken_file(run: Run, source: Path, tmp_path: Path, name: str) -> None:
    source.write_bytes(CORRUPTIONS[name](source.read_bytes()))
    code, said = run("quantize", str(source), "--to", str(tmp_path / "out"), "--ladder", "Q8_0")
    _assert_refused(code, said, tmp_path / "out")


def test_a_split_without_its_last_file(run: Run, contents: Contents, tmp_path: Path) -> None:
    first = write_split(tmp_path, "m", contents, [10, 10, len(contents.tensors) - 20])
    (tmp_path / "m-00003-of-00003.gguf").unlink()
    code, said = run("quantize", str(first), "--to", str(tmp_path / "out"), "--ladder", "Q8_0")
    _assert_refused(code, said, tmp_path / "out")
    assert "1 file ('m-00003-of-00003.gguf') of the split not there" in said


def test_no_such_file(run: Run, tmp_path: Path) -> None:
    code, said = run("quantize", str(tmp_path / "m.gguf"), "--to", str(tmp_path / "out"), "--ladder", "Q8_0")
    _assert_refused(code, said, tmp_path / "out")
    assert "there is no file m.gguf" in said


def test_a_folder_that_is_called_like_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").mkdir()
    code, said = run("quantize", str(tmp_path / "m.gguf"), "--to", str(tmp_path / "out"), "--ladder", "Q8_0")
    _assert_refused(code, said, tmp_path / "out")


def _quantized(folder: Path) -> Path:
    data = np.zeros((4, TENSOR_TYPES["Q8_0"].row_bytes(256)), np.uint8).tobytes()
    names = ("output.weight", "blk.0.ffn_up.weight", "blk.0.attn_q.weight")
    metadata = (text("general.architecture", "llama"), u32("llama.block_count", 1))
    return write_gguf(folder / "m-Q8_0.gguf", metadata, [Stored(name, "Q8_0", (256, 4), data) for name in names])


def test_quantizing_again_has_to_be_asked_for(run: Run, tmp_path: Path) -> None:
    source = _quantized(tmp_path)
    code, said = run("plan", str(source), "--ladder", "Q6_K")
    _assert_refused(code, said, tmp_path / "out")
    assert "--allow-requantize" in said
    for name in ("output.weight", "blk.0.ffn_up.weight", "blk.0.attn_q.weight"):
        assert name in said
    assert run("plan", str(source), "--ladder", "Q8_0") == (0, ""), "what has its type is copied"


@pytest.mark.parametrize("value", ["yes please", "3", "[true]"])
def test_a_job_file_that_asks_for_it_wrongly(run: Run, tmp_path: Path, value: str) -> None:
    (tmp_path / "job.yaml").write_text(f"source: m.gguf\nladder: [Q8_0]\nallow_requantize: {value}\n")
    code, said = run("plan", "--job", str(tmp_path / "job.yaml"))
    _assert_refused(code, said, tmp_path / "out")
    assert "allow_requantize: wanted true or false" in said


def test_a_target_that_is_the_source(run: Run, source: Path, tmp_path: Path) -> None:
    before = source.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "link"):
        code, said = run("quantize", str(source), "--to", str(folder), "--ladder", "Q8_0,BF16")
        assert (code, "Traceback" in said) == (2, False)
        assert "tinylm-BF16.gguf would replace the source" in said
    assert source.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "tinylm-BF16.gguf"]


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("type", ["BF16", "Q8_0"])
def test_damaged_weights(run: Run, source: Path, tmp_path: Path, type: str) -> None:
    """Found when they are read, in what is quantized and in what is copied; the spans are parked, and no file is
    made."""
    if type == "Q8_0":
        source = _quantized(tmp_path)
    data = bytearray(source.read_bytes())
    data[-1088:] = bytes([0xFF]) * 1088
    source.write_bytes(data)
    code, said = run("quantize", str(source), "--to", str(tmp_path / "out"), "--ladder", "Q8_0")
    assert (code, "Traceback" in said) == (3, False), said
    assert "tensor" in said
    assert not list((tmp_path / "out").glob("*.gguf"))

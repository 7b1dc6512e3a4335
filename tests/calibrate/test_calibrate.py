"""`ggufactory calibrate` as it is used: what it writes, what it keeps in memory, what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from converted_rows import conversion
from ggufactory.calibrate import streamed_pass
from ggufactory.calibrate.activations import sum_of_squares
from ggufactory.calibrate.hidden_states import HiddenStates
from ggufactory.cli import main
from ggufactory.errors import InputError
from ggufactory.job.calibration_job import calibrate
from ggufactory.job.calibration_spec import CalibrationSpec
from ggufactory.observe.calibration_log import CalibrationLog
from small_checkpoints import write_checkpoint

CHUNKS = 24


@pytest.fixture
def text(tinylm: str) -> str:
    return f"{tinylm}/calibration.txt"


def _made(tinylm: str, text: str, to: Path, **other: object) -> bytes:
    spec = {"context": 64, "chunks": CHUNKS, **other}
    calibrate(CalibrationSpec(source=tinylm, texts=(text,), to=str(to), **spec), CalibrationLog())  # type: ignore[arg-type]
    return to.read_bytes()


def test_hidden_states_that_do_not_fit_make_the_same_file(tmp_path: Path, tinylm: str, text: str) -> None:
    assert _made(tinylm, text, tmp_path / "a.gguf") == _made(tinylm, text, tmp_path / "b.gguf", hidden_bytes=0)


def test_one_layer_at_a_time_has_weights(tmp_path: Path, tinylm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    original = streamed_pass.through_layer

    def spy(model: streamed_pass.StreamedModel, *rest: object) -> object:
        with_weights = {
            n.split("layers.")[1].split(".")[0] if "layers." in n else n
            for n, p in model._model.named_parameters()
            if not p.is_meta
        }
        held.append(with_weights)
        return original(model, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(streamed_pass, "through_layer", spy)
    _made(tinylm, f"{tinylm}/calibration.txt", tmp_path / "a.gguf")
    assert held == [{"0"}, {"1"}, {"2"}, {"3"}]


def test_bfloat16_stays_near(tmp_path: Path, tinylm: str, text: str) -> None:
    def sums(dtype: str) -> dict[str, np.ndarray]:
        spec = CalibrationSpec(
            source=tinylm, texts=(text,), to=str(tmp_path / "x.gguf"), context=64, chunks=CHUNKS, compute_dtype=dtype
        )
        return {name: entry.sums for name, entry in calibrate(spec, CalibrationLog()).imatrix.entries.items()}

    single, half = sums("float32"), sums("bfloat16")
    for name, wanted in single.items():
        assert np.median(np.abs(half[name] - wanted) / wanted) < 0.02, name


def test_a_gpu_that_is_not_there(tmp_path: Path, tinylm: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"device cuda: PyTorch"):
        _made(tinylm, text, tmp_path / "a.gguf", device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_gpu_finds_the_same(tmp_path: Path, tinylm: str, text: str, dtype: str) -> None:
    def sums(device: str) -> dict[str, np.ndarray]:
        to = str(tmp_path / "x.gguf")
        spec = CalibrationSpec(
            source=tinylm, texts=(text,), to=to, context=64, chunks=CHUNKS, compute_dtype=dtype, device=device
        )
        return {name: entry.sums for name, entry in calibrate(spec, CalibrationLog()).imatrix.entries.items()}

    on_cpu, on_gpu = sums("cpu"), sums("cuda")
    for name, wanted in on_cpu.items():
        deviations = np.abs(on_gpu[name] - wanted) / wanted
        assert deviations.max() < (1e-4 if dtype == "float32" else 0.02), name


def test_the_command(tmp_path: Path, tinylm: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    to = str(tmp_path / "found.dat")
    arguments = ["calibrate", tinylm, "--text", text, "--to", to, "--context", "64", "--chunks", "4"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "28 entries from 4 chunks of 64 tokens; perplexity" in out
    assert "layer 4 of 4" in err
    assert main(["imatrix", "show", to]) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"to": "found.txt"}, "ends in .gguf or .dat"),
        ({"context": 1}, "wanted 2 tokens or more"),
        ({"compute_dtype": "float8"}, "compute dtype"),
        ({"device": "tpu"}, "device: wanted one of auto, cpu, cuda"),
        ({"device": "cuda", "workers": 2}, "the workers of a cluster compute on CPUs"),
        ({"texts": ("none.txt",)}, "none.txt"),
        ({"context": 1 << 20}, "two contexts"),
        ({"source": "{tinylm}/x.gguf"}, "x.gguf"),
    ],
    ids=str,
)
def test_refusals(tmp_path: Path, tinylm: str, text: str, change: dict[str, object], words: str) -> None:
    asked: dict[str, object] = {"source": tinylm, "texts": (text,), "to": str(tmp_path / "a.gguf")}
    asked |= {key: value.format(tinylm=tinylm) if isinstance(value, str) else value for key, value in change.items()}
    with pytest.raises(InputError, match=words):
        calibrate(CalibrationSpec(**asked), CalibrationLog())  # type: ignore[arg-type]
    assert not list(tmp_path.glob("*.gguf"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("roberta_classifier", "is an encoder"),
        ("bert_classifier", "is an encoder"),
        ("ernie45_fused", "not by names that it knows"),
        ("kimi_k2", "no model of the type 'kimi_k2'"),
    ],
)
def test_models_that_cannot_be_run(tmp_path: Path, text: str, name: str, words: str) -> None:
    spec = CalibrationSpec(
        source=str(write_checkpoint(name, tmp_path)),
        texts=(text,),
        to=str(tmp_path / "a.gguf"),
        context=32,
        chunks=2,
        pre_tokenizer=conversion(name).pre_tokenizer,
    )
    with pytest.raises(InputError, match=words):
        calibrate(spec, CalibrationLog())


def test_weights_that_are_not_finite_name_the_layer(tmp_path: Path, tinylm: str, text: str) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tinylm, broken)
    shard = broken / "model-00001-of-00002.safetensors"
    data = bytearray(shard.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    at = start + (len(data) - start) // 2
    data[at : at + 4096] = b"\xff\x7f" * 2048
    shard.write_bytes(data)
    with pytest.raises(InputError, match=r"layer [0-9]: the output of chunk 0 is not finite"):
        _made(str(broken), text, tmp_path / "a.gguf")


def test_sums_do_not_drift() -> None:
    """A long sum of small squares beside large ones, against double precision."""
    rows = torch.randn(100_000, 8, generator=torch.Generator().manual_seed(1))
    rows[0] = 1e4
    wanted = rows.double().square().sum(dim=0)
    assert ((sum_of_squares(rows) - wanted).abs() / wanted).max() < 1e-6


def test_hidden_states_spill_and_come_back() -> None:
    states = [torch.full((2, 3), number, dtype=torch.bfloat16) for number in range(5)]
    with HiddenStates(memory_bytes=2 * states[0].nbytes) as hidden:
        for number, held in enumerate(states):
            hidden.put(number, held)
        hidden.put(4, states[4] + 1)
        assert all(torch.equal(hidden.get(number), states[number]) for number in range(4))
        assert torch.equal(hidden.get(4), states[4] + 1)

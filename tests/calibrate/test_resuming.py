"""A calibration that was stopped goes on after its last finished layer; state of another one is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ggufactory.calibrate import streamed_pass
from ggufactory.calibrate.activations import Sums
from ggufactory.calibrate.collected import Collected
from ggufactory.calibrate.share_state import ShareState
from ggufactory.calibrate.streamed_model import StreamedModel
from ggufactory.calibrate.unfinished import STATE_FOLDER
from ggufactory.checkpoint import open_checkpoint
from ggufactory.errors import GpuFailedError, InputError, UnavailableError
from ggufactory.job import calibration_job
from ggufactory.job.calibration_job import calibrate
from ggufactory.job.calibration_spec import CalibrationSpec
from ggufactory.storage import open_store
from weed import Weed

LAYERS = 4


class _Killed(BaseException):
    pass


@dataclass
class _Watcher:
    """Ends the run when so many steps are done."""

    killed_at: int | None = None
    planned_as: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def planned(self, how: str) -> None:
        self.planned_as.append(how)

    def advanced(self, done: int, total: int) -> None:
        self.steps.append(done)
        if done == self.killed_at:
            raise _Killed

    def layer_done(self, done: int, layers: int) -> None: ...

    def share_done(self, done: int, shares: int) -> None: ...

    def tick(self) -> None: ...

    def warn(self, message: str) -> None: ...


def _spec(tinylm: str, to: str, **other: Any) -> CalibrationSpec:
    """Two groups of 32 chunks."""
    fields = {"texts": (f"{tinylm}/calibration.txt",), "context": 64, "chunks": 40} | other
    return CalibrationSpec(**{"source": tinylm, "to": to, **fields})


@pytest.fixture
def layers_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parameters that are loaded from here on."""
    found: list[str] = []
    original = StreamedModel._load_parameter

    def load(model: StreamedModel, names: list[str]) -> None:
        found.extend(names)
        original(model, names)

    monkeypatch.setattr(StreamedModel, "_load_parameter", load)
    return found


@pytest.fixture(scope="module")
def whole(tinylm: str, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    to = tmp_path_factory.mktemp("whole") / "a.gguf"
    calibrate(_spec(tinylm, str(to)), _Watcher())
    return to.read_bytes()


@pytest.mark.parametrize("killed_at", [0, 1, 4, 5, 7, 8, 9, 10])
def test_stopped_anywhere(killed_at: int, tinylm: str, tmp_path: Path, whole: bytes, layers_read: list[str]) -> None:
    """Of ten steps: two groups through four layers and the head."""
    to = tmp_path / "a.gguf"
    with pytest.raises(_Killed):
        calibrate(_spec(tinylm, str(to)), _Watcher(killed_at))
    assert not to.exists()
    layers_read.clear()
    watcher = _Watcher()
    made = calibrate(_spec(tinylm, str(to)), watcher)
    assert to.read_bytes() == whole
    # The step that was just done may be the last of its layer, whose sums are then not written yet.
    finished = min((killed_at - 1) // 2 if killed_at else 0, LAYERS)
    assert watcher.steps[0] == 2 * finished
    again = {name.split("layers.")[1].split(".")[0] if "layers." in name else name for name in layers_read}
    outside = {"model.norm.weight", "lm_head.weight", *(() if finished else ("model.embed_tokens.weight",))}
    assert again == {str(layer) for layer in range(finished, LAYERS)} | outside
    assert made.bytes_read == sum(open_checkpoint(tinylm).tensors[name].nbytes for name in layers_read)
    assert open_store(str(tmp_path)).list() == open_store(str(tmp_path)).list("a.gguf"), "state is left"


def test_nothing_is_read_again_when_only_the_file_is_missing(
    tinylm: str, tmp_path: Path, whole: bytes, layers_read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "a.gguf"

    def full(uri: str, file: object) -> None:
        raise _Killed

    with monkeypatch.context() as broken:
        broken.setattr(calibration_job, "write_imatrix", full)
        with pytest.raises(_Killed):
            calibrate(_spec(tinylm, str(to)), _Watcher())
    layers_read.clear()
    calibrate(_spec(tinylm, str(to)), _Watcher())
    assert to.read_bytes() == whole
    assert layers_read == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"texts": ()}, "another text"),
        ({"chunks": 33}, "another number of chunks and text"),
        ({"compute_dtype": "bfloat16"}, "another compute dtype"),
        ({"source": ""}, "another model"),
    ],
    ids=["text", "chunks", "dtype", "model"],
)
def test_state_of_another_calibration(change: dict[str, Any], words: str, tinylm: str, tmp_path: Path) -> None:
    other = dict(change)
    if "texts" in change:
        other["texts"] = (f"{tinylm}/evaluation.txt",)
    if "source" in change:
        other["source"] = str(shutil.copytree(tinylm, tmp_path / "copy"))
    to = str(tmp_path / "out" / "a.gguf")
    with pytest.raises(_Killed):
        calibrate(_spec(tinylm, to), _Watcher(3))
    with pytest.raises(InputError, match=words) as refused:
        calibrate(_spec(tinylm, to, **other), _Watcher())
    assert "--restart" in str(refused.value)
    with pytest.raises(_Killed):
        calibrate(_spec(tinylm, to, restart=True, **other), _Watcher(3))
    # Now it is the first one that is refused; and another name is nobody's.
    with pytest.raises(InputError, match="unfinished calibration"):
        calibrate(_spec(tinylm, to), _Watcher())
    with pytest.raises(_Killed):
        calibrate(_spec(tinylm, to.replace("a.gguf", "b.gguf")), _Watcher(1))


def test_damaged_state_is_refused_and_dropped_on_request(tinylm: str, tmp_path: Path, whole: bytes) -> None:
    to = tmp_path / "a.gguf"
    with pytest.raises(_Killed):
        calibrate(_spec(tinylm, str(to)), _Watcher(5))
    (sums,) = (tmp_path / STATE_FOLDER).rglob("sums-0002")
    sums.write_bytes(sums.read_bytes()[:-1] + b"!")
    with pytest.raises(InputError, match=r"sums-0002 is damaged.*--restart"):
        calibrate(_spec(tinylm, str(to)), _Watcher())
    calibrate(_spec(tinylm, str(to), restart=True), _Watcher())
    assert to.read_bytes() == whole


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_do_not_show(
    threads: int, tinylm: str, tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    to = tmp_path / "a.gguf"
    calibrate(_spec(tinylm, str(to), hidden_bytes=1 << 20), _Watcher())
    assert to.read_bytes() == whole


def _too_large(*_: object) -> None:
    torch.empty(1 << 60, dtype=torch.uint8)


def _gpu_fails(*_: object) -> None:
    raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nand more")


@pytest.mark.parametrize(
    ("fails", "error", "told"),
    [
        (_too_large, UnavailableError, r"not enough memory.*--hidden-memory"),
        (_gpu_fails, GpuFailedError, r"^device cuda: CUDA error: an illegal memory access was encountered\. The same"),
    ],
    ids=["memory", "GPU"],
)
def test_memory_and_gpus_that_cannot_be_had(
    tinylm: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: bytes,
    fails: Callable[..., None],
    error: type[Exception],
    told: str,
) -> None:
    to = tmp_path / "a.gguf"
    with monkeypatch.context() as failing:
        failing.setattr(streamed_pass, "through_head", fails)
        with pytest.raises(error, match=told):
            calibrate(_spec(tinylm, str(to)), _Watcher())
    calibrate(_spec(tinylm, str(to)), _Watcher())
    assert to.read_bytes() == whole


def test_further_chunks_add_up(tinylm: str) -> None:
    """The sums of chunks taken in two runs are those of one, whichever is added to which."""
    spec = _spec(tinylm, "unused.gguf")
    model = StreamedModel(open_checkpoint(tinylm), torch.float32)
    chunks = np.random.default_rng(1).integers(3, 2000, (40, spec.context), np.int32)

    def collect(first: int, end: int, state: ShareState) -> Collected:
        return streamed_pass.run(model, chunks[first:end], hidden_bytes=1 << 30, state=state, first_chunk=first)

    class Nothing(ShareState):
        def finished(self, layers: int, groups: int) -> int:
            return 0

        def keep(self, layer: int, group: int, states: torch.Tensor) -> None: ...

        def finish(self, layer: int, groups: int, sums: Collected) -> None: ...

    nothing = Nothing("unused", "unused")
    at_once, first, then = collect(0, 40, nothing), collect(0, 32, nothing), collect(32, 40, nothing)
    then.add(first)
    assert then.perplexity == at_once.perplexity
    for name, sums in at_once.parameters.items():
        assert np.array_equal(then.parameters[name].sums, sums.sums), name
        assert np.array_equal(then.parameters[name].counts, sums.counts), name


def test_workers_of_a_killed_run_that_finish_another_layer(
    tinylm: str, tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They remove what is being read, and leave something later."""
    spec = _spec(tinylm, str(tmp_path / "a.gguf"))
    with pytest.raises(_Killed):
        calibrate(spec, _Watcher(5))
    read, others = ShareState._read, [_Watcher(9)]

    def read_late(self: ShareState, name: str) -> Any:
        if name.startswith("hidden-0002/") and others:
            with pytest.raises(_Killed):
                calibrate(spec, others.pop())
        return read(self, name)

    monkeypatch.setattr(ShareState, "_read", read_late)
    watcher = _Watcher()
    calibrate(spec, watcher)
    assert watcher.steps[0] == 8
    assert (tmp_path / "a.gguf").read_bytes() == whole


def test_state_that_somebody_removes(tinylm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = _spec(tinylm, str(tmp_path / "a.gguf"))
    with pytest.raises(_Killed):
        calibrate(spec, _Watcher(5))
    read = ShareState._read

    def read_late(self: ShareState, name: str) -> Any:
        shutil.rmtree(tmp_path / STATE_FOLDER)
        return read(self, name)

    monkeypatch.setattr(ShareState, "_read", read_late)
    with pytest.raises(InputError, match=r"hidden-0002/00000 was removed\. Start again"):
        calibrate(spec, _Watcher())


@pytest.mark.s3
def test_stopped_on_s3(s3: Weed, s3_prefix: str, tinylm: str, whole: bytes) -> None:
    to = f"{s3_prefix}/a.gguf"
    with pytest.raises(_Killed):
        calibrate(_spec(tinylm, to), _Watcher(5))
    watcher = _Watcher()
    calibrate(_spec(tinylm, to), watcher)
    assert watcher.steps[0] == 4
    store = open_store(s3_prefix)
    found = store.read("a.gguf", limit=1 << 20)
    assert found is not None
    assert found[0] == whole
    assert [info.name for info in store.list()] == ["a.gguf"]


def test_latent_sums_come_back(tmp_path: Path) -> None:
    """What no bundled model has: latent attention."""
    state = ShareState(str(tmp_path), "x")
    sums = Sums(np.array([[1.5, 2.5]]), np.array([7]))
    state.keep(1, 0, torch.ones(2, 3, 4, dtype=torch.bfloat16))
    state.finish(1, 1, Collected({"a b": sums}, {0: (sums, sums)}, [0.5], 3))
    assert state.finished(5, 1) == 1
    found = state.collected(1)
    assert found.parameters["a b"].sums.tolist() == [[1.5, 2.5]]
    assert [half.counts.tolist() for half in found.latent[0]] == [[7], [7]]
    assert (found.likelihoods, found.predicted) == ([0.5], 3)
    assert torch.equal(state.states(1, 0, (2, 3, 4), torch.bfloat16), torch.ones(2, 3, 4, dtype=torch.bfloat16))
    with pytest.raises(InputError, match="another calibration"):
        state.states(1, 0, (2, 3, 5), torch.bfloat16)

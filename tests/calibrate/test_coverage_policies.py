"""Coverage policies as `calibrate` applies them, on small mixtures; and the ladders that they make possible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converted_rows import DATA, conversion
from ggufactory.calibrate.coverage import Coverage
from ggufactory.calibrate.imatrix_file import read_imatrix_file
from ggufactory.calibrate.record import record_of
from ggufactory.calibrate.sums import ActivationSums
from ggufactory.cli import main
from ggufactory.errors import InputError
from ggufactory.job import ladder_job
from ggufactory.job.calibration_job import Calibrated, calibrate
from ggufactory.job.calibration_spec import CalibrationSpec
from ggufactory.job.job_spec import JobSpec
from small_checkpoints import write_checkpoint

MIXTURE, NEXTN = "qwen3_moe", "glm45_mtp"


class _Heard:
    """A watcher that keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def planned(self, how: str) -> None: ...

    def advanced(self, done: int, total: int) -> None: ...

    def layer_done(self, done: int, layers: int) -> None: ...

    def share_done(self, done: int, shares: int) -> None: ...

    def tick(self) -> None: ...

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def _calibrated(
    source: str, name: str, to: Path, tinylm: str, heard: _Heard | None = None, **asked: object
) -> Calibrated:
    spec: dict[str, object] = {"texts": (f"{tinylm}/evaluation.txt",), "context": 32, "chunks": 2, **asked}
    pre = conversion(name).pre_tokenizer
    made = CalibrationSpec(source=source, to=str(to / "a.gguf"), pre_tokenizer=pre, **spec)  # type: ignore[arg-type]
    return calibrate(made, heard or _Heard())


def _mixture(to: Path, tinylm: str, heard: _Heard | None = None, **asked: object) -> Calibrated:
    return _calibrated(str(DATA / MIXTURE / "checkpoint"), MIXTURE, to, tinylm, heard, **asked)


def _experts(entries: dict[str, ActivationSums]) -> dict[str, ActivationSums]:
    return {name: sums for name, sums in entries.items() if len(sums.counts) > 1}


def test_prior_fills_thin_experts_and_leaves_the_rest(tmp_path: Path, tinylm: str) -> None:
    plain = _mixture(tmp_path, tinylm)
    filled = _mixture(tmp_path, tinylm, coverage=Coverage(policy="prior", tokens=40))
    thin = filled.record.thin
    assert thin
    for name, before in plain.imatrix.entries.items():
        after = filled.imatrix.entries[name]
        for expert, count in enumerate(before.counts):
            if expert in thin.get(name, {}):
                assert (thin[name][expert], after.counts[expert]) == (count, 40)
                assert (after.sums[expert] >= before.sums[expert]).all()
            else:
                assert after.counts[expert] == count
                assert np.array_equal(after.sums[expert], before.sums[expert])
    read = read_imatrix_file(str(tmp_path / "a.gguf")).content
    assert record_of(read) == filled.record


def test_more_chunks_until_every_expert_has_enough(tmp_path: Path, tinylm: str) -> None:
    heard = _Heard()
    made = _mixture(tmp_path, tinylm, heard, coverage=Coverage(policy="more", tokens=40))
    assert made.imatrix.chunk_count in (4, 8, 16, 32, 64)
    assert min(int(sums.counts.min()) for sums in _experts(dict(made.imatrix.entries)).values()) >= 40
    assert made.record.thin == {}
    assert all("on to" in told for told in heard.warnings)
    assert len(heard.warnings) == np.log2(made.imatrix.chunk_count) - 1


def test_more_that_the_text_does_not_have_is_said(tmp_path: Path, tinylm: str) -> None:
    heard = _Heard()
    asked = Coverage(policy="more", tokens=10_000, most_chunks=5)
    made = _mixture(tmp_path, tinylm, heard, coverage=asked)
    assert made.imatrix.chunk_count == 5
    assert "there are no further chunks" in heard.warnings[-1]
    assert made.record.thin
    with pytest.raises(InputError, match="1 chunks at most, of 2 to begin with"):
        _mixture(tmp_path, tinylm, coverage=Coverage(policy="more", most_chunks=1))


def test_the_command_shows_thin_experts(tmp_path: Path, tinylm: str, capsys: pytest.CaptureFixture[str]) -> None:
    source, to = str(DATA / MIXTURE / "checkpoint"), str(tmp_path / "a.gguf")
    flags = ["--context", "32", "--chunks", "2", "--coverage", "prior", "--coverage-tokens", "40"]
    pre = conversion(MIXTURE).pre_tokenizer
    flags += ["--pre", pre] if pre else []
    assert main(["calibrate", source, "--text", f"{tinylm}/evaluation.txt", "--to", to, *flags]) == 0
    said = capsys.readouterr().out
    assert "tokens that reached each expert" in said
    assert "saw fewer than 40 tokens; the activations of the layer's other experts stand in" in said
    assert main(["imatrix", "show", to]) == 0
    shown = capsys.readouterr().out
    assert "saw fewer than 40 tokens; the activations of the layer's other experts stand in" in shown
    table = said[said.index("tokens that reached") :]
    assert table.splitlines()[2] in shown, "the tokens that really reached them, not those that stand in"


@pytest.mark.parametrize("policy", ["ones", "prior"])
def test_layers_that_never_ran_do_not_stop_a_ladder(policy: str, tmp_path: Path, tinylm: str) -> None:
    source = str(write_checkpoint(NEXTN, tmp_path))
    made = _calibrated(source, NEXTN, tmp_path, tinylm, coverage=Coverage(policy=policy))
    layers = {name.split(".")[1] for name in made.record.unreached}
    assert layers == {"2"}
    plan = ladder_job.make_plan(
        JobSpec(
            source=source,
            ladder=("IQ2_XS", "Q4_K_M"),
            imatrix=(str(tmp_path / "a.gguf"),),
            pre_tokenizer=conversion(NEXTN).pre_tokenizer,
        )
    )
    told = [note for note in plan.notes if "layers that never ran" in note]
    assert len(told) == (1 if policy == "ones" else 2)

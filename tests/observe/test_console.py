"""What is printed for people: text as it is, on a terminal and in a pipe."""

from __future__ import annotations

import io
import struct

import pytest
from rich.console import Console

from ggufactory.container.metadata import KeyValue, ValueType
from ggufactory.errors import InputError
from ggufactory.evaluate.divergence import Quality
from ggufactory.job.evaluation_job import Evaluated
from ggufactory.job.inspection import GgufSummary
from ggufactory.job.job_plan import make_plan
from ggufactory.job.job_spec import JobSpec
from ggufactory.observe.console import stdout_console, tell
from ggufactory.observe.log_watcher import LogWatcher
from ggufactory.observe.numbers import counted
from ggufactory.observe.quality_table import print_quality
from ggufactory.observe.tables import plain_table, print_inspection, print_verdict
from ggufactory.observe.terminal_watcher import TerminalWatcher
from ggufactory.plan.options import Options
from ggufactory.publish.verify import Verdict


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def no_colour_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.usefixtures("no_colour_settings")
def test_a_pipe_gets_whole_lines_without_padding_and_without_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console = stdout_console()
    table = plain_table("rung", "types")
    table.add_row("Q8_0", "Q8_0 1, " * 40)
    table.add_row("[/x]", "[b]")
    console.print(table)
    console.print("word " * 400 + "end")
    tell(console, "note", "yellow", "blk.[0-3].attn_v.weight and [/red]")
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "rung  types",
        "Q8_0  " + ("Q8_0 1, " * 40).rstrip(),
        "[/x]  [b]",
        "word " * 400 + "end",
        "note: blk.[0-3].attn_v.weight and [/red]",
    ]


@pytest.mark.usefixtures("no_colour_settings")
@pytest.mark.parametrize(("no_color", "shown"), [(None, "\x1b[31mFAILED"), ("1", "FAILED")])
def test_a_terminal_gets_colours_unless_it_wants_none(
    monkeypatch: pytest.MonkeyPatch, no_color: str | None, shown: str
) -> None:
    if no_color:
        monkeypatch.setenv("NO_COLOR", no_color)
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    print_verdict(stdout_console(), Verdict("a[/b]-Q8_0.gguf", "Q8_0", 5, "is missing"))
    assert f"a[/b]-Q8_0.gguf  5 B  {shown}" in terminal.getvalue()
    assert ("\x1b[3" in terminal.getvalue()) == (no_color is None)


def test_numbers_of_single_precision_have_the_digits_that_they_are_written_with(
    capsys: pytest.CaptureFixture[str],
) -> None:
    metadata = (
        KeyValue("epsilon", ValueType.FLOAT32, struct.unpack("<f", struct.pack("<f", 1e-5))[0]),
        KeyValue("scores", ValueType.ARRAY, (struct.unpack("<f", struct.pack("<f", 0.1))[0], 2.0), ValueType.FLOAT32),
        KeyValue("tokens", ValueType.ARRAY, ("a", "b", "c", "d", "e"), ValueType.STRING),
    )
    print_inspection(stdout_console(), GgufSummary("m.gguf", 1, 1, metadata, 1, 1, ()))
    said = capsys.readouterr().out
    assert "epsilon  FLOAT32  1e-05\n" in said
    assert "2 x FLOAT32: 0.1, 2.0\n" in said
    assert "5 x STRING: 'a', 'b', 'c', 'd' …\n" in said


def test_a_log_has_a_line_for_each_event_whatever_a_message_holds(capsys: pytest.CaptureFixture[str]) -> None:
    LogWatcher().span_failed('span "0"', InputError("2 faults:\n  - one\n  - two"))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(r'failed task="span \"0\"" error="2 faults:\n  - one\n  - two"')


@pytest.mark.parametrize(("count", "told"), [(0, "0 parts"), (1, "1 part"), (1234, "1,234 parts")])
def test_counts(count: int, told: str) -> None:
    assert counted(count, "part") == told


def test_a_table_of_qualities_has_whole_numbers_on_a_narrow_terminal() -> None:
    figures = (138.8943, 11.7897, 138.9229, 0.243241, 0.0001, 0.177469, 1.30264, 12.00553, 20.1, 0.6265, 0.0602)
    rungs = {"Q8_0": Quality(*figures), "IQ3_XXS": Quality(*figures)}
    for width, shown in ((80, "99.9 %"), (120, "median")):
        out = io.StringIO()
        sizes = {"Q8_0": 134_370_000_000, "IQ3_XXS": 999_990_000_000}
        print_quality(Console(file=out, width=width), Evaluated(rungs, sizes, 38))
        heading, *lines, _ = out.getvalue().splitlines()
        assert shown in heading
        assert len(lines) == len(rungs), "no cell is folded"
        assert "±" in lines[0]


def test_notes_of_a_plan_are_no_warnings(capsys: pytest.CaptureFixture[str], tinylm: str) -> None:
    spec = JobSpec(source=tinylm, ladder=("Q8_0",), options=Options(tensor_types=(("nothing", "Q8_0"),)))
    plan = make_plan(spec)
    LogWatcher().planned(plan, 8)
    TerminalWatcher().planned(plan, 8)
    said = capsys.readouterr().err
    assert 'note="nothing=Q8_0 is the type of no tensor' in said
    assert "note: nothing=Q8_0 is the type of no tensor" in said
    assert "warning" not in said

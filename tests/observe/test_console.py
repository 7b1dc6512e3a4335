"""What is printed for people: text as it is, on a terminal and in a pipe."""

from __future__ import annotations

import io
import struct

import pytest

from ggufactory.container.metadata import KeyValue, ValueType
from ggufactory.errors import InputError
from ggufactory.job.inspection import GgufSummary
from ggufactory.observe.console import stdout_console, tell
from ggufactory.observe.log_watcher import LogWatcher
from ggufactory.observe.numbers import counted
from ggufactory.observe.tables import plain_table, print_inspection, print_verdict
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

"""What `--help` shows, and what the pages and the help itself show of the commands."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from ggufactory.cli import main
from ggufactory.cli.commands import make_parser
from ggufactory.job.job_file import _CALIBRATION_FIELDS, _EVALUATION_FIELDS, _JOB_FIELDS, _OPTION_FIELDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "ops" / "runbook").glob("*.md"))


def commands(parser: argparse.ArgumentParser, name: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The names of all commands, of those in commands too."""
    yield name
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub, its_parser in action.choices.items():
                yield from commands(its_parser, (*name, sub))


def parser_of(command: tuple[str, ...]) -> argparse.ArgumentParser:
    parser = make_parser()
    for name in command:
        subs = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        parser = subs.choices[name]
    return parser


def given(text: str) -> list[list[str]]:
    """The words of the commands that a page or a help text gives to be run, each on lines of its own."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = re.findall(r"^ *(?:\$ )?ggufactory ([a-z].*?)(?: &| \| .*)?$", joined, re.MULTILINE)
    found = [shlex.split(line, comments=True) for line in lines]
    return [words for words in found if words[0] in NAMES and "…" not in words]


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the parser says against a command; empty when it takes it."""
    try:
        make_parser().parse_args(words)
    except SystemExit:
        return capsys.readouterr().err
    return ""


NAMES = {command[0] for command in commands(make_parser()) if command}


@pytest.mark.parametrize("command", list(commands(make_parser())), ids=" ".join)
def test_help_fits_into_eighty_columns(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if len(line) > 80] == []
    assert "exit codes:\n  0         done" in said
    assert not re.search(r" --[\w-]*-$", said, re.MULTILINE), "no flag is torn"
    examples = given(said.partition("\npositional arguments:")[0].partition("\n\n")[2])
    assert [told for example in examples if (told := refused(example, capsys))] == []


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in sorted(NAMES) if f"ggufactory {name}" not in readme] == []


def test_every_flag_and_every_field_of_a_job_is_on_a_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    flags = {flag for command in commands(make_parser()) for flag in parser_of(command)._option_string_actions}
    assert [flag for flag in sorted(flags) if flag.startswith("--") and not re.search(rf"{flag}\b", text)] == []
    fields = {*_JOB_FIELDS, *_OPTION_FIELDS, *_CALIBRATION_FIELDS, *_EVALUATION_FIELDS}
    assert [field for field in sorted(fields) if not re.search(rf"\b{field}\b", text)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_the_pages_can_be_given(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = page.read_text(encoding="utf-8")
    assert [told for words in given(text) if (told := refused(words, capsys))] == []
    for span in re.findall(r"`ggufactory ([a-z][^`\n]+)`", text):
        words = span.split()
        command = tuple(words[: 2 if words[0] == "imatrix" else 1])
        flags = parser_of(command)._option_string_actions
        assert {word for word in words if word.startswith("--")} <= {*flags, "--help"}, span


@pytest.mark.parametrize(
    ("given_words", "told"),
    [
        ([], "ggufactory: the following arguments are required: COMMAND"),
        (["quantise"], "invalid choice: 'quantise'"),
        (["quantize", "m", "--grace", "abc"], "--grace: wanted 0 to 86400, found 'abc'"),
        (["plan", "m", "--laddr", "Q8_0"], "unrecognized arguments: --laddr"),
    ],
)
def test_what_cannot_be_parsed_is_told_in_a_line(
    given_words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(given_words)
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert line.endswith("--help` says what there is")

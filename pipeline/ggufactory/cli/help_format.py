"""The help of commands, in the width of the terminal, and their errors, in a line."""

from __future__ import annotations

import argparse
import sys
import textwrap
from typing import NoReturn


class HelpFormatter(argparse.HelpFormatter):
    """Wraps the paragraphs of descriptions; what is indented stays as it is written: examples, tables, files."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(self._block(block, width, indent) for block in text.strip("\n").split("\n\n"))

    @staticmethod
    def _block(block: str, width: int, indent: str) -> str:
        wrapped: list[str] = []
        paragraph: list[str] = []
        for line in (*block.splitlines(), ""):
            if line and not line.startswith(" "):
                paragraph.append(line)
                continue
            if paragraph:
                # A flag at the end of a line is not to be torn at its hyphens.
                filled = textwrap.fill(" ".join(paragraph), width, break_on_hyphens=False, break_long_words=False)
                wrapped.append(textwrap.indent(filled, indent))
                paragraph = []
            if line:
                wrapped.append(indent + line)
        return "\n".join(wrapped)


class CommandParser(argparse.ArgumentParser):
    """An error is one line, as every other of ours: the usage of a command with forty flags would hide it."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}. `{self.prog} --help` says what there is", file=sys.stderr)
        sys.exit(2)

"""The commands, a file each: parse, call, map errors to exit codes."""

from ggufactory.cli.commands import main

__all__ = ["main"]

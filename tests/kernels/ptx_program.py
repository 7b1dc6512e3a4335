"""A kernel's PTX, read: its instructions in pieces that lanes run through together, and what it declares."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MEETINGS = ("shfl", "vote", "bar")
"""Instructions that all lanes of a warp come to together."""
_DECLARATION = re.compile(
    r"\.(global|const|local|shared|param)\s+\.align (\d+) \.([bu]\d+)\s+(\S+?)(?:\[(\d+)\])?(?:\s*=\s*(.*?))?;"
)


@dataclass(frozen=True, slots=True)
class Instruction:
    """`@guard name operands`; the guard begins with ! where it is negated.

    A `mov` that puts registers together to a wider one is a `pack`, the contrary an `unpack`: they cost something."""

    name: str
    operands: tuple[str, ...]
    guard: str | None = None


@dataclass(slots=True)
class Piece:
    """Instructions that the same lanes execute: one way in, one way out."""

    instructions: list[Instruction] = field(default_factory=list)

    @property
    def last(self) -> str:
        """The kind of the last one."""
        return self.instructions[-1].name.split(".")[0] if self.instructions else ""


@dataclass(frozen=True, slots=True)
class Variable:
    """What lies in memory under a name."""

    space: str
    type: str
    name: str
    count: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """A kernel's PTX: its pieces in order, where labels are, and what it declares."""

    pieces: tuple[Piece, ...]
    labels: dict[str, int]
    declared: tuple[Variable, ...]


def parse(text: str) -> Program:
    """Of one kernel that calls no functions."""
    text = re.sub(r"//[^\n]*", "", text)
    declared = tuple(
        Variable(space, type_, name, int(count or 1), tuple(int(value, 0) for value in re.findall(r"[-\w]+", values)))
        for space, _, type_, name, count, values in _DECLARATION.findall(text)
    )
    body = text[text.index("{", text.index(".maxntid")) + 1 : text.rindex("}")]
    pieces, labels = [Piece()], {}
    for line in re.sub(r"^\s*\.(?:reg|local|shared)[^;]*;", "", body, flags=re.MULTILINE).splitlines():
        line = line.strip().rstrip(";")
        if line.endswith(":"):
            if pieces[-1].instructions:
                pieces.append(Piece())
            labels[line[:-1]] = len(pieces) - 1
        elif line and line not in "{}" and not line.startswith("."):
            instruction = _instruction(line)
            meets = instruction.name.startswith(MEETINGS)
            if meets and pieces[-1].instructions:
                pieces.append(Piece())
            pieces[-1].instructions.append(instruction)
            if meets or instruction.name.startswith(("bra", "ret")):
                pieces.append(Piece())
    return Program(tuple(pieces), labels, declared)


def _instruction(line: str) -> Instruction:
    guard = None
    if line.startswith("@"):
        guard, line = line[1:].split(None, 1)
    name, _, rest = line.partition("\t") if "\t" in line else line.partition(" ")
    operands = tuple(re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^\s,]+", rest))
    name = name.strip()
    if name.startswith("mov.") and "{" in rest:
        name = name.replace("mov", "unpack" if operands[0].startswith("{") else "pack")
    return Instruction(name, operands, guard)

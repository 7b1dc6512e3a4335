"""Runs the PTX that NVRTC makes of a kernel, warp by warp and instruction by instruction, and counts.

It proves what the emulation by the host's compiler cannot: that the code for the GPU, its shuffles and its memory
spaces included, gives the bytes. And it counts what a warp executes on real weights, with what its lanes do
one after another because they have gone different ways. Lanes run at the lowest place in the code where any is, which
brings them together again wherever compiled code does.
"""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import ptx_operations as ptx
from ptx_operations import Lanes, Operation, Where
from ptx_program import MEETINGS, Instruction, Piece, Program, Variable, parse

from ggufactory_kernels.cuda.compiler import compile_kernel
from ggufactory_kernels.cuda.kernels import THREADS, Kernel
from ggufactory_kernels.cuda.launch import Launch

WARP = 32
_END = 1 << 30
_REGISTERS = {"p": np.bool_, "rs": np.uint16, "r": np.uint32, "f": np.uint32, "rd": np.uint64}


class Warp:
    """32 lanes of a program: registers, and where in the code each is."""

    def __init__(self, program: Program, addresses: dict[str, Lanes], first_thread: int, block: int) -> None:
        self._program, self._addresses = program, addresses
        self._special = {
            "%tid.x": np.arange(first_thread, first_thread + WARP, dtype=np.uint32),
            "%ctaid.x": np.full(WARP, block, np.uint32),
        }
        self._registers: dict[str, Lanes] = {}
        self._operations = [[self._bind(i) for i in piece.instructions] for piece in program.pieces]
        self._times = [0] * len(program.pieces)

    def run(self) -> Iterator[None]:
        """To the end; stops wherever the thread block's warps meet."""
        at = np.zeros(WARP, np.int64)
        waits = np.zeros(WARP, np.bool_)
        while (alive := at < _END).any():
            ready = alive & ~waits
            assert ready.any(), "lanes wait for each other in different places"
            number = int(at[ready].min())
            here = ready & (at == number)
            piece = self._program.pieces[number]
            if piece.last in MEETINGS:
                if not np.array_equal(at == number, alive):
                    waits |= here
                    continue
                waits[:] = False
                here = alive
                if piece.instructions[-1].name == "bar.sync":
                    yield
            where: Where = True if here.all() else here
            for operation in self._operations[number]:
                operation(where)
            self._times[number] += 1
            self._go_on(piece, number, here, at)

    def executed(self) -> Counter[str]:
        """How often the warp executed each kind of instruction."""
        total: Counter[str] = Counter()
        for piece, times in zip(self._program.pieces, self._times, strict=True):
            for instruction in piece.instructions:
                total[instruction.name] += times
        return total

    def _go_on(self, piece: Piece, number: int, here: Lanes, at: Lanes) -> None:
        last = piece.instructions[-1] if piece.instructions else None
        if last is not None and piece.last == "ret":
            at[here] = _END
        elif last is not None and piece.last == "bra":
            goes = here & self._guard(last)
            at[here] = number + 1
            at[goes] = self._program.labels[last.operands[0]]
        else:
            at[here] = number + 1

    def _guard(self, instruction: Instruction) -> Any:
        if instruction.guard is None:
            return True
        condition = self._register(instruction.guard.removeprefix("!"))
        return ~condition if instruction.guard.startswith("!") else condition

    def _register(self, name: str) -> Lanes:
        if name not in self._registers:
            kind = re.match(r"%([a-z]+)\d+$", name)
            type_ = np.uint64 if name in ("%SP", "%SPL") else _REGISTERS[kind[1]] if kind else None
            assert type_ is not None, name
            self._registers[name] = np.zeros(WARP, type_)
        return self._registers[name]

    def _value(self, operand: str, type_: np.dtype[Any]) -> Lanes:
        """A register, special register, variable's address or number, as 32 numbers of a type."""
        if operand in self._special:
            return self._special[operand]
        if operand.startswith("%"):
            register = self._register(operand)
            return register.view(type_) if register.dtype.itemsize == type_.itemsize else register
        if operand in self._addresses:
            return self._addresses[operand]
        if operand.startswith("0f"):
            return np.full(WARP, int(operand[2:], 16), np.uint32).view(np.float32)
        unsigned = np.full(WARP, int(operand, 0) & (1 << 8 * type_.itemsize) - 1, np.dtype(f"u{type_.itemsize}"))
        return unsigned.view(type_) if type_ != np.bool_ else unsigned.astype(np.bool_)

    def _bind(self, instruction: Instruction) -> Operation:
        parts, operands = instruction.name.split("."), instruction.operands
        kind, modifiers = parts[0], parts[1:]
        if kind in ("bra", "ret", "bar"):
            return lambda where: None
        if kind in ("ld", "st"):
            operation = self._memory_access(kind, modifiers, operands)
        elif kind == "shfl":
            operation = self._shuffle(operands)
        elif kind == "vote":
            operation = self._ballot(operands)
        elif kind == "atom":
            operation = self._least_in_memory(operands)
        elif kind in ("pack", "unpack"):
            operation = self._repacking(kind, operands)
        else:
            operation = self._arithmetic(kind, modifiers, operands)
        if instruction.guard is None:
            return operation
        return lambda where: operation(where & self._guard(instruction))

    def _arithmetic(self, kind: str, modifiers: list[str], operands: tuple[str, ...]) -> Operation:
        to = self._register(operands[0])
        type_ = ptx.TYPES[modifiers[-1]] if modifiers[-1] in ptx.TYPES else np.dtype(np.uint64)
        at = [self._value(operand, type_) for operand in operands[1:]]
        read = partial(ptx.as_type, type_=type_)
        if kind == "cvt":
            target = ptx.TYPES[modifiers[-2]]
            return lambda where: ptx.put(to, ptx.converted(read(at[0]), target, modifiers[:-2]), where)
        if kind in ptx.UNARY:
            unary = ptx.UNARY[kind]
            return lambda where: ptx.put(to, unary(read(at[0])), where)
        if kind in ptx.BINARY:
            binary = ptx.sum_rounded_down if (kind, *modifiers[:1]) == ("add", "rm") else ptx.BINARY[kind]
            return lambda where: ptx.put(to, binary(read(at[0]), read(at[1])), where)
        if kind in ("shl", "shr"):
            shift = ptx.shifted_left if kind == "shl" else ptx.shifted_right
            by = self._value(operands[2], np.dtype(np.uint32))
            return lambda where: ptx.put(to, shift(read(at[0]), by), where)
        if kind in ("mul", "mad"):
            added = self._value(operands[3], type_) if kind == "mad" else np.zeros(WARP, type_)
            if kind == "mul":
                return lambda where: ptx.put(to, ptx.product(read(at[0]), read(at[1]), modifiers), where)
            return lambda where: ptx.put(to, ptx.product(read(at[0]), read(at[1]), modifiers) + read(added), where)
        if kind == "setp":
            compare = ptx.comparison(modifiers[0], type_.kind == "f")
            return lambda where: ptx.put(to, compare(read(at[0]), read(at[1])), where)
        if kind == "selp":
            condition = self._register(operands[3])
            return lambda where: ptx.put(to, np.where(condition, read(at[0]), read(at[1])), where)
        if kind == "bfi":
            return lambda where: ptx.put(to, ptx.inserted(at[0], at[1], int(operands[3]), int(operands[4])), where)
        if kind == "prmt":
            return lambda where: ptx.put(to, ptx.permuted(at[0], at[1], int(operands[3], 0)), where)
        raise KeyError(f"{kind}.{'.'.join(modifiers)}")

    def _address(self, operand: str) -> tuple[Lanes, int]:
        base, _, offset = operand.strip("[]").partition("+")
        return self._value(base, np.dtype(np.uint64)), int(offset or 0)

    def _memory_access(self, kind: str, modifiers: list[str], operands: tuple[str, ...]) -> Operation:
        type_ = ptx.TYPES[modifiers[-1]]
        memory = ptx.MEMORY[modifiers[-1]]
        numbers, place = (operands[1], operands[0]) if kind == "st" else (operands[0], operands[1])
        registers = [self._value(name, type_) for name in re.findall(r"[^\s,{}]+", numbers)]
        base, offset = self._address(place)

        def addresses(where: Where, i: int) -> Lanes:
            wanted: Lanes = base + np.int64(offset + i * type_.itemsize).astype(np.uint64)
            return wanted if where is True else wanted[where]

        def load(where: Where) -> None:
            every = [memory.load(addresses(where, i)) for i in range(len(registers))]
            for register, loaded in zip(registers, every, strict=True):
                bits = register.view(np.dtype(f"u{register.dtype.itemsize}"))
                wide = (
                    loaded.view(bits.dtype)
                    if loaded.dtype.itemsize == bits.dtype.itemsize
                    else loaded.astype(bits.dtype)
                )
                bits[... if where is True else where] = wide

        def store(where: Where) -> None:
            for i, register in enumerate(registers):
                kept = ptx.as_type(register, type_)
                memory.store(addresses(where, i), kept if where is True else kept[where])

        return store if kind == "st" else load

    def _repacking(self, kind: str, operands: tuple[str, ...]) -> Operation:
        """Of one register from two of half its width, the first of which is its lower half; or the contrary."""
        whole, parts = operands if kind == "pack" else operands[::-1]
        wide, halves = self._register(whole), [self._register(name) for name in re.findall(r"%\w+", parts)]
        assert len(halves) == 2, operands

        def pack(where: Where) -> None:
            ptx.put(wide, np.stack(halves, axis=1).view(wide.dtype).reshape(-1), where)

        def unpack(where: Where) -> None:
            for half, part in zip(halves, wide.view(halves[0].dtype).reshape(-1, 2).T, strict=True):
                ptx.put(half, part, where)

        return pack if kind == "pack" else unpack

    def _shuffle(self, operands: tuple[str, ...]) -> Operation:
        to = self._register(operands[0].partition("|")[0])
        numbers, sources = (self._value(operand, np.dtype(np.uint32)) for operand in operands[1:3])
        return lambda where: ptx.put(to, numbers[sources & np.uint32(WARP - 1)], where)

    def _ballot(self, operands: tuple[str, ...]) -> Operation:
        to, votes = self._register(operands[0]), self._value(operands[1], np.dtype(np.bool_))

        def ballot(where: Where) -> None:
            taken = votes & where
            ptx.put(to, np.full(WARP, np.packbits(taken, bitorder="little").view(np.uint32)[0]), where)

        return ballot

    def _least_in_memory(self, operands: tuple[str, ...]) -> Operation:
        (base, offset), numbers = self._address(operands[1]), self._value(operands[2], np.dtype(np.uint64))
        memory = ptx.MEMORY["u64"]

        def least(where: Where) -> None:
            for lane in np.arange(WARP)[where if where is not True else slice(None)]:
                place = base[lane : lane + 1] + np.uint64(offset)
                memory.store(place, np.minimum(memory.load(place), numbers[lane]))

        return least


class PtxMachine:
    """Launches kernels on tensors in main memory. `executed`: how often their warps did what, by kernel."""

    def __init__(self, architecture: str = "sm_90") -> None:
        self._architecture = architecture
        self._programs: dict[str, Program] = {}
        self.executed: dict[str, Counter[str]] = {}

    def launch(self, kernel: Kernel, thread_blocks: int, arguments: Launch) -> None:
        if kernel.name not in self._programs:
            self._programs[kernel.name] = parse(compile_kernel(kernel, self._architecture).ptx)
        program = self._programs[kernel.name]
        with np.errstate(all="ignore"):
            for block in range(thread_blocks):
                self._run_block(kernel.name, program, block, arguments)

    def _run_block(self, name: str, program: Program, block: int, arguments: Launch) -> None:
        everywhere = [_Memory(declared) for declared in program.declared if declared.space != "local"]
        addresses = {memory.name: np.full(WARP, memory.address, np.uint64) for memory in everywhere}
        addresses[f"{name}_param_0"] = np.full(WARP, ctypes.addressof(arguments), np.uint64)
        own = [_Memory(declared, THREADS) for declared in program.declared if declared.space == "local"]
        warps = []
        for first in range(0, THREADS, WARP):
            threads = np.arange(first, first + WARP, dtype=np.uint64)
            local = {memory.name: np.uint64(memory.address) + threads * np.uint64(memory.size) for memory in own}
            warps.append(Warp(program, addresses | local, first, block))
        running = [warp.run() for warp in warps]
        while running:
            running = [warp for warp in running if next(warp, _END) is not _END]
        for warp in warps:
            self.executed.setdefault(name, Counter()).update(warp.executed())


class _Memory:
    """Of a variable: one for all threads, or for each its own; poisoned, but for what the program gives."""

    def __init__(self, variable: Variable, threads: int = 1) -> None:
        alignment = 64
        self.name = variable.name
        self.size = -(-variable.count * ptx.TYPES[variable.type].itemsize // alignment) * alignment
        self._bytes = np.full(threads * self.size + alignment, 0xA5, np.uint8)
        whole = self._bytes[-self._bytes.ctypes.data % alignment :]
        self.address = whole.ctypes.data
        if variable.space in ("global", "const"):
            whole[: self.size] = 0
            given = np.array(variable.values, np.int64).astype(ptx.TYPES[variable.type]).view(np.uint8)
            whole[: given.size] = given

"""SASS, the machine code of NVIDIA's GPUs, cut into basic blocks and natural loops."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from pathlib import Path

from cuobjdump import dumped, short_names

_INSTRUCTION = re.compile(
    r"/\*([0-9a-f]{4,})\*/\s+(?:(@!?U?P\w+)\s+)?([A-Z][\w.]*)\s*([^;]*);\s*/\* 0x([0-9a-f]{16}) \*/"
)
_CONTROL = re.compile(r"^\s*/\* 0x([0-9a-f]{16}) \*/")
_FUNCTION = re.compile(r"^\s*Function : (\S+)")
_ENDS = ("EXIT", "RET", "BRX", "JMX", "BPT")  # and unconditional BRA


@dataclass
class Instruction:
    """One of SASS, with what its control bits say."""

    address: int
    predicate: str
    opcode: str
    operands: str
    stall: int  # clocks until the warp's next instruction may be issued
    writes: int  # number of the barrier that its result releases; 7: none
    reads: int  # of the one that reading its operands releases
    waits: int  # set of barriers it waits for, as bits

    def target(self) -> int | None:
        """Where a branch goes."""
        found = re.search(r"0x([0-9a-f]+)", self.operands) if self.opcode.split(".")[0] == "BRA" else None
        return int(found[1], 16) if found else None


@dataclass
class Block:
    """Instructions without a branch between them."""

    index: int
    instructions: list[Instruction]
    next: list[int] = field(default_factory=list)


@dataclass
class Loop:
    """A natural loop: the blocks from which its header is reached again, without leaving through it."""

    header: int
    blocks: frozenset[int]
    inner: list[Loop] = field(default_factory=list)


@dataclass
class Kernel:
    """A kernel's blocks in the order of addresses, and its outermost loops."""

    name: str
    blocks: list[Block]
    loops: list[Loop]

    def own(self, loop: Loop | None) -> frozenset[int]:
        """The blocks of a loop (None: of the kernel) that are in none of its inner loops."""
        inside = loop.blocks if loop else frozenset(range(len(self.blocks)))
        return inside - frozenset(b for i in (loop.inner if loop else self.loops) for b in i.blocks)


@functools.cache
def kernels(module: Path, architecture: str) -> dict[str, Kernel]:
    """All kernels of a module, by short name."""
    codes: dict[str, list[Instruction]] = {}
    code: list[Instruction] = []
    for line in dumped(module, "-sass", "-arch", architecture).splitlines():
        if found := _FUNCTION.match(line):
            code = codes.setdefault(found[1], [])
        elif found := _INSTRUCTION.search(line):
            code.append(Instruction(int(found[1], 16), found[2] or "", found[3], found[4].strip(), 0, 7, 7, 0))
        elif code and (found := _CONTROL.match(line)):
            bits = int(found[1], 16)
            last = code[-1]
            last.stall, last.writes = bits >> 41 & 15, bits >> 46 & 7
            last.reads, last.waits = bits >> 49 & 7, bits >> 52 & 63
    return {name: _kernel(name, code) for name, code in zip(short_names(list(codes)), codes.values(), strict=True)}


def _kernel(name: str, code: list[Instruction]) -> Kernel:
    while code and code[-1].opcode in ("NOP", "BRA"):  # padding
        code = code[:-1]
    targets = {i.target() for i in code} - {None}
    blocks: list[Block] = []
    starts = True
    for instruction in code:
        if starts or instruction.address in targets:
            blocks.append(Block(len(blocks), []))
        blocks[-1].instructions.append(instruction)
        base = instruction.opcode.split(".")[0]
        starts = base == "BRA" or base in _ENDS
    at = {block.instructions[0].address: block.index for block in blocks}
    for block in blocks:
        last = block.instructions[-1]
        base = last.opcode.split(".")[0]
        ends = (base == "BRA" or base in _ENDS) and not last.predicate and "UP" not in last.operands
        if base == "BRA" and re.match(r"!?U?P\d", last.operands):  # BRA UP0, 0x...
            ends = False
        target = last.target()
        if target is not None and target in at:
            block.next.append(at[target])
        if not ends and block.index + 1 < len(blocks):
            block.next.append(block.index + 1)
    return Kernel(name, blocks, _loops(blocks))


def _loops(blocks: list[Block]) -> list[Loop]:
    """Nested by inclusion. In SASS a back edge goes to a lower address."""
    before: dict[int, list[int]] = {}
    for block in blocks:
        for target in block.next:
            before.setdefault(target, []).append(block.index)
    found: dict[int, set[int]] = {}
    for block in blocks:
        for header in block.next:
            if header > block.index:
                continue
            body, stack = {header}, [block.index]
            while stack:
                at = stack.pop()
                if at in body or at < header:
                    continue
                body.add(at)
                stack += before.get(at, [])
            found.setdefault(header, set()).update(body)
    loops = [Loop(header, frozenset(body)) for header, body in found.items()]
    loops.sort(key=lambda loop: len(loop.blocks))
    outer: list[Loop] = []
    for i, loop in enumerate(loops):
        parent = next((other for other in loops[i + 1 :] if loop.blocks < other.blocks), None)
        (parent.inner if parent else outer).append(loop)
    return outer

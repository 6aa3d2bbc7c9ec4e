"""What stands between an opcode and its operands: each handler takes what it knows, and what is left is refused."""

from __future__ import annotations

from collections.abc import Callable

from ptx.operands import CPP, FLOATS, Operands
from ptx.parse import Instruction, Refused

Handler = Callable[[Instruction, "Modifiers", Operands], str]
HANDLERS: dict[str, Handler] = {}

SIGNED = ("s16", "s32", "s64")
UNSIGNED = ("u16", "u32", "u64")
BITS = ("b16", "b32", "b64")


def handles(*opcodes: str) -> Callable[[Handler], Handler]:
    """Makes a function the one that translates these opcodes."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(opcodes, handler))
        return handler

    return register


class Modifiers:
    """Those of one instruction that nobody has taken yet."""

    def __init__(self, instruction: Instruction) -> None:
        self.left = list(instruction.modifiers)

    def one_of(self, *names: str) -> str:
        """The first of these names that is there, taken; empty if none is."""
        for name in names:
            if name in self.left:
                self.left.remove(name)
                return name
        return ""

    def need(self, *names: str) -> str:
        """One of these names, which must be there."""
        if not (found := self.one_of(*names)):
            raise Refused(f"expected one of {names}")
        return found

    def type(self, *allowed: str) -> str:
        """The last modifier: a type, one of those allowed."""
        if not self.left or self.left[-1] not in (allowed or CPP):
            raise Refused(f"type .{self.left[-1] if self.left else ''}")
        return self.left.pop()

    def drop(self, *names: str) -> None:
        """Takes those of these names that are there: they change nothing here."""
        self.left = [name for name in self.left if name not in names]


def translate(instruction: Instruction, operands: Operands) -> str:
    """A C++ statement that does what the instruction does.

    Raises:
        Refused: it is not understood; with its text.
    """
    try:
        if instruction.opcode not in HANDLERS:
            raise Refused("unknown opcode")
        modifiers = Modifiers(instruction)
        statement = HANDLERS[instruction.opcode](instruction, modifiers, operands)
        if modifiers.left:
            raise Refused(f"unknown modifiers {modifiers.left}")
        if instruction.guard:
            statement = f"if ({operands.value(instruction.guard, 'pred')}) {statement}"
        return statement
    except (Refused, ValueError, IndexError) as problem:
        raise Refused(f"line {instruction.line}: {instruction.text}: {problem}") from None


def is_float(kind: str) -> bool:
    """Whether values of this type are floating-point numbers of C++."""
    return kind in FLOATS

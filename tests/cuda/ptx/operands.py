"""Operands as C++: registers have the types they are declared with, and a use as another type shows in the C++."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass

from ptx.parse import Refused, Variable, type_bytes

# The C++ type of values. Types of 16 bits that C++ does not have are their bits.
CPP = {
    "pred": "bool", "u8": "uint8_t", "s8": "int8_t", "b8": "uint8_t", "u16": "uint16_t", "s16": "int16_t",
    "b16": "uint16_t", "f16": "uint16_t", "bf16": "uint16_t", "u32": "uint32_t", "s32": "int32_t", "b32": "uint32_t",
    "f16x2": "uint32_t", "bf16x2": "uint32_t", "tf32": "uint32_t", "u64": "uint64_t", "s64": "int64_t",
    "b64": "uint64_t", "f32": "float", "f64": "double",
}  # fmt: skip
FLOATS = ("f32", "f64")
_SPECIAL = {"%tid": "tid", "%ntid": "bdim", "%ctaid": "bid", "%nctaid": "gdim"}


def register_type(name: str) -> str:
    """What a register is in C++: unsigned, so that arithmetic wraps; signed where an instruction says so."""
    if name in ("pred", *FLOATS):
        return CPP[name]
    return f"uint{8 * type_bytes(name)}_t"


def cpp_name(name: str) -> str:
    """A name that C++ takes: "%r1" is r1."""
    return re.sub(r"\W", "_", name.lstrip("%"))


def integer(text: str) -> int | None:
    """The value of an integer literal; None if it is none."""
    found = re.fullmatch(r"(-?)(0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)U?", text)
    if not found:
        return None
    digits = found[2]
    octal = re.fullmatch(r"0[0-7]+", digits)
    return int(digits, 8 if octal else 0) * (-1 if found[1] else 1)


def _integer_literal(value: int, name: str) -> str:
    bits = 8 * type_bytes(name)
    value %= 1 << bits
    if name.startswith("s") and value >> (bits - 1):
        value -= 1 << bits
    suffix = ("" if name.startswith("s") else "u") + ("l" if bits == 64 else "")
    text = f"{value}{suffix}"
    if value == -(1 << (bits - 1)) and bits >= 32:
        text = f"({value + 1}{suffix} - 1)"
    return text if bits >= 32 else f"{CPP[name]}({text})"


def _float_literal(bits: int, name: str) -> str:
    code, kind = ("<I", "<f") if name == "f32" else ("<Q", "<d")
    value = struct.unpack(kind, struct.pack(code, bits))[0]
    if not math.isfinite(value):
        return f"bits<{CPP[name]}>({bits:#x}{'u' if name == 'f32' else 'ul'})"
    return value.hex() + ("f" if name == "f32" else "")


@dataclass(frozen=True)
class Callee:
    """A device function: its C++ name, and how many results and parameters it has together."""

    cpp: str
    arguments: int


class Operands:
    """The names that are known at a place of a function, and expressions of them."""

    def __init__(self) -> None:
        self._scopes: list[dict[str, str]] = [{}]  # registers
        self.addresses: dict[str, str] = {}  # of variables, as integers
        self.spaces: dict[str, str] = {}
        self.targets: dict[str, list[str]] = {}  # of brx.idx
        self.functions: dict[str, Callee] = {}
        self.in_kernel = True

    def open(self) -> None:
        """Begins a scope."""
        self._scopes.append({})

    def close(self) -> None:
        """Ends the innermost scope."""
        self._scopes.pop()

    def declare(self, kind: str, names: list[str]) -> None:
        """Registers of the innermost scope."""
        self._scopes[-1].update(dict.fromkeys(names, kind))

    def define(self, variable: Variable, address: str) -> None:
        """A variable, and the C++ of its address in its space."""
        self.addresses[variable.name] = address
        self.spaces[variable.name] = variable.space

    def kind(self, name: str) -> str:
        """The type that a register is declared with; empty if there is no such register."""
        return next((scope[name] for scope in reversed(self._scopes) if name in scope), "")

    def value(self, text: str, kind: str, wider: bool = False) -> str:
        """The operand as a value of C++ type CPP[kind]. ``wider``: its register may be, and the low bits count."""
        if kind == "pred" and text.startswith("!"):
            return f"!{self.value(text[1:], kind)}"
        if declared := self.kind(text):
            return self._converted(cpp_name(text), declared, kind, text, wider)
        if (number := integer(text)) is not None and kind not in FLOATS:
            return ("true" if number else "false") if kind == "pred" else _integer_literal(number, kind)
        if found := re.fullmatch(r"0([fFdD])([0-9a-fA-F]+)", text):
            own = "f32" if found[1] in "fF" else "f64"
            if kind in (own, "b" + own[1:]) and len(found[2]) == 2 * type_bytes(own):
                bits = int(found[2], 16)
                return _float_literal(bits, own) if kind == own else _integer_literal(bits, kind)
        if special := self._special(text):
            return self._converted(special, "u32", kind, text, wider)
        if kind in ("u32", "b32", "s32", "u64", "b64", "s64"):
            name, _, offset = text.partition("+")
            if name.strip() in self.addresses and (not offset or integer(offset) is not None):
                return f"{CPP[kind]}({self.addresses[name.strip()]}{' + ' + offset if offset else ''})"
        raise Refused(f"operand {text} of type .{kind}")

    def _special(self, text: str) -> str:
        name, _, part = text.partition(".")
        if name in _SPECIAL and part in ("x", "y", "z"):
            return f"current->{_SPECIAL[name]}.{part}"
        known = {"%laneid": "current->lane", "%warpid": "(current->lin / 32)", "%lanemask_lt": "lanes_below()",
                 "%lanemask_le": "(lanes_below() | own_lane())", "%lanemask_eq": "own_lane()",
                 "%lanemask_ge": "~lanes_below()", "%lanemask_gt": "~(lanes_below() | own_lane())"}  # fmt: skip
        return known.get(text, "")

    def _converted(self, cpp: str, declared: str, kind: str, text: str, wider: bool) -> str:
        own, wanted = register_type(declared), CPP[kind]
        if own == wanted:
            return cpp
        if "pred" in (declared, kind):
            raise Refused(f"operand {text} of type .{kind}, declared as .{declared}")
        mine, size = type_bytes(declared), type_bytes(kind)
        if own in ("float", "double") or kind in FLOATS:
            if mine != size or (kind not in FLOATS and not kind.startswith("b")):
                raise Refused(f"operand {text} of type .{kind}, declared as .{declared}")
            return f"bits<{wanted}>({cpp})"
        if mine < size or (mine > size and not wider):
            raise Refused(f"operand {text} of type .{kind}, declared as .{declared}")
        return f"{wanted}({cpp})"

    def assign(self, text: str, value: str, kind: str, wider: bool = False) -> str:
        """A statement: the register becomes a value of type ``kind``. ``wider``: it may be, and is extended."""
        if text == "_":
            return f"(void)({value});"
        declared = self.kind(text)
        if not declared:
            raise Refused(f"result {text}: no such register")
        own, wanted, name = register_type(declared), CPP[kind], cpp_name(text)
        if own == wanted:
            # Arithmetic of fewer than 32 bits is done in 32, so the conversion to the register cuts it off.
            return f"{name} = {value};"
        mine, size = (0, 0) if "pred" in (declared, kind) else (type_bytes(declared), type_bytes(kind))
        if not mine or mine < size or (mine > size and not wider):
            raise Refused(f"result {text} of type .{kind}, declared as .{declared}")
        if own in ("float", "double") or kind in FLOATS:
            if mine != size:
                raise Refused(f"result {text} of type .{kind}, declared as .{declared}")
            return f"{name} = bits<{own}>({value});"
        if size < 4 or mine > size:
            return f"{name} = {wanted}({value});"  # the sign, or zeros, fill the rest
        return f"{name} = {value};"

    def elements(self, text: str) -> list[str]:
        """The registers of {a, b}, or the one."""
        return split_braces(text) if text.startswith("{") else [text]

    def address(self, text: str, space: str) -> str:
        """The C++ of an address in brackets, with its offset, as an integer of its space."""
        found = re.fullmatch(r"\[\s*([%\w$]+)\s*(?:\+\s*(-?\w+))?\s*\]", text)
        offset = integer(found[2] or "0") if found else None
        if not found or offset is None:
            raise Refused(f"address {text}")
        if declared := self.kind(found[1]):
            if declared not in ("b32", "u32", "s32", "b64", "u64", "s64"):
                raise Refused(f"address {text} in a register of type .{declared}")
            if type_bytes(declared) == 4 and space != "shared":
                raise Refused(f"address {text} of 32 bits")
            base = cpp_name(found[1])
        elif found[1] in self.addresses:
            if self.spaces[found[1]] != space:
                raise Refused(f"address {text}: {found[1]} is not in .{space}")
            base = self.addresses[found[1]]
        else:
            raise Refused(f"address {text}")
        return f"{base} + {offset}" if offset > 0 else f"{base} - {-offset}" if offset else base


def split_braces(text: str) -> list[str]:
    """The parts of "{a, b}"."""
    return [part.strip() for part in text.strip()[1:-1].split(",")]

"""Instructions with what they make of many operands, computed in Python (integers.py, floats.py).

Each is one kernel, in which a thread has its own operands. Integers are Python's, and results are cut to their width;
floats are arrays of numpy.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

THREADS = 512
# What setp calls them, and Python. The last four are of unsigned integers only.
COMPARISONS = {
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "lo": "<", "ls": "<=", "hi": ">", "hs": ">=",
}  # fmt: skip
_NUMPY = {"pred": "u1", "f32": "f4", "f64": "f8", "f16": "u2", "bf16": "u2"}
_REGISTERS = {"pred": "p", "f32": "f", "f64": "d", "16": "h", "32": "r", "64": "l"}


@dataclass(frozen=True)
class Each:
    """An instruction (or several): ``d`` is the result, ``a``, ``b``, ``c`` the operands.

    Attributes:
        types: "s32 u32# -> s32". Behind a type: ``#`` small numbers, ``/`` no zeros, ``~`` floats of few digits.
        expected: of Python integers, or (``arrays``) of arrays.
        relative: how far results may be from it.
    """

    text: str
    types: str
    expected: Callable[..., Any]
    arrays: bool = False
    relative: float = 0.0

    @property
    def result(self) -> str:
        """The result's type."""
        return self.types.split("->")[1].strip()

    @property
    def operands(self) -> list[str]:
        """Types of the operands, and what is asked of their values."""
        return self.types.split("->")[0].split()


def type_bits(kind: str) -> int:
    """The width of a type."""
    return int(re.sub(r"\D", "", kind))


def numpy_type(kind: str) -> np.dtype:
    """The elements of an array of this type."""
    kind = kind.rstrip("#/~")
    return np.dtype(_NUMPY.get(kind) or {"s": "i", "u": "u", "b": "u"}[kind[0]] + str(type_bits(kind) // 8))


def wrapped(value: int, kind: str) -> int:
    """An integer as its type holds it."""
    bits = type_bits(kind)
    value %= 1 << bits
    return value - (1 << bits) if kind.startswith("s") and value >> (bits - 1) else value


def values(kind: str, seed: str) -> np.ndarray:
    """Operands of a type: what is special about it, and random ones."""
    draw = random.Random(seed)
    if kind == "pred":
        pool: list[Any] = [0, 1]
    elif kind.endswith("~"):
        pool = [draw.randrange(-4096, 4096) / 2.0 ** draw.randrange(8) for _ in range(100)]
    elif kind.rstrip("/") in ("f32", "f64"):
        pool = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 3.5, float("inf"), -float("inf"), float("nan"),
                1e-40, -1e-40, 65504.0, 65520.0, 1e9, -3e9, 5e9, 1e19, -1e19, 3e38] * 2  # fmt: skip
        pool += [draw.gauss(0, 1) * 10.0 ** draw.randrange(-6, 7) for _ in range(60)]
        pool = [x for x in pool if x or not kind.endswith("/")]
    elif kind.endswith("#"):
        pool = [0, 1, 5, 15, 16, 31, 32, 33, 63, 64, 65, 200, *range(34)]
    else:
        bits = type_bits(kind)
        pool = [0, 1, 2, -1, -2, 7, 1 << (bits - 1), (1 << (bits - 1)) - 1, (1 << (bits - 1)) + 1, 1 << bits // 2] * 2
        pool += [draw.getrandbits(bits) >> draw.randrange(bits) for _ in range(30)]
        pool = [x for x in (wrapped(x, kind.rstrip("/")) for x in pool) if x or not kind.endswith("/")]
    return np.array([draw.choice(pool) for _ in range(THREADS)], dtype=numpy_type(kind))


def expected(case: Each, operands: list[np.ndarray]) -> np.ndarray:
    """What the threads must have stored."""
    kind = numpy_type(case.result)
    with np.errstate(all="ignore"):
        if case.arrays:
            return np.asarray(case.expected(*operands)).astype(kind)
        results = [case.expected(*(int(x) for x in row)) for row in zip(*operands, strict=True)]
        if case.result != "pred":
            results = [wrapped(x, case.result) for x in results]
        return np.array(results, dtype=kind)


def _register(kind: str, number: int) -> str:
    kind = kind.rstrip("#/~")
    known = _REGISTERS.get(kind) or _REGISTERS[str(max(16, type_bits(kind)))]
    return f"%{known}{number}"


def kernel(case: Each, name: str) -> str:
    """PTX: parameters are the result's array and the operands'."""
    names = {"d": _register(case.result, 0)}
    lines = []
    for i, kind in enumerate(case.operands):
        kind = kind.rstrip("#/~")
        names["abc"[i]] = _register(kind, i + 1)
        load = {"pred": "u8", "f16": "b16", "bf16": "b16"}.get(kind, kind)
        size = numpy_type(kind).itemsize
        lines += [f"ld.param.u64 %at, [{name}_{i}];", f"mad.wide.u32 %at, %i, {size}, %at;"]
        lines.append(f"ld.global.{load} {'%h9' if kind == 'pred' else names['abc'[i]]}, [%at];")
        if kind == "pred":
            lines.append(f"setp.ne.s16 {names['abc'[i]]}, %h9, 0;")
    lines.append(re.sub(r"(?<![\w.%])([abcd])(?![\w.])", lambda found: names[found[1]], case.text) + ";")
    lines += [f"ld.param.u64 %at, [{name}_out];", f"mad.wide.u32 %at, %i, {numpy_type(case.result).itemsize}, %at;"]
    if case.result == "pred":
        lines += [f"selp.u16 %h9, 1, 0, {names['d']};", "st.global.u8 [%at], %h9;"]
    else:
        store = {"f16": "b16", "bf16": "b16"}.get(case.result, case.result)
        lines.append(f"st.global.{store} [%at], {names['d']};")
    parameters = ", ".join(f".param .u64 {name}_{i}" for i in ("out", *range(len(case.operands))))
    registers = ".reg .pred %p<10>; .reg .b16 %h<10>; .reg .b32 %r<10>, %i; .reg .b64 %l<10>, %at; .reg .f32 %f<10>; "
    body = "\n".join(lines)
    return (f".visible .entry {name}({parameters})\n{{\n{registers} .reg .f64 %d<10>;\nmov.u32 %i, %tid.x;\n{body}\n"
            "ret;\n}\n")  # fmt: skip


HEADER = ".version 8.0\n.target sm_80\n.address_size 64\n"


def named(cases: list[Each]) -> dict[str, Each]:
    """By the names of their kernels."""
    return {re.sub(r"\W+", "_", f"{case.text} {i}"): case for i, case in enumerate(cases)}

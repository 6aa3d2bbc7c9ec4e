"""Instructions with what they make of many operands, computed in Python: each is one kernel, in which a thread has its own
operands. Integers are Python's (results are cut to their width), floats are arrays of numpy."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch

THREADS = 512
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


def _bits(kind: str) -> int:
    return int(re.sub(r"\D", "", kind))


def numpy_type(kind: str) -> np.dtype:
    """The elements of an array of this type."""
    kind = kind.rstrip("#/~")
    return np.dtype(_NUMPY.get(kind) or {"s": "i", "u": "u", "b": "u"}[kind[0]] + str(_bits(kind) // 8))


def wrapped(value: int, kind: str) -> int:
    """An integer as its type holds it."""
    bits = _bits(kind)
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
        pool = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 3.5, float("inf"), -float("inf"), float("nan"), 1e-40, -1e-40,
                65504.0, 65520.0, 1e9, -3e9, 5e9, 1e19, -1e19, 3e38] * 2  # fmt: skip
        pool += [draw.gauss(0, 1) * 10.0 ** draw.randrange(-6, 7) for _ in range(60)]
        pool = [x for x in pool if x or not kind.endswith("/")]
    elif kind.endswith("#"):
        pool = [0, 1, 5, 15, 16, 31, 32, 33, 63, 64, 65, 200, *range(34)]
    else:
        bits = _bits(kind)
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
    known = _REGISTERS.get(kind) or _REGISTERS[str(max(16, _bits(kind)))]
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


def _quotient(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _lop3(table: int) -> Callable[..., int]:
    return lambda a, b, c: sum(
        (table >> (4 * (a >> i & 1) + 2 * (b >> i & 1) + (c >> i & 1)) & 1) << i for i in range(32)
    )


def _permuted(a: int, b: int, selector: int) -> int:
    source = struct.pack("<II", a, b)
    picked = [source[selector >> 4 * i & 7] for i in range(4)]
    return sum(
        (255 * (x >> 7) if selector >> 4 * i & 8 else x) << 8 * i for i, x in enumerate(picked)
    )


def _extracted(kind: str) -> Callable[..., int]:
    bits = _bits(kind)

    def of(a: int, begin: int, length: int) -> int:
        pattern = format(a % (1 << bits), f"0{bits}b")[::-1]  # the lowest first
        last = min(begin + length - 1, bits - 1)
        sign = pattern[last] if kind[0] == "s" and length else "0"
        taken = pattern[begin : begin + length]
        return int((taken + sign * bits)[:bits][::-1], 2)

    return of


def _inserted(bits: int) -> Callable[..., int]:
    def of(a: int, b: int, length: int) -> int:
        begin = 5
        low, high = list(format(a, f"0{bits}b")[::-1]), list(format(b, f"0{bits}b")[::-1])
        for i in range(min(length, bits - begin)):
            high[begin + i] = low[i]
        return int("".join(high)[::-1], 2)

    return of


def _highest(kind: str, shift: bool = False) -> Callable[[int], int]:
    def of(a: int) -> int:
        length = (~a if a < 0 else a).bit_length()
        return -1 if not length else _bits(kind) - length if shift else length - 1

    return of


def _bytes_of(x: int, kind: str) -> list[int]:
    return [wrapped(x >> 8 * i, kind) for i in range(4)]


def _dot(of_a: str, of_b: str) -> Callable[..., int]:
    return lambda a, b, c: c + sum(
        x * y for x, y in zip(_bytes_of(a, of_a), _bytes_of(b, of_b), strict=True)
    )


def _funnel(left: bool, clamp: bool) -> Callable[..., int]:
    def of(low: int, high: int, by: int) -> int:
        by = min(by, 32) if clamp else by % 32
        both = high << 32 | low
        return both << by >> 32 if left else both >> by

    return of


_COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "lo": "<", "ls": "<=", "hi": ">", "hs": ">="}


def _integer_cases() -> list[Each]:
    found = []
    for kind in ("s16", "u16", "s32", "u32", "s64", "u64"):
        pair = f"{kind} {kind} -> {kind}"
        bits = _bits(kind)
        found += [
            Each(f"add.{kind} d, a, b", pair, lambda a, b: a + b),
            Each(f"sub.{kind} d, a, b", pair, lambda a, b: a - b),
            Each(f"add.{kind} d, a, 7", f"{kind} -> {kind}", lambda a: a + 7),
            Each(f"mul.lo.{kind} d, a, b", pair, lambda a, b: a * b),
            Each(f"mul.hi.{kind} d, a, b", pair, lambda a, b, bits=bits: a * b >> bits),
            Each(f"mad.lo.{kind} d, a, b, c", f"{kind} {pair}", lambda a, b, c: a * b + c),
            Each(f"mad.hi.{kind} d, a, b, c", f"{kind} {pair}", lambda a, b, c, bits=bits: (a * b >> bits) + c),
            Each(f"div.{kind} d, a, b", f"{kind} {kind}/ -> {kind}", _quotient),
            Each(f"rem.{kind} d, a, b", f"{kind} {kind}/ -> {kind}", lambda a, b: a - b * _quotient(a, b)),
            Each(f"min.{kind} d, a, b", pair, min),
            Each(f"max.{kind} d, a, b", pair, max),
            Each(f"shr.{kind} d, a, b", f"{kind} u32# -> {kind}", lambda a, b: a >> b),
            Each(f"shr.{kind} d, a, 3", f"{kind} -> {kind}", lambda a: a >> 3),
        ]
        if bits < 64:
            wide = kind[0] + str(2 * bits)
            found.append(Each(f"mul.wide.{kind} d, a, b", f"{kind} {kind} -> {wide}", lambda a, b: a * b))
            found.append(Each(f"mad.wide.{kind} d, a, b, c", f"{kind} {kind} {wide} -> {wide}", lambda a, b, c: a * b + c))
        if bits > 16:
            found.append(Each(f"bfe.{kind} d, a, b, c", f"{kind} u32# u32# -> {kind}", _extracted(kind)))
            found.append(Each(f"bfind.{kind} d, a", f"{kind} -> u32", _highest(kind)))
            found.append(Each(f"bfind.shiftamt.{kind} d, a", f"{kind} -> u32", _highest(kind, True)))
        if kind[0] == "s":
            found.append(Each(f"neg.{kind} d, a", f"{kind} -> {kind}", lambda a: -a))
            found.append(Each(f"abs.{kind} d, a", f"{kind} -> {kind}", abs))
        for name, sign in _COMPARE.items():
            if len(name) == 2 and (kind[0] == "u" or name not in ("lo", "ls", "hi", "hs")):
                compare = eval(f"lambda a, b: a {sign} b")
                found.append(Each(f"setp.{name}.{kind} d, a, b", f"{kind} {kind} -> pred", compare))
    for kind in ("b16", "b32", "b64"):
        pair = f"{kind} {kind} -> {kind}"
        found += [
            Each(f"and.{kind} d, a, b", pair, lambda a, b: a & b),
            Each(f"or.{kind} d, a, b", pair, lambda a, b: a | b),
            Each(f"xor.{kind} d, a, b", pair, lambda a, b: a ^ b),
            Each(f"and.{kind} d, a, 0x7F0F", f"{kind} -> {kind}", lambda a: a & 0x7F0F),
            Each(f"not.{kind} d, a", f"{kind} -> {kind}", lambda a: ~a),
            Each(f"shl.{kind} d, a, b", f"{kind} u32# -> {kind}", lambda a, b: a << b),
            Each(f"shl.{kind} d, a, 5", f"{kind} -> {kind}", lambda a: a << 5),
            Each(f"selp.{kind} d, a, b, c", f"{kind} {kind} pred -> {kind}", lambda a, b, c: a if c else b),
            Each(f"setp.ne.{kind} d, a, b", f"{kind} {kind} -> pred", lambda a, b: a != b),
        ]
        if kind != "b16":
            bits = _bits(kind)
            found += [
                Each(f"popc.{kind} d, a", f"{kind} -> u32", lambda a: bin(a).count("1")),
                Each(f"clz.{kind} d, a", f"{kind} -> u32", lambda a, bits=bits: bits - a.bit_length()),
                Each(f"brev.{kind} d, a", f"{kind} -> {kind}", lambda a, bits=bits: int(format(a, f"0{bits}b")[::-1], 2)),
                Each(f"bfi.{kind} d, a, b, 5, c", f"{kind} {kind} u32# -> {kind}", _inserted(bits)),
            ]
    for left in (True, False):
        for clamp in (True, False):
            name = f"shf.{'l' if left else 'r'}.{'clamp' if clamp else 'wrap'}.b32 d, a, b, c"
            found.append(Each(name, "b32 b32 u32# -> b32", _funnel(left, clamp)))
    for table in (0x96, 0xEA, 0x1B, 0x40):
        found.append(Each(f"lop3.b32 d, a, b, c, {table}", "b32 b32 b32 -> b32", _lop3(table)))
    for of_a, of_b in (("s", "s"), ("u", "u"), ("s", "u")):
        kind = "u32" if of_a + of_b == "uu" else "s32"
        text = f"dp4a.{of_a}32.{of_b}32 d, a, b, c"
        found.append(Each(text, f"b32 b32 {kind} -> {kind}", _dot(of_a + "8", of_b + "8")))
    return [
        *found,
        Each("prmt.b32 d, a, b, c", "b32 b32 b32 -> b32", _permuted),
        Each("add.cc.u32 %r9, a, b; addc.u32 d, a, b", "u32 u32 -> u32", lambda a, b: a + b + ((a + b) >> 32)),
        Each("sub.cc.u32 %r9, a, b; subc.u32 d, a, b", "u32 u32 -> u32", lambda a, b: a - b - (a < b)),
        Each("add.cc.u64 %l8, a, b; addc.cc.u64 %l9, a, b; addc.u64 d, 0, 0", "u64 u64 -> u64",
             lambda a, b: (a + b + ((a + b) >> 64)) >> 64),
        Each("and.pred d, a, b", "pred pred -> pred", lambda a, b: a & b),
        Each("or.pred d, a, b", "pred pred -> pred", lambda a, b: a | b),
        Each("xor.pred d, a, b", "pred pred -> pred", lambda a, b: a ^ b),
        Each("not.pred d, a", "pred -> pred", lambda a: 1 - a),
        Each("setp.lt.and.s32 d, a, b, c", "s32 s32 pred -> pred", lambda a, b, c: a < b and c),
        Each("setp.ge.or.u32 d, a, b, !c", "u32 u32 pred -> pred", lambda a, b, c: a >= b or not c),
        Each("setp.eq.xor.s32 d, a, b, c", "s32 s32 pred -> pred", lambda a, b, c: (a == b) != bool(c)),
        Each("setp.lt.and.s32 %p8|d, a, b, c", "s32 s32 pred -> pred", lambda a, b, c: not a < b and c),
        Each("mov.b64 d, {a, b}", "b32 b32 -> b64", lambda a, b: b << 32 | a),
        Each("mov.b32 d, {a, b}", "b16 b16 -> b32", lambda a, b: b << 16 | a),
        Each("mov.b64 {%r9, d}, a", "b64 -> b32", lambda a: a >> 32),
        Each("mov.b32 {d, _}, a", "b32 -> b16", lambda a: a),
        Each("mov.u32 d, -3; @c add.s32 d, a, b", "s32 s32 pred -> s32", lambda a, b, c: a + b if c else -3),
        Each("mov.u32 d, -3; @!c add.s32 d, a, b", "s32 s32 pred -> s32", lambda a, b, c: -3 if c else a + b),
        *(Each(f"cvt.{to}.{of} d, a", f"{of} -> {to}", lambda a: a)
          for to, of in (("s64", "s32"), ("u64", "u32"), ("u32", "u64"), ("s32", "s16"), ("u16", "u32"), ("s64", "s16"))),
        Each("cvt.s32.s8 d, a", "b32 -> s32", lambda a: wrapped(a, "s8")),
        Each("cvt.u32.u8 d, a", "b32 -> u32", lambda a: a & 255),
        Each("cvt.s16.s8 d, a", "u16 -> s16", lambda a: wrapped(a, "s8")),
    ]  # fmt: skip


def _to_integer(kind: str, rounded: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    bits = _bits(kind)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if kind[0] == "s" else (0, (1 << bits) - 1)

    def of(a: np.ndarray) -> np.ndarray:
        of_nan = 0 if a.dtype == np.float32 and bits <= 32 else wrapped(1 << bits - 1, kind)
        one = [of_nan if x != x else low if x < low else high if x > high else int(x) for x in rounded(a).tolist()]
        return np.array(one, dtype=numpy_type(kind))

    return of


def _bfloat16(a: np.ndarray) -> np.ndarray:
    bits = torch.from_numpy(a.astype(np.float32)).bfloat16().view(torch.int16).numpy().view(np.uint16)
    return np.where(np.isnan(a), np.uint16(0x7FFF), bits)


def _half(a: np.ndarray) -> np.ndarray:
    bits = a.astype(np.float16).view(np.uint16)
    return np.where(np.isnan(a), np.uint16(0x7FFF), bits)


def _tf32(a: np.ndarray) -> np.ndarray:
    bits = a.view(np.uint32)
    return np.where(np.isfinite(a), (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000), bits)


def _flushed(a: np.ndarray) -> np.ndarray:
    return np.where(np.abs(a) < np.finfo(np.float32).tiny, np.copysign(np.float32(0), a), a)


def _least(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    zeros = (a == 0) & (b == 0)
    return np.where(zeros & np.signbit(b), b, np.where(zeros, a, np.fmin(a, b)))


def _fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    exact = [Fraction(x) * Fraction(y) + Fraction(z) for x, y, z in zip(*(v.tolist() for v in (a, b, c)), strict=True)]
    return np.array([float(x) for x in exact])  # of operands with ~: the rounding to float32 is then the only one


def _float_cases() -> list[Each]:
    found = []
    for kind in ("f32", "f64"):
        pair, one = f"{kind} {kind} -> {kind}", f"{kind} -> {kind}"
        found += [
            Each(f"add.{kind} d, a, b", pair, np.add, True),
            Each(f"sub.rn.{kind} d, a, b", pair, np.subtract, True),
            Each(f"mul.{kind} d, a, b", pair, np.multiply, True),
            Each(f"div.rn.{kind} d, a, b", pair, np.divide, True),
            Each(f"fma.rn.{kind} d, a, b, c", f"{kind}~ {kind}~ {kind}~ -> {kind}", _fma, True),
            Each(f"sqrt.rn.{kind} d, a", one, np.sqrt, True),
            Each(f"rcp.rn.{kind} d, a", one, np.reciprocal, True),
            Each(f"neg.{kind} d, a", one, np.negative, True),
            Each(f"abs.{kind} d, a", one, np.abs, True),
            Each(f"min.{kind} d, a, b", pair, _least, True),
            Each(f"max.{kind} d, a, b", pair, lambda a, b: -_least(-a, -b), True),
            Each(f"copysign.{kind} d, a, b", pair, lambda a, b: np.copysign(b, a), True),
            Each(f"selp.{kind} d, a, b, c", f"{kind} {kind} pred -> {kind}", lambda a, b, c: np.where(c, a, b), True),
        ]
        unordered = {"equ": "==", "neu": "!=", "ltu": "<", "leu": "<=", "gtu": ">", "geu": ">="}
        for name, sign in {**_COMPARE, **unordered}.items():
            if name in ("lo", "ls", "hi", "hs"):
                continue
            numbers = "~(np.isnan(a) | np.isnan(b)) &" if name in _COMPARE else "np.isnan(a) | np.isnan(b) |"
            compare = eval(f"lambda a, b: {numbers} (a {sign} b)", {"np": np})
            found.append(Each(f"setp.{name}.{kind} d, a, b", f"{kind} {kind} -> pred", compare, True))
        nan = f"{kind} {kind} -> pred"
        found.append(Each(f"setp.nan.{kind} d, a, b", nan, lambda a, b: np.isnan(a) | np.isnan(b), True))
        found.append(Each(f"setp.num.{kind} d, a, b", nan, lambda a, b: ~(np.isnan(a) | np.isnan(b)), True))
        for name, rounded in {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}.items():
            found.append(Each(f"cvt.{name}.{kind}.{kind} d, a", one, rounded, True))
            for to in ("s32", "u32", "s64", "u64", "s16"):
                found.append(Each(f"cvt.{name}.{to}.{kind} d, a", f"{kind} -> {to}", _to_integer(to, rounded), True))
        for of in ("s32", "u32", "s64", "u64", "u16"):
            of_integers = lambda a, kind=kind: a.astype(numpy_type(kind))  # noqa: E731
            found.append(Each(f"cvt.rn.{kind}.{of} d, a", f"{of} -> {kind}", of_integers, True))
    clipped = lambda a: np.where(np.isnan(a), 0, np.clip(a, 0, 1))  # noqa: E731
    return [
        *found,
        Each("add.ftz.f32 d, a, b", "f32 f32 -> f32", lambda a, b: _flushed(_flushed(a) + _flushed(b)), True),
        Each("add.sat.f32 d, a, b", "f32 f32 -> f32", lambda a, b: clipped(a + b), True),
        Each("add.f32 d, a, 0fC0200000", "f32 -> f32", lambda a: a + np.float32(-2.5), True),
        Each("mov.f32 d, 0f7F800000", "f32 -> f32", lambda a: np.full_like(a, np.inf), True),
        Each("mov.b32 %r8, a; mul.f32 %r9, %r8, b; mov.b32 d, %r9", "f32 f32 -> f32", np.multiply, True),
        Each("mov.b32 d, a", "f32 -> b32", lambda a: a.view(np.uint32), True),
        Each("rsqrt.approx.ftz.f32 d, a", "f32 -> f32", lambda a: 1 / np.sqrt(_flushed(a).astype("f8")), True, 2e-7),
        Each("ex2.approx.f32 d, a", "f32~ -> f32", np.exp2, True, 2e-6),
        Each("lg2.approx.f32 d, a", "f32 -> f32", np.log2, True, 2e-6),
        Each("div.full.f32 d, a, b", "f32 f32 -> f32", np.divide, True, 3e-7),
        Each("cvt.f64.f32 d, a", "f32 -> f64", lambda a: a, True),
        Each("cvt.rn.f32.f64 d, a", "f64 -> f32", lambda a: a, True),
        Each("cvt.sat.f32.f32 d, a", "f32 -> f32", clipped, True),
        Each("cvt.rn.f16.f32 d, a", "f32 -> f16", _half, True),
        Each("cvt.f32.f16 d, a", "f16# -> f32", lambda a: a.view(np.float16), True),
        Each("mul.lo.s16 %h8, a, 777; cvt.f32.f16 d, %h8", "b16 -> f32",
             lambda a: (a * np.uint16(777)).view(np.float16), True),
        Each("cvt.rn.bf16.f32 d, a", "f32 -> bf16", _bfloat16, True),
        Each("cvt.f32.bf16 d, a", "b16 -> f32", lambda a: (a.astype(np.uint32) << 16).view(np.float32), True),
        Each("cvt.rn.f16x2.f32 d, a, b", "f32 f32 -> b32",
             lambda a, b: _half(a).astype(np.uint32) << 16 | _half(b), True),
        Each("cvt.rn.bf16x2.f32 d, a, b", "f32 f32 -> b32",
             lambda a, b: _bfloat16(a).astype(np.uint32) << 16 | _bfloat16(b), True),
        Each("cvt.rna.tf32.f32 d, a", "f32 -> b32", _tf32, True),
    ]  # fmt: skip


def all_cases() -> dict[str, Each]:
    """By the names of their kernels."""
    cases = _integer_cases() + _float_cases()
    return {re.sub(r"\W+", "_", f"{case.text} {i}"): case for i, case in enumerate(cases)}

"""Instructions of integers and predicates, and moves."""

from __future__ import annotations

import struct
from collections.abc import Callable

from ptx.cases.instructions import COMPARISONS, Each, type_bits, wrapped


def _quotient(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _lop3(table: int) -> Callable[..., int]:
    return lambda a, b, c: sum(
        (table >> (4 * (a >> i & 1) + 2 * (b >> i & 1) + (c >> i & 1)) & 1) << i for i in range(32)
    )


def _permuted(a: int, b: int, selector: int) -> int:
    source = struct.pack("<II", a, b)
    picked = [source[selector >> 4 * i & 7] for i in range(4)]
    return sum((255 * (x >> 7) if selector >> 4 * i & 8 else x) << 8 * i for i, x in enumerate(picked))


def _extracted(kind: str) -> Callable[..., int]:
    bits = type_bits(kind)

    def of(a: int, begin: int, length: int) -> int:
        pattern = format(a % (1 << bits), f"0{bits}b")[::-1]  # the lowest first
        last = min(begin + length - 1, bits - 1)
        sign = pattern[last] if kind[0] == "s" and length else "0"
        taken = pattern[begin : begin + length]
        return int((taken + sign * bits)[:bits][::-1], 2)

    return of


def _reversed(bits: int) -> Callable[[int], int]:
    return lambda a: int(format(a, f"0{bits}b")[::-1], 2)


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
        return -1 if not length else type_bits(kind) - length if shift else length - 1

    return of


def _bytes_of(x: int, kind: str) -> list[int]:
    return [wrapped(x >> 8 * i, kind) for i in range(4)]


def _dot(of_a: str, of_b: str) -> Callable[..., int]:
    return lambda a, b, c: c + sum(x * y for x, y in zip(_bytes_of(a, of_a), _bytes_of(b, of_b), strict=True))


def _funnel(left: bool, clamp: bool) -> Callable[..., int]:
    def of(low: int, high: int, by: int) -> int:
        by = min(by, 32) if clamp else by % 32
        both = high << 32 | low
        return both << by >> 32 if left else both >> by

    return of


def cases() -> list[Each]:
    """Arithmetic, logic, comparisons and conversions of integers, and moves."""
    found = []
    for kind in ("s16", "u16", "s32", "u32", "s64", "u64"):
        pair = f"{kind} {kind} -> {kind}"
        bits = type_bits(kind)
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
            types = f"{kind} {kind} {wide} -> {wide}"
            found.append(Each(f"mad.wide.{kind} d, a, b, c", types, lambda a, b, c: a * b + c))
        if bits > 16:
            found.append(Each(f"bfe.{kind} d, a, b, c", f"{kind} u32# u32# -> {kind}", _extracted(kind)))
            found.append(Each(f"bfind.{kind} d, a", f"{kind} -> u32", _highest(kind)))
            found.append(Each(f"bfind.shiftamt.{kind} d, a", f"{kind} -> u32", _highest(kind, True)))
        if kind[0] == "s":
            found.append(Each(f"neg.{kind} d, a", f"{kind} -> {kind}", lambda a: -a))
            found.append(Each(f"abs.{kind} d, a", f"{kind} -> {kind}", abs))
        for name, sign in COMPARISONS.items():
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
            bits = type_bits(kind)
            found += [
                Each(f"popc.{kind} d, a", f"{kind} -> u32", lambda a: bin(a).count("1")),
                Each(f"clz.{kind} d, a", f"{kind} -> u32", lambda a, bits=bits: bits - a.bit_length()),
                Each(f"brev.{kind} d, a", f"{kind} -> {kind}", _reversed(bits)),
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
          for to, of in (("s64", "s32"), ("u64", "u32"), ("u32", "u64"), ("s32", "s16"), ("u16", "u32"))),
        Each("cvt.s32.s8 d, a", "b32 -> s32", lambda a: wrapped(a, "s8")),
        Each("cvt.u32.u8 d, a", "b32 -> u32", lambda a: a & 255),
        Each("cvt.s16.s8 d, a", "u16 -> s16", lambda a: wrapped(a, "s8")),
    ]  # fmt: skip

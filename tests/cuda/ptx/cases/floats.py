"""Instructions of floating-point numbers."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch

from ptx.cases.instructions import COMPARISONS, Each, numpy_type, type_bits, wrapped


def _to_integer(kind: str, rounded: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    bits = type_bits(kind)
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


def cases() -> list[Each]:
    """Arithmetic, comparisons and conversions of floats."""
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
        for name, sign in {**COMPARISONS, **unordered}.items():
            if name in ("lo", "ls", "hi", "hs"):
                continue
            numbers = "~(np.isnan(a) | np.isnan(b)) &" if name in COMPARISONS else "np.isnan(a) | np.isnan(b) |"
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

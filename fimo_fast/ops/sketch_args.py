"""Sketches as flat arguments, because the schema of a torch op has no nested types.

A sketch becomes a string of kinds, with spaces between them (torch.jit.trace cannot take a list of
strings), and a list of four integers for each: ``input_dim, sketch_dim, seed, nonzeros`` of a sketch
of vectors, ``a_dim, delta_dim, sketch_dim, seed`` of a `TensorSketch`. A `Factored` is its kind, with
no integers, before its two factors; the second stage of a `Composition` follows the first:
``"factored mask mask sjlt"``. Seeds are signed: schemas have int64 only.
"""

from __future__ import annotations

from typing import Any

from ..sketch import SJLT, Composition, Factored, Sketch, TensorSketch, VectorSketch, from_spec

__all__ = ["from_args", "signed", "sketch_dim", "to_args"]


def signed(seed: int) -> int:
    """A seed's 64 bits as a signed integer."""
    return seed if seed < 2**63 else seed - 2**64


def to_args(sketch: Sketch) -> tuple[str, list[int]]:
    """The kinds and numbers of ``sketch``."""
    if isinstance(sketch, VectorSketch):
        kind, input_dim, sketch_dim, seed, nonzeros = sketch.native
        return kind, [input_dim, sketch_dim, signed(seed), nonzeros]
    if isinstance(sketch, TensorSketch):
        return sketch.kind, [sketch.a_dim, sketch.delta_dim, sketch.sketch_dim, signed(sketch.seed)]
    if isinstance(sketch, Factored):
        (kind_a, numbers_a), (kind_delta, numbers_delta) = to_args(sketch.a), to_args(sketch.delta)
        return f"{sketch.kind} {kind_a} {kind_delta}", numbers_a + numbers_delta
    (kinds, numbers), (then, more) = to_args(sketch.first), to_args(sketch.second)
    return f"{kinds} {then}", numbers + more


def sketch_dim(kinds: str, numbers: list[int]) -> int:
    """Length of the sketches, without building one."""
    if kinds == TensorSketch.kind:
        return numbers[2]
    lone_factors = kinds.startswith(Factored.kind) and len(numbers) == 8
    return numbers[-3] * (numbers[1] if lone_factors else 1)


def from_args(kinds: str, numbers: list[int]) -> Sketch:
    """The sketch that `to_args` flattened."""
    rest, four = iter(kinds.split()), zip(*[iter(numbers)] * 4, strict=True)

    def vector(kind: str) -> Any:
        input_dim, sketch_dim, seed, nonzeros = next(four)
        spec = {"kind": kind, "input_dim": input_dim, "sketch_dim": sketch_dim, "seed": seed & (2**64 - 1)}
        return from_spec(spec | ({"nonzeros": nonzeros} if kind == SJLT.kind else {}))

    kind = next(rest)
    sketch: Any
    if kind == TensorSketch.kind:
        a_dim, delta_dim, sketch_dim, seed = next(four)
        sketch = TensorSketch(a_dim, delta_dim, sketch_dim, seed & (2**64 - 1))
    elif kind == Factored.kind:
        a = vector(next(rest))
        sketch = Factored(a, vector(next(rest)))
    else:
        sketch = vector(kind)
    for kind in rest:
        sketch = Composition(sketch, vector(kind))
    return sketch

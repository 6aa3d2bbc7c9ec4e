"""Sketches of vectors."""

from __future__ import annotations

from typing import Any

from ..sketch import Composition, Factored, Mask, Sketch, TensorSketch, VectorSketch
from ..utils.integers import integer
from .checks import Array, check_arrays
from .fast_path import try_fast_path
from .slow_path import SLOW_PATH


def _width(x: Any) -> int | None:
    try:
        width: int = x.shape[1]
        return width
    except (AttributeError, IndexError):
        return None


def project(grads: Array, sketch: Sketch, offset: int | None = None, out: Array | None = None) -> Array:
    """Sketches of the rows of ``grads``: ``out + grads @ S[:, offset : offset + dim].T``.

    The bits of the result depend on the sketch and on the row only. To sketch a long vector in
    slices, add them into one ``out`` in increasing order of offset: that gives the bits of one call
    (with `SRHT`, if slices are cut at multiples of ``sketch.block``; cut elsewhere, or with a
    `Composition` that does not start with a `Mask`, the result is the same up to rounding).

    Args:
        grads: [batch, dim]. Without ``offset`` and ``out``, dim must be ``sketch.input_dim``; with
            either, a slice is meant and dim + offset may be at most that.
        sketch: a sketch of vectors, or a `Composition` of them.
        offset: position of the slice in the sketch's input; default 0.
        out: [batch, sketch_dim] of the result's type, unit stride in its rows; the sketch is added
            to it.

    Returns:
        [batch, sketch_dim], ``out`` if it was given; E<project(x), project(y)> = <x, y> over seeds.

    Raises:
        TypeError: a wrong dtype, NumPy and torch mixed, or a sketch of outer products
            (`outer_project` applies those).
        ValueError: a wrong shape or offset, or an ``out`` that is read-only or lies within the memory
            of ``grads``.
        RuntimeError: ``grads`` or ``out`` requires grad while gradients are recorded.

    >>> import torch
    >>> from fimo_fast.sketch import SRHT
    >>> project(torch.ones(3, 1000), SRHT(1000, 64)).shape
    torch.Size([3, 64])
    """
    if isinstance(sketch, Composition):
        return _project_composition(grads, sketch, offset, out)
    if not isinstance(sketch, VectorSketch):
        hint = "; outer_project applies it to factors" if isinstance(sketch, (Factored, TensorSketch)) else ""
        raise TypeError(f"sketch: expected a sketch of vectors, got {type(sketch).__name__}{hint}")
    native = sketch.native
    # Without offset and out the width must be input_dim; the compiled module checks all else.
    if out is None and (type(offset) is int or (offset is None and _width(grads) == native[1])):
        done = try_fast_path("project", grads, *native, offset or 0)
        if done is not None:
            return done
    start = _check_slice(grads, sketch, offset, out)
    return SLOW_PATH["project"](grads, *native, start, out=out)


def _check_slice(grads: Any, sketch: VectorSketch | Composition, offset: int | None, out: Any) -> int:
    """The offset of ``grads`` in the input of ``sketch``, once it fits there."""
    check_arrays({"grads": grads}, (2,), "[batch, dim]")
    dim = grads.shape[1]
    end = sketch.input_dim
    start = 0 if offset is None else integer("offset", offset, 0, end, f"input_dim = {end}")
    if offset is None and out is None and dim != sketch.input_dim:
        raise ValueError(
            f"grads: expected shape [batch, {sketch.input_dim}] (the sketch's input_dim), "
            f"got {list(grads.shape)}; give offset or out to sketch a slice"
        )
    if dim > sketch.input_dim - start:
        raise ValueError(f"grads: expected at most input_dim - offset = {sketch.input_dim - start} columns, got {dim}")
    return start


def _project_composition(grads: Array, sketch: Composition, offset: int | None, out: Array | None) -> Array:
    start = _check_slice(grads, sketch, offset, out)
    between = project(grads, sketch.first, start)
    # A slice reaches a few outputs of a mask only; the rest of `between` is zero.
    first = sketch.first
    reached = first.outputs(start, start + grads.shape[1]) if isinstance(first, Mask) else range(first.sketch_dim)
    return project(between[:, reached.start : reached.stop], sketch.second, reached.start, out)

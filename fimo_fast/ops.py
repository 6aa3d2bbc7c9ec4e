"""The primitives, for torch tensors and NumPy arrays.

Each is a torch op (``torch.ops.fimo_fast.*``): it works eagerly, under
``torch.compile(fullgraph=True)`` and with fake tensors. CPU tensors run the compiled kernels on
``torch.get_num_threads()`` threads, NumPy arrays the same without passing through torch. CUDA tensors
run CUDA kernels on the current stream, without waiting for it, so calls can be captured into CUDA
graphs; float64, and everything where the module was built without CUDA (``build_info()["cuda"]``),
runs `fimo_fast.reference` there, slower and with more memory, with one warning for each op. What is
said of bits below holds for the CPU; docs/numerics.md has CUDA.

Shared rules. Inputs are float32, float64, bfloat16 or float16, all of one type; sums and results
are float64 for float64 and float32 otherwise. `scores` and `topk` also take int8. Rows may have any
stride; inputs whose last dimension is strided are copied first. Ops are deterministic, for every
number of threads. None has a derivative: an input that requires a gradient while gradients are being
recorded, or that has a forward-mode tangent, is refused rather than cut out of the graph silently.
NumPy's bfloat16 is that of ``ml_dtypes``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import _numpy_ops, _torch_ops  # noqa: F401  (_torch_ops registers torch.ops.fimo_fast)
from ._checks import (
    Array,
    check_arrays,
    check_factors,
    check_last_dim,
    check_torch_out,
)
from ._integers import integer
from ._rows_ops import rows_project
from ._score_ops import quantize, scores, topk
from ._short_way import short_way
from ._sketch_args import signed, to_args
from .reference import accumulator
from .sketch import Composition, Factored, Mask, Sketch, TensorSketch, VectorSketch

__all__ = ["outer_dot", "outer_norm2", "outer_project", "project", "quantize", "rows_project", "scores", "topk"]


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
    native: tuple[str, int, int, int, int] = sketch.native
    # Without offset and out the width must be input_dim; the compiled module checks all else.
    if out is None and (type(offset) is int or (offset is None and _width(grads) == native[1])):
        done = short_way("project", (grads,), *native, offset or 0)
        if done is not None:
            return done
    start = _check_slice(grads, sketch, offset, out)
    if isinstance(grads, np.ndarray):
        return _numpy_ops.project(_numpy_ops.native_layout(grads), *native, start, out)
    kind, input_dim, sketch_dim, seed, nonzeros = native
    args = (kind, input_dim, sketch_dim, signed(seed), nonzeros, start)
    if out is None:
        result: Tensor = torch.ops.fimo_fast.project(grads, *args)
        return result
    check_torch_out(out, (grads.shape[0], sketch_dim), accumulator(grads.dtype), "grads", grads)
    torch.ops.fimo_fast.project_(grads, out, *args)
    return out


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


def outer_project(a: Array, delta: Array, sketch: Sketch, offset: int | None = None, out: Array | None = None) -> Array:
    """Sketches of per-example gradients of a linear layer, from their factors.

    With ``G_b = sum_t delta[b, t] a[b, t]^T`` (inputs a and output gradients delta of the layer),
    flattened row by row, returns ``out + project(G, sketch, offset)``. What is formed depends on the
    sketch:

    - `Factored`: the sketches of a_t and delta_t, whose outer products are summed.
    - `TensorSketch`: CountSketches of a_t and delta_t, and their Walsh-Hadamard transforms.
    - `Mask`: only the entries of G that are kept.
    - other sketches of vectors: G, a tile of some examples at a time; the dearest way.
    - `Composition`: the first stage as above, for some examples at a time, then the second.

    A result depends on its own example and the sizes only, to the bit: not on the batch, strides or
    threads.

    Args:
        a: [B, T, n]; or [B, n], meaning T = 1 (both arguments then).
        delta: [B, T, m].
        sketch: of m * n numbers, or with ``offset`` of more; a `Factored` or `TensorSketch` of n (a)
            and m (delta).
        offset: position of G in the sketch's input, for one sketch of a whole model's gradient. Not
            for `Factored` and `TensorSketch`, which are sketches of one layer. Default: the input is
            G, nothing more.
        out: [B, sketch_dim] of the result's type, unit stride in its rows; the sketches are added to
            it, so that those of several layers can be summed.

    Returns:
        [B, sketch_dim], ``out`` if it was given.

    Raises:
        TypeError: a wrong or mixed dtype, NumPy and torch mixed, or no sketch.
        ValueError: shapes or an offset that do not match, or an ``out`` that is read-only or shares
            memory with an input.
        RuntimeError: an input or ``out`` requires grad while gradients are recorded.

    >>> import torch
    >>> from fimo_fast.sketch import SRHT, Factored
    >>> sketch = Factored(a=SRHT(300, 8, seed=1), delta=SRHT(100, 16, seed=2))
    >>> outer_project(torch.ones(5, 7, 300), torch.ones(5, 7, 100), sketch).shape
    torch.Size([5, 128])
    """
    if not isinstance(sketch, (VectorSketch, Composition, Factored, TensorSketch)):
        raise TypeError(f"sketch: expected a sketch of fimo_fast.sketch, got {type(sketch).__name__}")
    kinds, numbers = to_args(sketch)
    if out is None and (offset is None or type(offset) is int):
        done = short_way("outer_project", (a, delta), kinds, numbers, offset)
        if done is not None:
            return done
    check_arrays({"a": a, "delta": delta}, (2, 3), "[batch, tokens, dim] or [batch, dim], the same rank for both")
    check_factors(("a", "delta"), a, delta)
    offset = _check_outer_sketch(sketch, a.shape[-1], delta.shape[-1], offset)
    if isinstance(a, np.ndarray):
        factors = (_numpy_ops.native_layout(a), _numpy_ops.native_layout(delta))
        return _numpy_ops.outer_project(*factors, kinds, numbers, offset, out)
    if out is None:
        result: Tensor = torch.ops.fimo_fast.outer_project(a, delta, kinds, numbers, offset)
        return result
    check_torch_out(out, (a.shape[0], sketch.sketch_dim), accumulator(a.dtype), "a", a)
    torch.ops.fimo_fast.outer_project_(a, delta, out, kinds, numbers, offset)
    return out


def _check_outer_sketch(sketch: Sketch, n: int, m: int, offset: int | None) -> int | None:
    """The offset, once ``sketch`` applies there to outer products of m and n numbers."""
    if isinstance(sketch, Composition):
        return _check_outer_sketch(sketch.first, n, m, offset)
    if isinstance(sketch, VectorSketch):
        if offset is not None:
            start = integer("offset", offset, 0, sketch.input_dim, f"input_dim = {sketch.input_dim}")
            if m * n > sketch.input_dim - start:
                raise ValueError(
                    f"sketch: expected input_dim of at least offset + {m} * {n} = {start + m * n} "
                    f"(the last dimensions of delta and a), got {sketch.input_dim}"
                )
            return start
        if sketch.input_dim != m * n:
            raise ValueError(
                f"sketch: expected input_dim {m} * {n} = {m * n} (the last dimensions of delta and a), "
                f"got {sketch.input_dim}; give offset to sketch a slice of a longer gradient"
            )
        return None
    if offset is not None:
        raise ValueError(
            f"offset: expected None for a {type(sketch).__name__}, a sketch of the factors of one layer, "
            f"which has no columns for a slice of a longer gradient; got {offset!r}"
        )
    if isinstance(sketch, Factored):
        dims = (sketch.a.input_dim, sketch.delta.input_dim)
    else:
        dims = (sketch.a_dim, sketch.delta_dim)
    if dims != (n, m):
        raise ValueError(
            f"sketch: expected one of {n} (a) and {m} (delta) numbers, like the last dimensions, "
            f"got {dims[0]} and {dims[1]}"
        )
    return None


def outer_dot(a: Array, delta: Array, a2: Array, delta2: Array) -> Array:
    """Inner products of per-example gradients of a linear layer, from their factors.

    With ``G_b = sum_t delta[b, t] a[b, t]^T`` (inputs a and output gradients delta of the layer),
    returns ``<G_b, G'_c>``. The gradients are not formed, unless a count of operations says that
    forming them is cheaper; then a part of them (64 MiB, or 64 entries of each) is held at a time.
    A result depends on its own two examples and the shapes only, to the bit.

    Args:
        a: [B, T, n]; or [B, n], meaning T = 1 (all four arguments then).
        delta: [B, T, m].
        a2: [B2, T2, n].
        delta2: [B2, T2, m].

    Returns:
        [B, B2].

    Raises:
        TypeError: a wrong or mixed dtype, or NumPy and torch mixed.
        ValueError: shapes that do not match.
        RuntimeError: an input requires grad while gradients are recorded.
    """
    done = short_way("outer_dot", (a, delta, a2, delta2))
    if done is not None:
        return done
    arrays = {"a": a, "delta": delta, "a2": a2, "delta2": delta2}
    check_arrays(arrays, (2, 3), "[batch, tokens, dim] or [batch, dim], the same rank for all")
    check_factors(("a", "delta"), a, delta)
    check_factors(("a2", "delta2"), a2, delta2)
    check_last_dim("a2", a2, "a", a)
    check_last_dim("delta2", delta2, "delta", delta)
    if isinstance(a, np.ndarray):
        return _numpy_ops.outer_dot(*map(_numpy_ops.native_layout, (a, delta, a2, delta2)))
    result: Tensor = torch.ops.fimo_fast.outer_dot(a, delta, a2, delta2)
    return result


def outer_norm2(a: Array, delta: Array) -> Array:
    """Squared norms of per-example gradients ``G_b = sum_t delta[b, t] a[b, t]^T``.

    Args:
        a: [B, T, n]; or [B, n], meaning T = 1 (both arguments then).
        delta: [B, T, m].

    Returns:
        [B], not negative (rounding below zero becomes zero); NaN where the inputs have it.

    Raises:
        TypeError: a wrong or mixed dtype, or NumPy and torch mixed.
        ValueError: shapes that do not match.
        RuntimeError: an input requires grad while gradients are recorded.
    """
    done = short_way("outer_norm2", (a, delta))
    if done is not None:
        return done
    arrays = {"a": a, "delta": delta}
    check_arrays(arrays, (2, 3), "[batch, tokens, dim] or [batch, dim], the same rank for both")
    check_factors(("a", "delta"), a, delta)
    if isinstance(a, np.ndarray):
        return _numpy_ops.outer_norm2(*map(_numpy_ops.native_layout, (a, delta)))
    result: Tensor = torch.ops.fimo_fast.outer_norm2(a, delta)
    return result

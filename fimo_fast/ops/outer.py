"""Per-example gradients of linear layers from their factors: sketches, inner products and norms."""

from __future__ import annotations

from ..sketch import Composition, Factored, Sketch, TensorSketch, VectorSketch
from ..utils.integers import integer
from .checks import Array, check_arrays, check_factors, check_last_dim
from .fast_path import try_fast_path
from .sketch_args import to_args
from .slow_path import SLOW_PATH


def outer_project(a: Array, delta: Array, sketch: Sketch, offset: int | None = None, out: Array | None = None) -> Array:
    """Sketches of per-example gradients of a linear layer, from their factors.

    With ``G_b = sum_t delta[b, t] a[b, t]^T`` (inputs a and output gradients delta of the layer),
    flattened row by row, returns ``out + project(G, sketch, offset)``. What is formed depends on the
    sketch:

    - `Factored`: the sketches of a_t and delta_t, whose outer products are summed.
    - `TensorSketch`: CountSketches of a_t and delta_t, and their Walsh-Hadamard transforms.
    - `Mask`: only the entries of G that are kept.
    - other sketches of vectors: G, a tile of some examples at a time; the slowest path.
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
        done = try_fast_path("outer_project", a, delta, kinds, numbers, offset)
        if done is not None:
            return done
    check_arrays({"a": a, "delta": delta}, (2, 3), "[batch, tokens, dim] or [batch, dim], the same rank for both")
    check_factors(("a", "delta"), a, delta)
    offset = _check_outer_sketch(sketch, a.shape[-1], delta.shape[-1], offset)
    return SLOW_PATH["outer_project"](a, delta, kinds, numbers, offset, out=out)


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
    done = try_fast_path("outer_dot", a, delta, a2, delta2)
    if done is not None:
        return done
    arrays = {"a": a, "delta": delta, "a2": a2, "delta2": delta2}
    check_arrays(arrays, (2, 3), "[batch, tokens, dim] or [batch, dim], the same rank for all")
    check_factors(("a", "delta"), a, delta)
    check_factors(("a2", "delta2"), a2, delta2)
    check_last_dim("a2", a2, "a", a)
    check_last_dim("delta2", delta2, "delta", delta)
    return SLOW_PATH["outer_dot"](a, delta, a2, delta2)


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
    done = try_fast_path("outer_norm2", a, delta)
    if done is not None:
        return done
    arrays = {"a": a, "delta": delta}
    check_arrays(arrays, (2, 3), "[batch, tokens, dim] or [batch, dim], the same rank for both")
    check_factors(("a", "delta"), a, delta)
    return SLOW_PATH["outer_norm2"](a, delta)

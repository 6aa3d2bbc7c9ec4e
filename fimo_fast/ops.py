"""The primitives, for torch tensors and NumPy arrays.

Each is a torch op (``torch.ops.fimo_fast.*``): it works eagerly, under
``torch.compile(fullgraph=True)`` and with fake tensors. CPU tensors run the compiled kernels on
``torch.get_num_threads()`` threads; CUDA tensors run `fimo_fast.reference`, with a warning, until
their kernels exist. NumPy arrays run the same kernels without passing through torch.

Shared rules. Inputs are float32, float64, bfloat16 or float16, all of one type; sums and results
are float64 for float64 and float32 otherwise. `scores` and `topk` also take int8. Rows may have any
stride; inputs whose last dimension is strided are copied first. Ops are deterministic, for every
number of threads. None has a gradient: an input that requires one is refused while gradients are
being recorded, rather than cut out of the graph silently.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from . import _numpy_ops, _torch_ops  # noqa: F401  (_torch_ops registers torch.ops.fimo_fast)
from ._checks import (
    check_arrays,
    check_device,
    check_factors,
    check_last_dim,
    check_out,
    check_scales,
    refuse_grad,
)
from .reference import accumulator
from .sketch import SJLT, SRHT, Rademacher, Sketch

__all__ = ["outer_dot", "outer_norm2", "project", "quantize", "scores", "topk"]

Array = TypeVar("Array", Tensor, np.ndarray)


def project(grads: Array, sketch: Sketch, offset: int | None = None, out: Array | None = None) -> Array:
    """Sketches of the rows of ``grads``: ``out + grads @ S[:, offset : offset + dim].T``.

    The bits of the result depend on the sketch and on the row only. To sketch a long vector in
    slices, add them into one ``out`` in increasing order of offset: that gives the bits of one call
    (with `SRHT`, if slices are cut at multiples of ``sketch.block``; cut elsewhere, the result is
    the same up to rounding).

    Args:
        grads: [batch, dim]. Without ``offset`` and ``out``, dim must be ``sketch.input_dim``; with
            either, a slice is meant and dim + offset may be at most that.
        sketch: a `Rademacher`, `SJLT` or `SRHT`.
        offset: position of the slice in the sketch's input; default 0.
        out: [batch, sketch_dim] of the result's type, unit stride in its rows; the sketch is added
            to it.

    Returns:
        [batch, sketch_dim], ``out`` if it was given; E<project(x), project(y)> = <x, y> over seeds.

    Raises:
        TypeError: a wrong dtype, or NumPy and torch mixed.
        ValueError: a wrong shape or offset, or an ``out`` that is read-only or shares memory with
            ``grads``.
        RuntimeError: ``grads`` or ``out`` requires grad while gradients are recorded.

    >>> import torch
    >>> from fimo_fast.sketch import SRHT
    >>> project(torch.ones(3, 1000), SRHT(1000, 64)).shape
    torch.Size([3, 64])
    """
    if not isinstance(sketch, (Rademacher, SJLT, SRHT)):
        raise TypeError(f"sketch: expected Rademacher, SJLT or SRHT, got {type(sketch).__name__}")
    check_arrays({"grads": grads}, (2,), "[batch, dim]")
    dim = grads.shape[1]
    start = 0 if offset is None else offset
    if not 0 <= start <= sketch.input_dim:
        raise ValueError(f"offset: expected 0 to input_dim = {sketch.input_dim}, got {start}")
    if offset is None and out is None and dim != sketch.input_dim:
        raise ValueError(
            f"grads: expected shape [batch, {sketch.input_dim}] (the sketch's input_dim), "
            f"got {list(grads.shape)}; give offset or out to sketch a slice"
        )
    if dim > sketch.input_dim - start:
        raise ValueError(f"grads: expected at most input_dim - offset = {sketch.input_dim - start} columns, got {dim}")
    nonzeros = sketch.nonzeros if isinstance(sketch, SJLT) else 0
    if isinstance(grads, np.ndarray):
        sizes = (sketch.kind, sketch.input_dim, sketch.sketch_dim, sketch.seed, nonzeros, start)
        return _numpy_ops.project(grads, sizes, out)
    seed = sketch.seed if sketch.seed < 2**63 else sketch.seed - 2**64  # schemas have int64 only
    args = (sketch.kind, sketch.input_dim, sketch.sketch_dim, seed, nonzeros, start)
    if out is None:
        result: Tensor = torch.ops.fimo_fast.project(grads, *args)
        return result
    check_out(out, Tensor, (grads.shape[0], sketch.sketch_dim), accumulator(grads.dtype))
    check_device("out", out, "grads", grads)
    refuse_grad("out", out)
    torch.ops.fimo_fast.project_(grads, out, *args)
    return out


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
    arrays = {"a": a, "delta": delta, "a2": a2, "delta2": delta2}
    check_arrays(arrays, (2, 3), "[batch, tokens, dim] or [batch, dim], the same rank for all")
    check_factors(("a", "delta"), a, delta)
    check_factors(("a2", "delta2"), a2, delta2)
    check_last_dim("a2", a2, "a", a)
    check_last_dim("delta2", delta2, "delta", delta)
    factors = [x if x.ndim == 3 else x[:, None] for x in (a, delta, a2, delta2)]
    if isinstance(a, np.ndarray):
        return _numpy_ops.outer_dot(*factors)
    result: Tensor = torch.ops.fimo_fast.outer_dot(*factors)
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
    arrays = {"a": a, "delta": delta}
    check_arrays(arrays, (2, 3), "[batch, tokens, dim] or [batch, dim], the same rank for both")
    check_factors(("a", "delta"), a, delta)
    factors = [x if x.ndim == 3 else x[:, None] for x in (a, delta)]
    if isinstance(a, np.ndarray):
        return _numpy_ops.outer_norm2(*factors)
    result: Tensor = torch.ops.fimo_fast.outer_norm2(*factors)
    return result


def scores(
    queries: Array,
    features: Array,
    query_scales: Array | None = None,
    feature_scales: Array | None = None,
) -> Array:
    """All inner products of queries with features.

    int8 rows stand for ``scale * row``, as `quantize` makes them. Their inner products are exact
    integers, and a score is ``float32(integer * (query_scale * feature_scale))``, the products in
    float64.

    Args:
        queries: [M, d], also int8.
        features: [N, d], of the type of ``queries``.
        query_scales: float32 [M] for int8 queries, None otherwise.
        feature_scales: float32 [N] for int8 features, None otherwise.

    Returns:
        [M, N]; float64 for float64, float32 otherwise.

    Raises:
        TypeError: a wrong or mixed dtype, scales missing or not wanted, or NumPy and torch mixed.
        ValueError: shapes that do not match.
        RuntimeError: an input requires grad while gradients are recorded.
    """
    _check_scored(queries, features, query_scales, feature_scales)
    if isinstance(queries, np.ndarray):
        return _numpy_ops.scores(queries, features, query_scales, feature_scales)
    result: Tensor = torch.ops.fimo_fast.scores(queries, features, query_scales, feature_scales)
    return result


def topk(
    queries: Array,
    features: Array,
    k: int,
    query_scales: Array | None = None,
    feature_scales: Array | None = None,
) -> tuple[Array, Array]:
    """The k features with the largest inner product with each query.

    The [M, N] matrix of all inner products is never held: features stream past the lists of the
    best k. The values are those of `scores`, to the bit.

    Args:
        queries: [M, d], also int8.
        features: [N, d], of the type of ``queries``.
        k: 1 to N.
        query_scales: float32 [M] for int8 queries, None otherwise.
        feature_scales: float32 [N] for int8 features, None otherwise.

    Returns:
        values [M, k] in descending order and indices [M, k], int64. As in ``torch.topk``, NaN
        counts as larger than everything; equal values come in order of their index.

    Raises:
        TypeError: a wrong or mixed dtype, scales missing or not wanted, or NumPy and torch mixed.
        ValueError: shapes that do not match, or k out of range.
        RuntimeError: an input requires grad while gradients are recorded.
    """
    _check_scored(queries, features, query_scales, feature_scales)
    if not 1 <= k <= features.shape[0]:
        raise ValueError(f"k: expected 1 to the number of features = {features.shape[0]}, got {k}")
    if isinstance(queries, np.ndarray):
        return _numpy_ops.topk(queries, features, k, query_scales, feature_scales)
    result: tuple[Tensor, Tensor] = torch.ops.fimo_fast.topk(queries, features, k, query_scales, feature_scales)
    return result


def _check_scored(queries: Any, features: Any, query_scales: Any, feature_scales: Any) -> None:
    check_arrays({"queries": queries, "features": features}, (2,), "[rows, dim]", int8=True)
    check_last_dim("features", features, "queries", queries)
    check_scales("query_scales", query_scales, "queries", queries)
    check_scales("feature_scales", feature_scales, "features", features)


def quantize(x: Array) -> tuple[Array, Array]:
    """Rows as int8 with one scale each, for `scores` and `topk` in a quarter of the memory.

    A row's scale is its largest magnitude / 127, rounded to float32, and its elements become
    round(x / scale), half to even: the error of an element is at most about half a scale. A row
    whose scale is zero becomes zeros.

    Args:
        x: [N, d], floating-point and finite.

    Returns:
        int8 [N, d] between -127 and 127, and scales, float32 [N].

    Raises:
        TypeError: a wrong dtype.
        ValueError: a wrong shape, NaN or an infinity, or a float64 row too large for a float32 scale.
        RuntimeError: ``x`` requires grad while gradients are recorded.
    """
    check_arrays({"x": x}, (2,), "[rows, dim]")
    if isinstance(x, np.ndarray):
        # A copy: torch takes neither read-only nor byte-swapped arrays.
        codes, scales = quantize(torch.from_numpy(np.array(x, dtype=x.dtype.newbyteorder("="))))
        return codes.numpy(), scales.numpy()
    wide = x.to(accumulator(x.dtype))
    largest = wide.abs().amax(1) if x.shape[1] > 0 else wide.new_zeros(x.shape[0])
    scales = (largest / 127).float()
    bad = (~scales.isfinite()).nonzero()
    if len(bad) > 0:
        row = int(bad[0, 0])
        magnitude = largest[row].item()
        raise ValueError(f"x: expected finite rows with a float32 scale, got magnitude {magnitude} in row {row}")
    steps = torch.where(scales > 0, scales, torch.inf).to(wide.dtype)
    return (wide / steps[:, None]).round_().clamp_(-127, 127).to(torch.int8), scales

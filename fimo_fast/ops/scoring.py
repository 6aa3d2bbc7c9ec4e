"""Inner products of queries with stored features, and the best of them; public in `fimo_fast.ops`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..utils.integers import integer
from . import numpy_kernels
from .checks import Array, check_arrays, check_last_dim, check_scales
from .dtypes import accumulator
from .fast_path import try_fast_path
from .slow_path import SLOW_PATH


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
    if query_scales is feature_scales is None:
        done = try_fast_path("scores", queries, features, None, None)
        if done is not None:
            return done
    _check_scored(queries, features, query_scales, feature_scales)
    return SLOW_PATH["scores"](queries, features, query_scales, feature_scales)


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
    if query_scales is feature_scales is None and type(k) is int:
        done = try_fast_path("topk", queries, features, k, None, None)
        if done is not None:
            return done
    _check_scored(queries, features, query_scales, feature_scales)
    k = integer("k", k, 1, features.shape[0], f"the number of features = {features.shape[0]}")
    return SLOW_PATH["topk"](queries, features, k, query_scales, feature_scales)


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
        native = numpy_kernels.native_layout(np.array(x, dtype=x.dtype.newbyteorder("=")))
        codes, scales = quantize(torch.as_tensor(native))
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

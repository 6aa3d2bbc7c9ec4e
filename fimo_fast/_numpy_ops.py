"""The ops for NumPy arrays: allocate the result, call the compiled kernel. Checks are in `ops`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ._checks import check_out
from ._native import _C


def _accumulator(x: np.ndarray) -> np.dtype[Any]:
    return np.dtype(np.float64 if x.dtype.itemsize == 8 else np.float32)


def _native_layout(x: np.ndarray) -> np.ndarray:
    """``x``, copied if its last dimension is strided or its bytes are swapped."""
    strided = x.shape[-1] > 1 and x.strides[-1] != x.itemsize
    # DLPack counts strides in elements: those of packed records may be no whole number of them.
    broken = not x.dtype.isnative or any(stride % x.itemsize for stride in x.strides)
    return np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("=")) if strided or broken else x


def project(grads: np.ndarray, sketch_args: tuple[Any, ...], out: Any) -> np.ndarray:
    """``sketch_args``: kind, input_dim, sketch_dim, seed, nonzeros, offset."""
    shape = (grads.shape[0], sketch_args[2])
    result = np.zeros(shape, dtype=_accumulator(grads)) if out is None else out
    check_out(result, np.ndarray, shape, _accumulator(grads))
    kind, input_dim, sketch_dim, seed, nonzeros, offset = sketch_args
    threads = torch.get_num_threads()
    grads = _native_layout(grads)
    _C.project(grads, kind, input_dim, sketch_dim, seed, nonzeros, offset, result, num_threads=threads)
    return result


def outer_dot(*factors: np.ndarray) -> np.ndarray:
    """Factors a, delta, a2, delta2, all [batch, tokens, dim]."""
    a, delta, a2, delta2 = map(_native_layout, factors)
    out = np.empty((a.shape[0], a2.shape[0]), dtype=_accumulator(a))
    _C.outer_dot(a, delta, a2, delta2, out, torch.get_num_threads())
    return out


def outer_norm2(*factors: np.ndarray) -> np.ndarray:
    """Factors a and delta, both [batch, tokens, dim]."""
    a, delta = map(_native_layout, factors)
    out = np.empty((a.shape[0],), dtype=_accumulator(a))
    _C.outer_norm2(a, delta, out, torch.get_num_threads())
    return out


def scores(
    queries: np.ndarray,
    features: np.ndarray,
    query_scales: np.ndarray | None,
    feature_scales: np.ndarray | None,
) -> np.ndarray:
    """All inner products, [queries, features]."""
    out = np.empty((queries.shape[0], features.shape[0]), dtype=_accumulator(queries))
    sides = (_native_layout(queries), _native_layout(features))
    scales = (_native_scales(query_scales), _native_scales(feature_scales))
    _C.scores(*sides, *scales, out, torch.get_num_threads())
    return out


def topk(
    queries: np.ndarray,
    features: np.ndarray,
    k: int,
    query_scales: np.ndarray | None,
    feature_scales: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Values and indices, both [queries, k]."""
    values = np.empty((queries.shape[0], k), dtype=_accumulator(queries))
    indices = np.empty((queries.shape[0], k), dtype=np.int64)
    sides = (_native_layout(queries), _native_layout(features))
    scales = (_native_scales(query_scales), _native_scales(feature_scales))
    _C.topk(*sides, k, *scales, values, indices, torch.get_num_threads())
    return values, indices


def _native_scales(scales: np.ndarray | None) -> np.ndarray | None:
    return None if scales is None else _native_layout(scales)

"""The ops for NumPy arrays: allocate the result, call the compiled kernel. Checks and copies are in `ops`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .checks import check_out
from .native import _C
from .sketch_args import sketch_dim

_ACCUMULATOR: dict[Any, np.dtype[Any]] = {
    np.dtype(np.float64): np.dtype(np.float64),
    np.dtype(np.float32): np.dtype(np.float32),
    np.dtype(np.float16): np.dtype(np.float32),
}


def _accumulator(x: np.ndarray) -> np.dtype[Any]:
    # Types that NumPy knows through others (bfloat16) have two bytes, too.
    return _ACCUMULATOR.get(x.dtype) or np.dtype(np.float64 if x.dtype.itemsize == 8 else np.float32)


def native_layout(x: Any) -> Any:
    """``x``, copied if its last dimension is strided or its bytes are swapped; None stays.

    bfloat16, which NumPy has from ``ml_dtypes`` and cannot export, comes back as a torch tensor of the same bits.
    """
    if x is None:
        return None
    strided = x.shape[-1] > 1 and x.strides[-1] != x.itemsize
    # DLPack counts strides in elements: those of packed records may be no whole number of them.
    broken = not x.dtype.isnative or any(stride % x.itemsize for stride in x.strides)
    if x.dtype.name == "bfloat16":
        # Torch takes no read-only arrays, nor negative strides.
        copied = np.array(x, order="C") if strided or broken or not x.flags.writeable or min(x.strides) < 0 else x
        return torch.from_numpy(copied.view(np.int16)).view(torch.bfloat16)
    return np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("=")) if strided or broken else x


def _result(out: Any, columns: int, like: np.ndarray, name: str) -> Any:
    """Zeros to add to, a row for each of ``like``; or ``out``, checked."""
    shape, dtype = (like.shape[0], columns), _accumulator(like)
    if out is None:
        return np.zeros(shape, dtype=dtype)
    check_out(out, np.ndarray, shape, dtype, name)
    return out


def project(
    grads: np.ndarray,
    kind: str,
    input_dim: int,
    sketch_dim: int,
    seed: int,
    nonzeros: int,
    offset: int,
    out: Any = None,
) -> np.ndarray:
    """A new array [batch, sketch_dim], or ``out``."""
    result = _result(out, sketch_dim, grads, "grads")
    threads = torch.get_num_threads()
    _C.project(grads, kind, input_dim, sketch_dim, seed, nonzeros, offset, result, threads)
    return result


def outer_project(
    a: np.ndarray, delta: np.ndarray, kinds: str, numbers: list[int], offset: int | None = None, out: Any = None
) -> np.ndarray:
    """Factors [batch, tokens, dim] or [batch, dim]; the sketch as in `sketch_args`."""
    result = _result(out, sketch_dim(kinds, numbers), a, "a")
    _C.outer_project(a, delta, kinds, numbers, offset, result, torch.get_num_threads())
    return result


def rows_project(
    index: np.ndarray,
    delta: np.ndarray,
    kind: str,
    input_dim: int,
    sketch_dim: int,
    seed: int,
    nonzeros: int,
    offset: int,
    out: Any = None,
) -> np.ndarray:
    """A new array [batch, sketch_dim], or ``out``."""
    result = _result(out, sketch_dim, delta, "delta")
    rows = index.astype(np.int64) if index.dtype == np.int32 else index
    _C.rows_project(rows, delta, kind, input_dim, sketch_dim, seed, nonzeros, offset, result, torch.get_num_threads())
    return result


def outer_dot(*factors: np.ndarray) -> np.ndarray:
    """Factors a, delta, a2, delta2, all [batch, tokens, dim]."""
    a, delta, a2, delta2 = factors
    out = np.empty((a.shape[0], a2.shape[0]), dtype=_accumulator(a))
    _C.outer_dot(a, delta, a2, delta2, out, torch.get_num_threads())
    return out


def outer_norm2(*factors: np.ndarray) -> np.ndarray:
    """Factors a and delta, both [batch, tokens, dim]."""
    a, delta = factors
    out = np.empty((a.shape[0],), dtype=_accumulator(a))
    _C.outer_norm2(a, delta, out, torch.get_num_threads())
    return out


def scores(
    queries: np.ndarray,
    features: np.ndarray,
    query_scales: np.ndarray | None = None,
    feature_scales: np.ndarray | None = None,
) -> np.ndarray:
    """All inner products, [queries, features]."""
    out = np.empty((queries.shape[0], features.shape[0]), dtype=_accumulator(queries))
    _C.scores(queries, features, query_scales, feature_scales, out, torch.get_num_threads())
    return out


def topk(
    queries: np.ndarray,
    features: np.ndarray,
    k: int,
    query_scales: np.ndarray | None = None,
    feature_scales: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Values and indices, both [queries, k]."""
    values = np.empty((queries.shape[0], k), dtype=_accumulator(queries))
    indices = np.empty((queries.shape[0], k), dtype=np.int64)
    _C.topk(queries, features, k, query_scales, feature_scales, values, indices, torch.get_num_threads())
    return values, indices

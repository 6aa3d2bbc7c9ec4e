"""The ops on NumPy arrays by the compiled functions: allocate, call. `fimo_fast.ops` checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .native import _C
from .registry import OPS, Op

__all__ = ["NUMPY", "numpy_accumulator", "native_layout"]


_ACCUMULATOR: dict[Any, np.dtype[Any]] = {
    np.dtype(np.float64): np.dtype(np.float64),
    np.dtype(np.float32): np.dtype(np.float32),
    np.dtype(np.float16): np.dtype(np.float32),
}


def numpy_accumulator(dtype: Any) -> np.dtype[Any]:
    """The type in which an op adds and returns, as in `dtypes`."""
    # Types that NumPy knows through others (bfloat16) have two bytes, too.
    return _ACCUMULATOR.get(dtype) or np.dtype(np.float64 if dtype.itemsize == 8 else np.float32)


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


def _int64(index: np.ndarray) -> np.ndarray:
    """``index``, converted from int32 only: the compiled module refuses other types."""
    return index.astype(np.int64) if index.dtype == np.int32 else index


def _function(op: Op) -> Callable[..., Any]:
    """A function of all arguments of the schema; returns new arrays, or ``out`` with the result added to it."""
    compiled, shape, like, make = getattr(_C, op.name), op.shape, op.like, np.zeros if op.adds else np.empty

    def one(*args: Any, out: np.ndarray | None = None) -> np.ndarray:
        if out is None:
            out = make(shape(*args), dtype=numpy_accumulator(args[like].dtype))
        compiled(*args, out, torch.get_num_threads())
        return out

    def one_of_index(index: np.ndarray, *args: Any, out: np.ndarray | None = None) -> np.ndarray:
        return one(_int64(index), *args, out=out)

    def two(*args: Any) -> tuple[np.ndarray, np.ndarray]:
        size = shape(*args)
        out, indices = np.empty(size, dtype=numpy_accumulator(args[like].dtype)), np.empty(size, dtype=np.int64)
        compiled(*args, out, indices, torch.get_num_threads())
        return out, indices

    return two if op.indices else one_of_index if op.position("index") == 0 else one


NUMPY: dict[str, Callable[..., Any]] = {name: _function(op) for name, op in OPS.items()}
"""What runs each op on NumPy arrays."""

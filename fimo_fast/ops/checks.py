"""Checks of the arguments of `fimo_fast.ops`. A message names the argument, what was expected and what came."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Array = TypeVar("Array", Tensor, np.ndarray)

_DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_DTYPES_AND_INT8 = {**_DTYPES, "int8": torch.int8}


def check_arrays(arrays: dict[str, Any], dims: tuple[int, ...], shapes: str, *, int8: bool = False) -> None:
    """Checks that all are torch tensors or all NumPy arrays, of one dtype, device and allowed rank.

    Args:
        arrays: the arguments by name; the first one sets what the others must be like.
        dims: allowed ranks.
        shapes: the allowed shapes in words, for the message.
        int8: whether int8 is allowed beside the floating-point types.
    """
    dtypes = _DTYPES_AND_INT8 if int8 else _DTYPES
    (first_name, first), *_ = arrays.items()
    numpy = isinstance(first, np.ndarray)
    kind: Any = np.ndarray if numpy else Tensor
    for name, x in arrays.items():
        if not isinstance(x, kind):
            like = f"a NumPy array like {first_name}" if numpy else "a torch tensor (or all NumPy)"
            raise TypeError(f"{name}: expected {like}, got {type(x).__name__}")
        dtype = dtypes.get(x.dtype.name) if numpy else x.dtype
        if dtype not in dtypes.values():
            raise TypeError(f"{name}: expected {', '.join(dtypes)}; got {x.dtype}")
        if x.dtype != first.dtype:
            raise TypeError(f"{name}: expected {first.dtype} like {first_name}, got {x.dtype}")
        if x.ndim not in dims or x.ndim != first.ndim:
            raise ValueError(f"{name}: expected shape {shapes}, got {list(x.shape)}")
        if not numpy:
            check_device(name, x, first_name, first)
            refuse_grad(name, x)


def check_device(name: str, x: Tensor, like_name: str, like: Tensor) -> None:
    """Raises ValueError unless ``x`` is where ``like`` is."""
    if x.device != like.device:
        raise ValueError(f"{name}: expected device {like.device} like {like_name}, got {x.device}")


def refuse_grad(name: str, x: Tensor) -> None:
    """Raises RuntimeError where an op without a derivative would silently cut the graph."""
    if x.requires_grad and torch.is_grad_enabled():
        raise RuntimeError(
            f"{name}: requires grad, but this op has no derivative; "
            f"pass {name}.detach() or call it under torch.no_grad()"
        )


def check_out(out: Any, kind: Any, shape: tuple[int, ...], dtype: Any, like_name: str) -> None:
    """Checks the array that a result is added into."""
    if not isinstance(out, kind):
        raise TypeError(f"out: expected {kind.__name__} like {like_name}, got {type(out).__name__}")
    if tuple(out.shape) != shape:
        raise ValueError(f"out: expected shape {list(shape)}, got {list(out.shape)}")
    if out.dtype != dtype:
        raise TypeError(f"out: expected {dtype}, got {out.dtype}")
    if kind is np.ndarray and any(stride % out.itemsize for stride in out.strides):
        raise ValueError(
            f"out: expected strides of whole elements ({out.itemsize} bytes), got {list(out.strides)} bytes"
        )


def check_torch_out(out: Any, shape: tuple[int, ...], dtype: Any, like_name: str, like: Tensor) -> None:
    """Checks the tensor that a result is added into."""
    check_out(out, Tensor, shape, dtype, like_name)
    check_device("out", out, like_name, like)
    refuse_grad("out", out)
    if not torch.compiler.is_compiling() and out.is_neg():  # dynamo cannot ask; torch refuses it then, in its own words
        raise ValueError(
            "out: expected memory with the tensor's own values, got a lazy negation; resolve_neg() copies it"
        )


def check_factors(names: tuple[str, str], a: Any, delta: Any) -> None:
    """Checks that both factors of a gradient have the same examples and tokens."""
    if a.shape[:-1] != delta.shape[:-1]:
        expected = ", ".join(map(str, (*a.shape[:-1], "*")))
        raise ValueError(f"{names[1]}: expected shape [{expected}] like {names[0]}, got {list(delta.shape)}")


def check_last_dim(name: str, x: Any, like_name: str, like: Any) -> None:
    """Checks that two factors have the same features."""
    if x.shape[-1] != like.shape[-1]:
        raise ValueError(f"{name}: expected last dimension {like.shape[-1]} like {like_name}, got {list(x.shape)}")


def check_scales(name: str, scales: Any, rows_name: str, rows: Any) -> None:
    """Checks the scales of the rows of an int8 matrix, or that another matrix has none.

    Args:
        name: of the argument ``scales``.
        scales: float32 [len(rows)] for int8, None otherwise.
        rows_name: of the argument ``rows``.
        rows: [rows, dim], already checked.
    """
    numpy = isinstance(rows, np.ndarray)
    if rows.dtype not in (torch.int8, np.int8):
        if scales is not None:
            raise TypeError(f"{name}: expected None for {rows.dtype} {rows_name}, got {type(scales).__name__}")
        return
    kind: Any = np.ndarray if numpy else Tensor
    if not isinstance(scales, kind):
        like = f"a float32 {'NumPy array' if numpy else 'torch tensor'} for int8 {rows_name}"
        raise TypeError(f"{name}: expected {like}, got {type(scales).__name__}")
    if scales.dtype != (np.float32 if numpy else torch.float32):
        raise TypeError(f"{name}: expected float32, got {scales.dtype}")
    if tuple(scales.shape) != (rows.shape[0],):
        expected = f"[{rows.shape[0]}], one a row of {rows_name}"
        raise ValueError(f"{name}: expected shape {expected}, got {list(scales.shape)}")
    if not numpy:
        check_device(name, scales, rows_name, rows)
        refuse_grad(name, scales)

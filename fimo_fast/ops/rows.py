"""`rows_project` of `fimo_fast.ops`: sketches of the gradients of embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..sketch import VectorSketch
from ..utils.integers import integer
from .checks import Array, check_arrays, check_device
from .fast_path import try_fast_path
from .slow_path import SLOW_PATH


def rows_project(index: Array, delta: Array, sketch: VectorSketch, offset: int = 0, out: Array | None = None) -> Array:
    """Sketches of per-example gradients of an embedding, from the rows that were looked up.

    With ``G_b = sum_t e_{index[b, t]} delta[b, t]^T`` (output gradients delta of the embedding) of shape
    [V, d], flattened row by row, returns ``out + project(G, sketch, offset)``. Of G only the rows of the
    example's own tokens exist, and V is known to the sketch alone: its input goes at least as far as the
    last row. Tokens whose delta is zero, such as padding, cost next to nothing.

    On the CPU a result depends on its own example only, to the bit: not on the batch, strides or threads.
    It has the bits of `project` of G, up to the sign of a zero. On CUDA, see docs/numerics.md.

    Args:
        index: [B, T], int64 or int32; indices may repeat, their rows add up.
        delta: [B, T, d].
        sketch: a sketch of vectors.
        offset: position of G in the sketch's input, for one sketch of a whole model's gradient.
        out: [B, sketch_dim] of the result's type, unit stride in its rows; the sketches are added to
            it.

    Returns:
        [B, sketch_dim], ``out`` if it was given.

    Raises:
        TypeError: a wrong dtype, NumPy and torch mixed, or a sketch of another kind.
        ValueError: shapes or an offset that do not match, an index that is negative or whose row would
            end beyond the sketch's input, or an ``out`` that is read-only or shares memory with an
            input. Nothing is written then. (On CUDA nobody looks at the indices before the kernel does:
            the sketch of an example with a bad one is NaN.)
        RuntimeError: ``delta`` or ``out`` requires grad while gradients are recorded.

    >>> import torch
    >>> from fimo_fast.sketch import SRHT
    >>> tokens = torch.tensor([[5, 17, 5], [3, 0, 0]])
    >>> rows_project(tokens, torch.ones(2, 3, 8), SRHT(20 * 8, 16)).shape
    torch.Size([2, 16])
    """
    if not isinstance(sketch, VectorSketch):
        raise TypeError(f"sketch: expected a sketch of vectors of one stage, got {type(sketch).__name__}")
    native = sketch.native
    if out is None and type(offset) is int:
        done = try_fast_path("rows_project", index, delta, *native, offset)
        if done is not None:
            return done
    check_arrays({"delta": delta}, (3,), "[batch, tokens, dim]")
    _check_index(index, delta)
    start = integer("offset", offset, 0, sketch.input_dim, f"input_dim = {sketch.input_dim}")
    return SLOW_PATH["rows_project"](index, delta, *native, start, out=out)


def _check_index(index: Any, delta: Any) -> None:
    """Checks the type and shape of the rows that tokens have looked up; ``delta`` is already checked."""
    numpy = isinstance(delta, np.ndarray)
    kind: Any = np.ndarray if numpy else Tensor
    if not isinstance(index, kind):
        like = "a NumPy array" if numpy else "a torch tensor"
        raise TypeError(f"index: expected {like} like delta, got {type(index).__name__}")
    if index.dtype not in ((np.int64, np.int32) if numpy else (torch.int64, torch.int32)):
        raise TypeError(f"index: expected int64 or int32, got {index.dtype}")
    if tuple(index.shape) != tuple(delta.shape[:2]):
        raise ValueError(f"index: expected shape {list(delta.shape[:2])} like delta, got {list(index.shape)}")
    if not numpy:
        check_device("index", index, "delta", delta)

"""The slow path of a call, once its arguments are checked: to NumPy's functions or to torch's dispatcher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from . import torch_library  # noqa: F401  (registers torch.ops.fimo_fast)
from .checks import check_out, check_torch_out
from .dtypes import accumulator
from .numpy_kernels import NUMPY, native_layout, numpy_accumulator
from .registry import OPS, Op
from .sketch_args import signed


def _slow_path(op: Op) -> Callable[..., Any]:
    name, shape, like, tensors, seed = op.name, op.shape, op.like, op.tensors, op.position("seed")
    like_name = op.arguments[like][1]
    arrays = [i for i, (kind, _) in enumerate(op.arguments) if kind.startswith("Tensor")]
    new: Any = getattr(torch.ops.fimo_fast, name)
    into: Any = getattr(torch.ops.fimo_fast, f"{name}_") if op.adds else None

    def run(*args: Any, out: Any = None) -> Any:
        x = args[like]
        if isinstance(x, np.ndarray):
            native = [*args]
            for i in arrays:
                native[i] = native_layout(args[i])
            if out is None:
                return NUMPY[name](*native)
            check_out(out, np.ndarray, shape(*args), numpy_accumulator(x.dtype), like_name)
            return NUMPY[name](*native, out=out)
        if seed is not None and args[seed] >= 2**63:
            args = (*args[:seed], signed(args[seed]), *args[seed + 1 :])
        if out is None:
            return new(*args)
        check_torch_out(out, shape(*args), accumulator(x.dtype), like_name, x)
        into(*args[:tensors], out, *args[tensors:])
        return out

    return run


SLOW_PATH: dict[str, Callable[..., Any]] = {name: _slow_path(op) for name, op in OPS.items()}
"""For each op, a function of the schema's arguments (seeds unsigned), and of ``out`` if the result is added to it."""

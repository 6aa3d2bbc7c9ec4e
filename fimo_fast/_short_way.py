"""The short way of a call, past the checks of `fimo_fast.ops` that the compiled module makes too, for tiny inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _numpy_ops, _torch_cpu, _torch_ops

# What the compiled module raises. A direct call that fails is repeated by the checked way, which says what is wrong in
# the caller's terms, copies strided inputs, and reaches other devices and torch's transforms.
_REFUSED = (TypeError, ValueError, RuntimeError, BufferError, AttributeError, IndexError, KeyError)


def short_way(op: str, arrays: tuple[Any, ...], *rest: Any) -> Any:
    """The result of ``op`` by the short way: all NumPy, or all torch where `_torch_ops.direct` allows it; else None."""
    try:
        if type(arrays[0]) is np.ndarray:
            if _all_numpy(arrays):
                return getattr(_numpy_ops, op)(*arrays, *rest)
        elif _torch_ops.direct(*arrays):
            return _torch_cpu.CPU[op](*arrays, *rest)
    except _REFUSED:
        pass
    return None


def _all_numpy(arrays: tuple[Any, ...]) -> bool:
    for x in arrays:  # noqa: SIM110  (a generator costs half a microsecond)
        if type(x) is not np.ndarray:
            return False
    return True

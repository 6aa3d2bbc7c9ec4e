"""The fast path of a tiny call: past the checks of `fimo_fast.ops` that the compiled module makes too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.compiler import is_compiling
from torch.jit import is_tracing

from . import numpy_kernels
from .torch_kernels import CPU

# What the compiled module raises. A direct call that fails is repeated by the checked way, which says what is wrong in
# the caller's terms, copies strided inputs, and reaches other devices and torch's transforms.
_REFUSED = (TypeError, ValueError, RuntimeError, BufferError, AttributeError, IndexError, KeyError)


def try_fast_path(op: str, arrays: tuple[Any, ...], *rest: Any) -> Any:
    """The result of ``op`` by the fast path: all NumPy, or all torch where `direct` allows it; else None."""
    try:
        if type(arrays[0]) is np.ndarray:
            if _all_numpy(arrays):
                return getattr(numpy_kernels, op)(*arrays, *rest)
        elif direct(*arrays):
            return CPU[op](*arrays, *rest)
    except _REFUSED:
        pass
    return None


def _all_numpy(arrays: tuple[Any, ...]) -> bool:
    for x in arrays:  # noqa: SIM110  (a generator costs half a microsecond)
        if type(x) is not np.ndarray:
            return False
    return True


# How many modes stand between a call and its kernel (fake tensors, tracing, profilers of operators); private to torch,
# so every call goes through the dispatcher where it is missing.
_active_modes: Callable[[], int] = getattr(torch._C, "_len_torch_dispatch_stack", lambda: 1)


def direct(*tensors: Any) -> bool:
    """Whether the functions of `torch_kernels` may be called without torch's dispatcher, which costs a call 3 us.

    They may for plain CPU tensors while nothing compiles, traces or records gradients, in either mode. The dispatcher
    also computes what a lazy negation stands for, whose memory has the other sign. What else hides in a plain tensor (a
    transform of torch.func) has no memory to show and makes the compiled module raise.
    """
    if is_compiling() or is_tracing() or forward_ad._current_level >= 0:
        return False
    for x in tensors:
        if type(x) is not Tensor or not x.is_cpu or x.requires_grad or x.is_neg():
            return False
    return not _active_modes()

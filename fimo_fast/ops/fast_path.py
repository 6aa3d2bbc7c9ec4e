"""The fast path of a tiny call: past the checks of `fimo_fast.ops` that the compiled module makes too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy import ndarray
from torch import Tensor
from torch.autograd import forward_ad
from torch.compiler import is_compiling

from .numpy_kernels import NUMPY
from .registry import OPS
from .torch_kernels import kernels

# What the compiled module raises. A direct call that fails is repeated by the slow path (`slow_path`), which says what
# is wrong in the caller's terms, copies strided inputs, and reaches other devices and torch's transforms.
_REFUSED = (TypeError, ValueError, RuntimeError, BufferError, AttributeError, IndexError, KeyError)
_INT32 = torch.int32
_TENSORS = {op.name: op.tensors for op in OPS.values()}


def try_fast_path(name: str, *args: Any) -> Any:
    """The result of the op by the fast path: all NumPy, or all torch where `direct` allows it; else None."""
    arrays = args[: _TENSORS[name]]
    try:
        if type(arrays[0]) is ndarray:
            for x in arrays:
                if type(x) is not ndarray:
                    return None
            return NUMPY[name](*args)
        if direct(*arrays):
            for x in arrays:
                if not (x.is_contiguous() or x.stride(-1) == 1) or x.dtype is _INT32:
                    return kernels.functions[name](*args)  # converts
            return kernels.calls[name](*args)
    except _REFUSED:
        pass
    return None


# Both are private to torch. What `torch.jit.is_tracing` wraps; and how many modes stand between a call and its kernel
# (fake tensors, tracing, profilers of operators): where it is missing, every call goes through the dispatcher.
_is_tracing: Callable[[], bool] = getattr(torch._C, "_is_tracing", torch.jit.is_tracing)
_active_modes: Callable[[], int] = getattr(torch._C, "_len_torch_dispatch_stack", lambda: 1)


def direct(*tensors: Any) -> bool:
    """Whether the functions of `torch_kernels` may be called without torch's dispatcher, which costs a call 3 us.

    They may for plain CPU tensors while nothing compiles, traces or records gradients, in either mode. The dispatcher
    also computes what a lazy negation stands for, whose memory has the other sign. What else hides in a plain tensor (a
    transform of torch.func) has no memory to show and makes the compiled module raise.
    """
    if is_compiling() or _is_tracing() or forward_ad._current_level >= 0:
        return False
    for x in tensors:
        if type(x) is not Tensor or not x.is_cpu or x.requires_grad or x.is_neg():
            return False
    return not _active_modes()

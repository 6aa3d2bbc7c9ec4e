"""Tensors that say they are on another device and compute on the CPU.

What mixes devices fails here as it would on a GPU, and what does not has the CPU's numbers, to the bit. The other
device is torch's "meta", the only one that every build of torch lets a wrapper claim; its tensors have data here.
Ops of this project run what is registered for CUDA.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pretend_cuda
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from fimo_fast.ops import torch_cuda

DEVICE = torch.device("meta")
_aten = torch.ops.aten
_CUDA = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
_COPIES = {_aten._to_copy.default, _aten.copy_.default}  # between devices, as they are meant to be
_INDEXED = {_aten.index.Tensor, _aten.index_put_.default, _aten.index_put.default, _aten._index_put_impl_.default}


class OnDevice(Tensor):
    """``inner``, as if it were on `DEVICE`."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnDevice:
        return Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=DEVICE, requires_grad=inner.requires_grad,
        )  # fmt: skip

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    def __repr__(self, **kwargs: Any) -> str:
        return f"OnDevice({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(op, args, kwargs or {})


class _Creations(TorchDispatchMode):
    """Also ops without tensors, which name their device."""

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(op, args, kwargs or {})


def _run(op: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    leaves, spec = tree_flatten((args, kwargs))
    there = [x for x in leaves if isinstance(x, OnDevice)]
    here = [x for x in leaves if isinstance(x, Tensor) and not isinstance(x, OnDevice)]
    # As on a GPU: numbers of the CPU go anywhere, and its indices into anything.
    mixed = there and any(x.ndim for x in here) and op not in _COPIES
    if mixed and not (op in _INDEXED and isinstance(args[0], OnDevice)):
        raise RuntimeError(
            f"{op}: expected all tensors on one device, got some of shape {[list(x.shape) for x in here]}"
        )
    inner_args, inner_kwargs = tree_unflatten([x.inner if isinstance(x, OnDevice) else x for x in leaves], spec)
    device = inner_kwargs.get("device")
    if device is not None:
        inner_kwargs["device"] = torch.device("cpu")
    if op.namespace == "fimo_fast" and there:
        result = op.redispatch(_CUDA, *inner_args, **inner_kwargs)
    else:
        result = op(*inner_args, **inner_kwargs)
    if op is _aten.copy_.default:
        return args[0]
    if (torch.device(device) == DEVICE) if device is not None else there:
        result = tree_map(lambda x: OnDevice(x) if type(x) is Tensor else x, result)
        return return_and_correct_aliasing(op, args, kwargs, result) if there else result
    return result


def moved(x: Any) -> Any:
    """The tensors of a tree, on the device."""
    return tree_map(lambda leaf: OnDevice(leaf) if isinstance(leaf, Tensor) else leaf, x)


def move(module: nn.Module) -> nn.Module:
    """``module`` with its parameters and buffers on the device; tied ones stay tied."""
    known: dict[int, Tensor] = {}
    for owner in module.modules():
        for name, parameter in owner._parameters.items():
            if parameter is not None:
                fresh = nn.Parameter(OnDevice(parameter.data), requires_grad=parameter.requires_grad)
                owner._parameters[name] = known.setdefault(id(parameter), fresh)  # type: ignore[assignment]
        for name, buffer in owner._buffers.items():
            if buffer is not None:
                owner._buffers[name] = known.setdefault(id(buffer), OnDevice(buffer))
    return module


@contextlib.contextmanager
def device(monkeypatch: Any) -> Iterator[pretend_cuda.Module]:
    """Tensors created on `DEVICE` inside the block are `OnDevice`; autocast takes it for a device it knows.

    Gives the stand-in of the compiled module, which counts the calls of kernels.
    """
    module = pretend_cuda.Module()
    kernels = torch_cuda.CudaKernels(module, lambda x: (lambda size: torch.empty(size, dtype=torch.uint8), 0))
    tensor, autocast, dtype = torch.tensor, torch.autocast, torch.get_autocast_dtype
    enabled = torch.is_autocast_enabled

    def make(data: Any, *, device: Any = None, **more: Any) -> Tensor:  # does not pass the dispatcher
        made = tensor(data, **more)
        return OnDevice(made) if device is not None and torch.device(device) == DEVICE else made

    def no_autocast(kind: str, *args: Any, **kwargs: Any) -> Any:
        return contextlib.nullcontext() if kind == DEVICE.type else autocast(kind, *args, **kwargs)

    with monkeypatch.context() as patch, _Creations():
        patch.setattr(torch_cuda, "kernels", kernels)
        patch.setattr(torch, "tensor", make)
        patch.setattr(torch, "autocast", no_autocast)
        patch.setattr(torch, "get_autocast_dtype", lambda kind: torch.float16 if kind == DEVICE.type else dtype(kind))
        patch.setattr(torch, "is_autocast_enabled", lambda *kind: kind != (DEVICE.type,) and enabled(*kind))
        yield module

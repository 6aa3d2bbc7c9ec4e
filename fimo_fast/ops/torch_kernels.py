"""The ops on torch tensors by compiled functions: allocate, call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .dtypes import accumulator
from .native import _C
from .registry import OPS, Op

__all__ = ["OPS", "Kernels", "kernels"]

Function = Callable[..., Any]
_ACCUMULATOR = {
    dtype: accumulator(dtype) for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int8)
}


# --- Arguments of a torch op as the compiled function takes them ----------------------------------


def _unit_stride(x: Tensor) -> Tensor:
    """``x``, copied if its last dimension is strided."""
    return x if x.is_contiguous() or x.stride(-1) == 1 or x.shape[-1] <= 1 else x.contiguous()


def _int64(index: Tensor) -> Tensor:
    """``index`` with unit stride, converted from int32 only: the compiled module refuses other types."""
    return _unit_stride(index.to(torch.int64) if index.dtype == torch.int32 else index)


def _contiguous(scales: Tensor | None) -> Tensor | None:
    return None if scales is None else scales.contiguous()


def _unsigned(seed: int) -> int:
    """The schemas' integers are signed."""
    return seed & (2**64 - 1)


_CONVERT: dict[str, Function] = {
    "Tensor": _unit_stride,
    "Tensor index": _int64,
    "Tensor?": _contiguous,
    "int seed": _unsigned,
}


def _conversions(op: Op) -> list[tuple[int, Function]]:
    """The positions of the arguments to convert, and how."""
    found = (_CONVERT.get(f"{kind} {name}") or _CONVERT.get(kind) for kind, name in op.arguments)
    return [(i, convert) for i, convert in enumerate(found) if convert is not None]


# --- The calls ------------------------------------------------------------------------------------


class Kernels:
    """The ops by the compiled functions for one kind of device.

    Attributes:
        compiled: the compiled function of each op.
        calls: by name of an op, what allocates its result and calls the compiled function. Takes all arguments of the
            schema, as the compiled function does: with unit strides, int64 indices and unsigned seeds.
        functions: by name of an op, the same for arguments as torch's dispatcher passes them; and by ``name + "_into"``
            what adds the result into ``out``, the argument behind the other tensors.

    Args:
        module: has a function ``prefix + name`` for every op.
        prefix: of the functions' names.
        where: the last arguments of each of them, for an input tensor: how or where to run.
    """

    def __init__(self, module: Any, prefix: str, where: Callable[[Tensor], tuple[Any, ...]]):
        self._where = where
        self.compiled: dict[str, Function] = {name: getattr(module, prefix + name) for name in OPS}
        self.calls = {name: self._allocating(op) for name, op in OPS.items()}
        self.functions = {name: self._converting(op) for name, op in OPS.items()}
        self.functions |= {f"{name}_into": self._adding(op) for name, op in OPS.items() if op.adds}

    def _allocating(self, op: Op) -> Function:
        name, shape, like, adds, compiled = op.name, op.shape, op.like, op.adds, self.compiled

        def one(*args: Any) -> Tensor:
            x = args[like]
            new = x.new_zeros if adds else x.new_empty
            out: Tensor = new(*shape(*args), dtype=_ACCUMULATOR[x.dtype])
            compiled[name](*args, out, *self._where(x))
            return out

        def two(*args: Any) -> tuple[Tensor, Tensor]:
            x, size = args[like], shape(*args)
            out, indices = x.new_empty(*size, dtype=_ACCUMULATOR[x.dtype]), x.new_empty(*size, dtype=torch.int64)
            compiled[name](*args, out, indices, *self._where(x))
            return out, indices

        return two if op.indices else one

    def _converting(self, op: Op) -> Function:
        call, conversions, left_out = self.calls[op.name], _conversions(op), [None] * len(op.arguments)

        def run(*given: Any) -> Any:
            args = [*given, *left_out[len(given) :]]
            for i, convert in conversions:
                args[i] = convert(args[i])
            return call(*args)

        return run

    def _adding(self, op: Op) -> Function:
        name, at, compiled = op.name, op.tensors, self.compiled
        conversions, left_out = _conversions(op), [None] * len(op.arguments)

        def run(*given: Any) -> None:
            out = given[at]
            args = [*given[:at], *given[at + 1 :], *left_out[len(given) - 1 :]]
            for i, convert in conversions:
                args[i] = convert(args[i])
            compiled[name](*args, out, *self._where(out))
            if not out.is_inference():  # tells autograd, in case somebody's backward saved it
                torch.autograd.graph.increment_version(out)

        return run


kernels = Kernels(_C, "", lambda x: (torch.get_num_threads(),))

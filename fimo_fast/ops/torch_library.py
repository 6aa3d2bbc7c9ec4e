"""The torch ops ``torch.ops.fimo_fast.*``: schemas, and what runs for each device and for fake tensors.

Registered with ``Library.define`` and ``impl``, which cost a call 2 us; ``torch.library.custom_op``
costs 14. Arguments are checked by `fimo_fast.ops`, memory by the compiled module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from . import torch_cuda, torch_kernels
from .dtypes import accumulator
from .registry import OPS, Op

_library = torch.library.Library("fimo_fast", "DEF")


# --- Autograd: none, and no silence about it ------------------------------------------------------


def _refuse_tangents(name: str) -> Callable[..., Any]:
    """What runs ``name`` first: it refuses tangents of forward-mode derivatives, which would be dropped.

    Here and not in `fimo_fast.ops`, because only the dispatcher opens the wrappers of torch.func one by one. (Gradients
    of reverse mode are refused there, by ``requires_grad``.)
    """
    op = getattr(torch.ops.fimo_fast, name)
    argument_names = [argument.name for argument in op.default._schema.arguments]

    def run(*args: Any) -> Any:
        if forward_ad._current_level >= 0:
            for argument, x in zip(argument_names, args, strict=False):
                if isinstance(x, Tensor) and forward_ad.unpack_dual(x).tangent is not None:
                    raise RuntimeError(
                        f"{argument}: has a forward-mode tangent, but fimo_fast.{name} has no derivative; "
                        f"pass {argument}.detach()"
                    )
        with torch._C._AutoDispatchBelowAutograd():
            return op(*args)

    return run


# --- Fake tensors: shapes and types ---------------------------------------------------------------


def _fake(op: Op) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        x, shape = args[op.like], op.shape(*args)
        out = x.new_empty(shape, dtype=accumulator(x.dtype))
        return (out, x.new_empty(shape, dtype=torch.int64)) if op.indices else out

    return run


# --- Registration ---------------------------------------------------------------------------------


def _register(name: str, schema: str, implementation: str, fake: Callable[..., Any]) -> None:
    _library.define(f"{name}{schema}")
    _library.impl(name, torch_kernels.kernels.functions[implementation], "CPU")
    _library.impl(name, torch_cuda.CUDA[implementation], "CUDA")
    _library.impl(name, _refuse_tangents(name), "Autograd")
    torch.library.register_fake(f"fimo_fast::{name}", fake, lib=_library)


for _op in OPS.values():
    _result = "(Tensor, Tensor)" if _op.indices else "Tensor"
    _register(_op.name, f"({_op.schema}) -> {_result}", _op.name, _fake(_op))
    if _op.adds:
        _arguments = _op.schema.split(", ")
        _arguments.insert(_op.tensors, "Tensor(a!) out")
        _register(f"{_op.name}_", f"({', '.join(_arguments)}) -> ()", f"{_op.name}_into", lambda *args: None)

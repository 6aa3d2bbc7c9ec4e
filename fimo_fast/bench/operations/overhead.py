"""Cases of the fixed cost of a call: inputs so small that the kernel itself takes no time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from ...ops import outer_dot, outer_norm2, outer_project, project, reference, scores, topk
from ...sketch import SRHT, Factored
from ..case import Baseline, Call, Case, Inputs

_SKETCH = SRHT(64, 16)
_FACTORED = Factored(a=SRHT(8, 4, seed=1), delta=SRHT(8, 4, seed=2))

# op: (shapes of the inputs, the call, its definition)
Overhead = tuple[list[tuple[int, ...]], Callable[..., Any], Callable[..., Any]]
CALLS: dict[str, Overhead] = {
    "project": ([(1, 64)], lambda g: project(g, _SKETCH), lambda g: reference.project(g, _SKETCH)),
    "outer_project": (
        [(1, 1, 8)] * 2,
        lambda a, delta: outer_project(a, delta, _FACTORED),
        lambda a, delta: reference.outer_project(a, delta, _FACTORED),
    ),
    "outer_dot": ([(1, 1, 4)] * 4, outer_dot, reference.outer_dot),
    "outer_norm2": ([(1, 1, 4)] * 2, outer_norm2, reference.outer_norm2),
    "scores": ([(1, 8), (8, 8)], scores, reference.scores),
    "topk": ([(1, 8), (8, 8)], lambda q, f: topk(q, f, 1)[0], lambda q, f: reference.topk(q, f, 1)[0]),
}


def cases(dtypes: tuple[torch.dtype, ...], full: bool = False) -> Iterator[Case]:
    """Every op from torch and, where NumPy has the type, from NumPy; ``full`` has no more."""
    for op in CALLS:
        for dtype in dtypes:
            yield case(op, "torch", dtype)
            if dtype in (torch.float32, torch.float64, torch.float16):
                yield case(op, "NumPy", dtype)


def case(op: str, library: str, dtype: torch.dtype) -> Case:
    """One op called from ``torch`` or ``NumPy``, beside a product of two tiny matrices of the same library."""
    shapes, call, definition = CALLS[op]

    def inputs(device: torch.device) -> Inputs:
        made = [torch.randn(shape, dtype=dtype, device=device) for shape in shapes]
        return tuple(made) if library == "torch" else tuple(x.cpu().numpy() for x in made)

    def check(inputs: Inputs, result: Any) -> None:
        assert isinstance(result, np.ndarray if library == "NumPy" else torch.Tensor), type(result)
        expected = definition(*(torch.as_tensor(x).double() for x in inputs))
        torch.testing.assert_close(torch.as_tensor(result).double(), expected, rtol=1e-5, atol=1e-5)

    return Case(
        operation="overhead",
        name=f"{op} from {library}",
        dtype=dtype,
        sizes={f"input {i} axis {axis}": size for i, shape in enumerate(shapes) for axis, size in enumerate(shape)},
        moved=0,
        operations=0,
        bound="call",
        memory=0,
        inputs=inputs,
        kernel=call,
        check=check,
        baselines={f"{library} a @ b": Baseline("torch", _product)},
        only="cpu" if library == "NumPy" else None,
    )


def _product(inputs: Inputs) -> Call:
    a = inputs[0].reshape(1, -1)
    b = a.T.copy() if isinstance(a, np.ndarray) else a.T.contiguous()
    return lambda: a @ b

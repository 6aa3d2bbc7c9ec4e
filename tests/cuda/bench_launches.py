"""The launches of the cases of `fimo-fast bench` (fimo_fast/bench), without their data."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
from launches import Launch, Shapes, recorded
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fimo_fast import bench
from fimo_fast.bench import Case
from fimo_fast.bench.operations import project

TYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int8)
_OPERATIONS = [name for name in bench.OPERATIONS if name != "overhead"]


def all_cases() -> list[Case]:
    """Those of ``fimo-fast bench``, with ``--full``, and the dense sketches of the large size."""
    found = [c for full in (False, True) for op in _OPERATIONS for c in bench.cases(op, TYPES, full)]
    found += [
        project.case(kind, *size, dtype) for size in project.LARGE for kind in project.KINDS for dtype in TYPES[:3]
    ]
    return list({str(case): case for case in found}.values())


class _Recorded(TorchDispatchMode):
    """Keeps the calls of this project's ops, whose schemas name the arguments as `case.h` does."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Shapes] = []

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if op is torch.ops.aten.nonzero.default:  # no place has a number that is not finite
            return torch.empty(0, args[0].ndim, dtype=torch.int64, device=args[0].device)
        result = op(*args, **(kwargs or {}))
        if op.namespace == "fimo_fast":
            given = {argument.name: value for argument, value in zip(op._schema.arguments, args, strict=False)}
            given |= {"values": result[0], "indices": result[1]} if isinstance(result, tuple) else {"out": result}
            self.calls.append(_shapes(op._opname, given))
        return result


def _shapes(op: str, given: dict[str, Any]) -> Shapes:
    tensors = {name: (tuple(x.shape), x.dtype) for name, x in given.items() if isinstance(x, Tensor)}
    numbers = {name: [given[name]] for name in ("k", "offset") if given.get(name) is not None}
    if "kind" in given:  # of one sketch, number by number
        numbers["sketch"] = [given[name] for name in ("input_dim", "sketch_dim", "seed", "nonzeros")]
    elif "kinds" in given:
        numbers["sketch"] = given["numbers"]
    return Shapes("", op, tensors, given.get("kind", given.get("kinds", "")), numbers)


def calls(case: Case) -> list[Shapes]:
    """The calls of the C++ API that a case makes, found by making them on tensors without memory."""
    with _Recorded() as seen:
        case.kernel(*case.inputs(torch.device("meta")))
    return seen.calls


def launches_of(runner: Path, found: list[Case]) -> dict[str, list[Launch]]:
    """By the case's string."""
    shapes: list[Shapes] = []
    owners: list[str] = []
    for case in found:
        for call in calls(case):
            call.name = f"{len(shapes)}"
            shapes.append(call)
            owners.append(str(case))
    by_call = recorded(runner, shapes)
    result: dict[str, list[Launch]] = {}
    for owner, group in itertools.groupby(zip(owners, shapes, strict=True), key=lambda pair: pair[0]):
        result[owner] = [launch for _, call in group for launch in by_call[call.name]]
    return result

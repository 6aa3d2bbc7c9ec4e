"""The launches of the cases of `fimo-fast bench` (fimo_fast/bench), without their data."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from launches import Launch, Shapes, recorded

from fimo_fast import bench
from fimo_fast.bench import Case
from fimo_fast.bench.operations import project
from fimo_fast.ops.sketch_args import to_args
from fimo_fast.sketch import Composition

TYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int8)
_OPERATIONS = [name for name in bench.OPERATIONS if name != "overhead"]


def all_cases() -> list[Case]:
    """Those of ``fimo-fast bench``, with ``--full``, and the dense sketches of the large size."""
    found = [c for full in (False, True) for op in _OPERATIONS for c in bench.cases(op, TYPES, full)]
    found += [
        project.case(kind, *size, dtype) for size in project.LARGE for kind in project.KINDS for dtype in TYPES[:3]
    ]
    return list({str(case): case for case in found}.values())


def calls(case: Case) -> list[Shapes]:
    """The calls of the C++ API that a case makes."""
    s, dtype = case.sizes, case.dtype
    sketch = case.kernel.keywords["sketch"] if hasattr(case.kernel, "keywords") else None
    f32 = torch.float32

    def call(**tensors: tuple[tuple[int, ...], torch.dtype]) -> Shapes:
        kinds, numbers = to_args(sketch) if sketch is not None else ("", [])
        given = {"sketch": numbers} if kinds else {}
        return Shapes("", case.operation, tensors, kinds, given)  # type: ignore[arg-type]

    if case.operation == "project":
        if isinstance(sketch, Composition):
            first, second, batch = sketch.first, sketch.second, s["batch"]
            shapes = []
            for stage, kind in ((first, dtype), (second, f32)):
                kinds, numbers = to_args(stage)
                tensors = {"grads": ((batch, stage.input_dim), kind), "out": ((batch, stage.sketch_dim), f32)}
                shapes.append(Shapes("", "project", tensors, kinds, {"sketch": numbers}))
            return shapes
        return [call(grads=((s["batch"], s["dim"]), dtype), out=((s["batch"], s["sketch_dim"]), f32))]
    if case.operation == "outer_project":
        batch, tokens = s["batch"], s["tokens"]
        out = ((batch, sketch.sketch_dim), f32)
        return [call(a=((batch, tokens, s["n"]), dtype), delta=((batch, tokens, s["m"]), dtype), out=out)]
    if case.operation == "rows_project":
        index = ((s["batch"], s["tokens"]), torch.int64)
        return [
            call(
                index=index,
                delta=((s["batch"], s["tokens"], s["dim"]), dtype),
                out=((s["batch"], s["sketch_dim"]), f32),
            )
        ]
    if case.operation in ("outer_dot", "outer_norm2"):
        a, delta = ((s["batch"], s["tokens"], s[d]) for d in ("n", "m"))
        if case.operation == "outer_norm2":
            return [call(a=(a, dtype), delta=(delta, dtype), out=((s["batch"],), f32))]
        out = ((s["batch"], s["batch"]), f32)
        return [call(a=(a, dtype), delta=(delta, dtype), a2=(a, dtype), delta2=(delta, dtype), out=out)]
    tensors = {"queries": ((s["queries"], s["dim"]), dtype), "features": ((s["features"], s["dim"]), dtype)}
    if dtype == torch.int8:
        tensors |= {"query_scales": ((s["queries"],), f32), "feature_scales": ((s["features"],), f32)}
    if case.operation == "scores":
        return [call(**tensors, out=((s["queries"], s["features"]), f32))]
    result = (s["queries"], s["k"])
    found = call(**tensors, values=(result, f32), indices=(result, torch.int64))
    found.numbers = {"k": [s["k"]]}
    return [found]


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

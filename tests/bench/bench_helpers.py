"""What several tests of the benchmark use: small cases, made-up results, and the command."""

import json
import re
from unittest import mock

import torch
from rich.console import Console
from typer.testing import CliRunner

from fimo_fast.bench import command
from fimo_fast.bench.case import Case
from fimo_fast.bench.measured import Entry, Result
from fimo_fast.bench.operations import outer, outer_project, overhead, project, rows_project, scores
from fimo_fast.cli import app

CUDA = torch.device("cuda", 0)
F32, F64, BF16, INT8 = torch.float32, torch.float64, torch.bfloat16, torch.int8

# Every operation, in every type, as small as can be.
SMALL = [
    *(project.case(kind, 3, 5000, 96, dtype) for kind in project.KINDS for dtype in (F32, F64, BF16)),
    *(outer_project.case(kind, 5, 3, 12, 10, 16, dtype) for kind in outer_project.KINDS for dtype in (F32, F64, BF16)),
    *(rows_project.case(kind, 5, 9, 20, 12, 16, dtype) for kind in rows_project.KINDS for dtype in (F32, F64, BF16)),
    outer.dot_case("MLP", 40, 1, 6, 5, F32),
    outer.dot_case("long", 3, 30, 6, 5, BF16),
    outer.norm_case("MLP", 40, 1, 6, 5, F32),
    outer.norm_case("long", 3, 30, 6, 5, F64),
    *(
        make(queries, 50, 7, dtype)
        for make in (scores.scores_case, scores.topk_case)
        for queries in (3, 70)
        for dtype in (F32, F64, BF16, INT8)
    ),
    *(overhead.case(op, library, F32) for op in overhead.CALLS for library in ("torch", "NumPy")),
]

# What a device did: bytes and operations a second.
KNOWN = {"read": 3e12, "SGEMM": 50e12, "TF32 GEMM": 400e12, "bfloat16 GEMM": 800e12, "int8 GEMM": 1500e12}


def make(
    bound="read", baselines=None, check=lambda inputs, result: None, kernel=torch.sum, moved=4400, operations=1000
):
    return Case(
        operation="sum",
        name="of 1000",
        dtype=torch.float32,
        sizes={"n": 1000},
        moved=moved,
        operations=operations,
        bound=bound,
        memory=0,
        inputs=lambda device: (torch.ones(1000, device=device),),
        kernel=kernel,
        check=check,
        baselines=baselines or {},
    )


def result_on_cuda(case, times, known=KNOWN):
    entries = [Entry(role, role, lambda: None, 1, rounds=[t, 2 * t]) for role, t in times.items()]
    return Result(case, 1, 4000, entries, {}, known, CUDA)


PREDICTION = {"seconds": 1e-3, "floor_seconds": 8e-4, "bound": "memory"}


def write_predictions(path, cases, device="H100 SXM"):
    path.write_text(json.dumps({"device": device, "cases": cases}))
    return path


def run(*options):
    # A console takes COLUMNS when it is made: that of the command long ago, that of errors now.
    with mock.patch.object(command, "_console", Console(width=300)):
        done = CliRunner().invoke(app, ["bench", *map(str, options)], env={"COLUMNS": "300"})
    return done, re.sub(r"[\s│]+", " ", done.output)

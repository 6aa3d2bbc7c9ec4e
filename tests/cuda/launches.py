"""Which kernels a call launches, with which grid, block and shared memory: recorded by the emulator without running
them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cases
import torch
from cases import Case

_LINE = re.compile(r"(.+) grid \((\d+), (\d+), (\d+)\) block \((\d+), (\d+), (\d+)\) shared (\d+)")


@dataclass(frozen=True)
class Launch:
    """One launch: the kernel's name with its template arguments, blocks, threads of a block, bytes of shared memory."""

    kernel: str
    grid: tuple[int, int, int]
    threads: int
    shared: int

    @property
    def blocks(self) -> int:
        """All of the grid."""
        return self.grid[0] * self.grid[1] * self.grid[2]


@dataclass
class Shapes:
    """A call without data: name of the op, {argument: (shape, dtype)}, a sketch's kinds, numbers. All contiguous."""

    name: str
    op: str
    tensors: dict[str, tuple[Sequence[int], torch.dtype]]
    kinds: str = ""
    numbers: dict[str, list[int]] = field(default_factory=dict)


def _dump(shapes: Shapes) -> bytes:
    lines = []
    for key, (shape, dtype) in shapes.tensors.items():
        strides = [1]
        for size in reversed(shape[1:]):
            strides.insert(0, strides[0] * size)
        words = [key, cases.dtype_name(dtype), len(shape), *shape, *strides]
        lines.append(f"shape {' '.join(map(str, words))}\n".encode())
    return b"".join([cases.head(shapes.name, shapes.op, shapes.kinds, shapes.numbers), *lines, b"end\n"])


def recorded(runner: Path, found: Iterable[Case | Shapes]) -> dict[str, list[Launch]]:
    """The launches of each case, by name.

    Raises:
        AssertionError: a case cannot be called.
    """
    found = list(found)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cases"
        with open(file, "wb") as stream:
            stream.writelines(_dump(x) if isinstance(x, Shapes) else cases.dump(x) for x in found)
        environment = {**os.environ, "FIMO_EMULATOR_TRACE": "1", "FIMO_EMULATOR_DRY": "1"}
        done = subprocess.run([runner, file], capture_output=True, text=True, env=environment)
    trace = [_launch(line) for line in done.stderr.splitlines() if _LINE.fullmatch(line)]
    # Without having run the results are wrong by any number, also by "inf", which is no JSON.
    lines = [re.sub(r'"error": [^,]*, ', "", line) for line in done.stdout.splitlines() if line.startswith("{")]
    results = [json.loads(line) for line in lines]
    without_data = {case.name for case in found if isinstance(case, Shapes)}
    wrong = [f"{r['name']}: {r['problem']}" for r in results if r["problem"] and r["name"] in without_data]
    assert len(results) == len(found) and not wrong, f"{wrong[:5]} {done.stderr[-500:]}"
    launches: dict[str, list[Launch]] = {}
    for result in results:
        count = len(result["kernels"])
        launches[result["name"]], trace = trace[:count], trace[count:]
    return launches


def _launch(line: str) -> Launch:
    found = _LINE.fullmatch(line)
    assert found
    x, y, z, a, b, c, shared = map(int, found.groups()[1:])
    return Launch(found[1].replace("fimo::cuda::", "").replace("> >", ">>"), (x, y, z), a * b * c, shared)

"""Predicts how long the benchmark's cases take on an H100 SXM. Nothing here has been measured.

usage: python -m tools.cuda.speed_model [--runner RUNNER] [--write] [--explain CASE]

For each kernel that a case launches: the clocks that its instructions take of each unit of the busiest
multiprocessor, the bytes that come from memory, and the time in which its blocks can run one after the other; the
longest of these is the kernel's time (execution.py, h100.py). docs/cuda_performance.md says what that leaves out.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import runners
import torch
from architectures import ARCHITECTURES
from bench_launches import TYPES, all_cases, launches_of
from launches import Launch
from resources import compiled, release_build

from fimo_fast import bench
from fimo_fast.bench import Case
from fimo_fast.bench.case import dtype_name

from . import h100, sass
from .execution import Work, warp_cost
from .works import WORKS

ARCHITECTURE = "sm_90a"
PAGE = runners.ROOT / "docs" / "cuda_performance.md"
JSON = Path(__file__).with_name("cuda_predictions.json")
_BEGIN, _END = "<!-- predictions -->\n", "<!-- end -->"


@dataclass
class KernelTime:
    """Of one launch.

    Attributes:
        limits: seconds that each limit asks for: memory, L2, the units, `latency`.
    """

    launch: Launch
    blocks_at_once: int
    limits: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Without starting it."""
        return max(self.limits.values())

    @property
    def bound(self) -> str:
        """What takes longest."""
        return max(self.limits, key=lambda name: self.limits[name])


@dataclass
class Prediction:
    """Of one case."""

    case: Case
    floor: float
    floor_of: str
    kernels: list[KernelTime]
    zeroed: bool

    @property
    def launches(self) -> int:
        """Of kernels, with that which torch needs for zeros to add to."""
        return len(self.kernels) + self.zeroed

    @property
    def work(self) -> float:
        """Seconds of the kernels alone."""
        return sum(kernel.seconds for kernel in self.kernels)

    @property
    def seconds(self) -> float:
        """With starting every kernel."""
        return self.work + self.launches * h100.LAUNCH

    @property
    def bound(self) -> str:
        """Launches, or the limit of the kernel that takes longest."""
        if self.launches * h100.LAUNCH > self.work:
            return "launches"
        longest = max(self.kernels, key=lambda kernel: kernel.seconds)
        return f"{longest.bound} ({longest.launch.kernel.split('<')[0].removesuffix('_kernel')})"


def floor(case: Case) -> tuple[float, str]:
    """The least time of any implementation, and why: bytes once, or the fewest operations on the unit that does most.

    float32 on tensor cores takes three products of TF32, or of bfloat16 where the other side is ±1; entries of a
    Gaussian
    sketch are about 37 operations of the ordinary units each (7.5 of Philox, 30 of Box-Muller).
    """
    clocks = h100.MULTIPROCESSORS * h100.CLOCK
    limits = {"bytes": case.moved / h100.MEMORY}
    products = {torch.float32: h100.TENSOR["tf32"] / 3, torch.int8: h100.TENSOR["int8"]}
    rate = products.get(case.dtype, h100.TENSOR["16 bit"])
    dense = case.bound == "sgemm" or case.operation in ("scores", "topk", "outer_dot", "outer_norm2")
    if "Rademacher" in case.name and case.dtype == torch.float32:
        rate = h100.TENSOR["16 bit"] / 3
    if "Gaussian" in case.name:
        rate = h100.TENSOR["16 bit"] / {torch.float32: 6, torch.bfloat16: 3, torch.float16: 2}[case.dtype]
        entries = case.sizes["dim"] * case.sizes["sketch_dim"]
        limits["entries"] = entries * 37 / (h100.ISSUE * 32 * clocks)
    if "Rademacher" in case.name and case.operation == "project":
        entries = case.sizes["dim"] * case.sizes["sketch_dim"]
        limits["entries"] = entries * 60 / 128 / (h100.ISSUE * 32 * clocks)
    name = "tensor cores" if dense else "additions"
    # Additions and multiplications of float32 that cannot be products: one each.
    limits[name] = case.operations / ((rate if dense else h100.FLOAT32 / 2) * clocks)
    return max((seconds, name) for name, seconds in limits.items())


def kernel_time(kernel: sass.Kernel, launch: Launch, work: Work, registers: int) -> KernelTime:
    """The limits of one launch."""
    at_once = ARCHITECTURES[ARCHITECTURE].blocks_at_once(launch.threads, registers, launch.shared)
    cost = warp_cost(kernel, work)
    warps = math.ceil(launch.threads / 32)
    busiest = math.ceil(launch.blocks / h100.MULTIPROCESSORS)
    found = KernelTime(launch, at_once)
    units = dict(cost.units)
    # The two halves of the multiply-add unit take float32; one of them also the integers.
    integers = units.pop("imad", 0.0)
    units["fma"] = max(integers, (units.get("fma", 0.0) * 2 + integers) / 2)
    for name, clocks in units.items():
        found.limits[name] = clocks * warps * busiest / h100.CLOCK / h100.SUSTAINED[name]
    found.limits["latency"] = cost.alone * math.ceil(busiest / at_once) / h100.CLOCK
    found.limits["memory"] = work.bytes / h100.MEMORY / h100.SUSTAINED["memory"]
    found.limits["L2"] = max(work.cached, work.bytes) / h100.L2 / h100.SUSTAINED["L2"]
    return found


def predictions(runner: Path, found: list[Case]) -> list[Prediction]:
    """Of all cases."""
    module = release_build()
    code = sass.kernels(module, ARCHITECTURE)
    usage = compiled(module)
    launches = launches_of(runner, found)
    result = []
    for case in found:
        kernels: list[KernelTime] = []
        before: list[tuple[Launch, Work]] = []
        for launch in launches[str(case)]:
            work = WORKS[launch.kernel.split("<")[0]](launch, case, before)
            before.append((launch, work))
            registers = usage[launch.kernel][ARCHITECTURE].registers
            kernels.append(kernel_time(code[launch.kernel], launch, work, registers))
        zeroed = hasattr(torch.ops.fimo_fast, f"{case.operation}_")  # the kernels of an op that adds into `out`
        result.append(Prediction(case, *floor(case), kernels, zeroed))
    return result


def as_json(found: Iterable[Prediction]) -> str:
    """What fimo_fast/bench/predictions.py reads: device, and cases, {case: {seconds, floor_seconds, bound}}."""
    return json.dumps({"device": "H100 SXM", "cases": {str(p.case): _entry(p) for p in found}}, indent=1) + "\n"


def _entry(p: Prediction) -> dict[str, Any]:
    return {"seconds": float(f"{p.seconds:.3g}"), "floor_seconds": float(f"{p.floor:.3g}"), "bound": p.bound}


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.3g} µs" if seconds < 1e-3 else f"{seconds * 1e3:.3g} ms"


def table(found: Iterable[Prediction]) -> str:
    """As Markdown, a table for each operation."""
    parts: dict[str, list[str]] = {}
    for p in found:
        lines = parts.setdefault(
            p.case.operation,
            [
                f"| {p.case.operation} | floor | of | predicted | of floor | kernels alone | launches | bound |",
                "|---|---:|---|---:|---:|---:|---:|---|",
            ],
        )
        lines.append(
            f"| {p.case.name}, {dtype_name(p.case.dtype)} | {_time(p.floor)} | {p.floor_of} | {_time(p.seconds)} "
            f"| {p.floor / p.seconds:.0%} | {p.floor / p.work:.0%} | {p.launches} | {p.bound} |"
        )
    return "\n\n".join("\n".join(lines) for lines in parts.values()) + "\n"


def shown(found: Iterable[Prediction]) -> list[Prediction]:
    """Those of the page: the default cases, and both batches of all sketches."""
    default = {str(c) for op in bench.OPERATIONS for c in bench.cases(op, TYPES)}
    default |= {str(c) for c in all_cases() if c.operation == "project" and "256 x 1M to 2048" in c.name}
    return [p for p in found if str(p.case) in default]


def explain(p: Prediction) -> str:
    """Every limit of every launch."""
    lines = [f"{p.case}: floor {_time(p.floor)} ({p.floor_of}), predicted {_time(p.seconds)}"]
    for k in p.kernels:
        limits = ", ".join(f"{name} {_time(value)}" for name, value in sorted(k.limits.items(), key=lambda x: -x[1]))
        lines.append(f"  {k.launch.kernel} grid {k.launch.grid}, {k.blocks_at_once} at once: {limits}")
    return "\n".join(lines)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runner", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--explain", default="")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runner = args.runner or runners.build(Path(folder), "plain", target="runner") / "runner"
        found = predictions(runner, all_cases())
    if args.write:
        JSON.write_text(as_json(found))
        before, rest = PAGE.read_text().split(_BEGIN)
        PAGE.write_text(before + _BEGIN + table(shown(found)) + _END + rest.split(_END)[1])
    for p in found:
        if args.explain and args.explain in str(p.case):
            print(explain(p))
    return 0

"""The results of a run as JSON: everything that was measured. Tables and figures are made from it."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .. import build_info
from .case import Case, dtype_name
from .clock import flushed_bytes
from .measured import Entry, Result
from .predictions import Predictions

SCHEMA = 3
_NONE = Predictions()


def document(
    results: Sequence[Result],
    skipped: Mapping[str, str],
    peaks: Mapping[str, float],
    device: torch.device,
    threads: int,
    command: str,
    wrong: Mapping[str, str] | None = None,
    predictions: Predictions = _NONE,
) -> dict[str, Any]:
    """A JSON-able dictionary.

    Args:
        results: of the cases that ran.
        skipped: {case: why it did not}.
        peaks: of `peak.peak_rates`.
        device: where.
        threads: the larger number.
        command: what was typed.
        wrong: {case: how its result differs from the reference, or what it raised}.
        predictions: of the kernels on a CUDA device, to stand beside what was measured.

    Returns:
        ``schema`` 3; ``machine``; ``peaks``: ``read`` in bytes a second, the others, products by name, in operations a
        second; ``predicted_for``: the device of predictions, null where there are none; ``skipped``; ``wrong``;
        ``cases``. Each case has its sizes and what bounds it (``product``: which matrix product that may be),
        ``seconds`` of the kernel, ``floor_seconds``, their ratio ``of_floor`` and the same of medians (null where there
        is no floor), ``scaling`` from one thread (null for one), ``disturbed``: others used the machine all the time,
        ``baselines``: how many times faster the kernel is than each, ``missing``, ``predicted`` (``seconds``,
        ``floor_seconds``, ``bound``; or null), and ``timings``: every entry with all its rounds, in seconds for the
        whole work (where ``share`` is below 1, one call did that part of it).
    """
    return {
        "schema": SCHEMA,
        "machine": machine(device, threads, command),
        "peaks": dict(peaks),
        "predicted_for": predictions.device or None,
        "skipped": dict(skipped),
        "wrong": dict(wrong or {}),
        "cases": [_case(result, predictions) for result in results],
    }


def machine(device: torch.device, threads: int, command: str) -> dict[str, Any]:
    """The machine and versions that the numbers depend on."""
    info = build_info()
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "isa": info["isa"],
        "threads": threads,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", ""),
        "compiler": info["compiler"],
        "torch": torch.__version__,
        "fimo_fast": info["version"],
        "date": datetime.date.today().isoformat(),
        "command": command,
        **({"cuda": _cuda(device)} if device.type == "cuda" else {}),
    }


def _cuda(device: torch.device) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(device)
    return {
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
        "runtime": build_info()["cuda_runtime"],
        "torch_runtime": torch.version.cuda,
    }


def cpu_model() -> str:
    """As the operating system calls it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def _case(result: Result, predictions: Predictions) -> dict[str, Any]:
    case = result.case
    predicted = predictions.cases.get(str(case))
    baselines = [e for e in result.entries if e.role in ("torch", "gemm", "peer")]
    return {
        "operation": case.operation,
        "name": case.name,
        "dtype": dtype_name(case.dtype),
        "sizes": dict(case.sizes),
        "bound": result.bound,
        "product": result.product_name,
        "moved_bytes": case.moved,
        "input_bytes": result.input_bytes,
        "operations": case.operations,
        "seconds": result.seconds,
        "floor_seconds": result.floor,
        "of_floor": result.of_floor,
        "of_floor_median": result.of_floor_median,
        "scaling": result.scaling,
        "disturbed": result.disturbed,
        "baselines": [
            {"name": e.name, "kind": e.role, "times": e.best / result.seconds, "share": e.share, "seconds": e.best}
            for e in baselines
        ],
        "missing": result.missing,
        "predicted": None if predicted is None else asdict(predicted),
        "timings": [_timing(entry) for entry in result.entries],
    }


def _timing(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "role": entry.role,
        "threads": entry.threads,
        "share": entry.share,
        "repeats": entry.repeats,
        "best": entry.best,
        "median": entry.median,
        "rounds": entry.rounds,
    }


def available_memory(device: torch.device) -> int:
    """Free bytes: of a CUDA device, or of the machine if it tells them; otherwise all of its memory."""
    if device.type == "cuda":
        return max(0, torch.cuda.mem_get_info(device)[0] - flushed_bytes(device))
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def reason_to_skip(
    case: Case, peers: bool, memory: int, sgemm: float, patience: float, device: str = "cpu"
) -> str | None:
    """The reason why a case cannot run here; None if it can.

    Args:
        case: the case.
        peers: whether other libraries run, too.
        memory: bytes that all may take.
        sgemm: operations a second.
        patience: seconds that a call may take at that rate.
        device: the type of the device.
    """
    if case.only not in (None, device):
        return f"runs on {case.only} only"
    if case.needed(peers, device) > memory:
        return f"needs {case.needed(peers, device) / 2**30:.1f} GiB, the limit is {memory / 2**30:.1f} GiB (--memory)"
    if case.bound == "sgemm" and case.operations / sgemm > patience:
        return f"one call takes {case.operations / sgemm:.0f} s at SGEMM's rate, the limit is {patience:.0f} s"
    return None

"""Timing: everything that is compared runs in one process, in turns.

On a shared machine the speed drifts by tens of percent within minutes, so two numbers are only comparable if they
were measured next to each other. Each round calls the kernel (on one thread and on all), the floors and the baselines
once; rounds start at different entries. The minimum over the rounds is what the code needs; the rest is other users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch

from . import peak
from .case import Case, Inputs, Unavailable
from .clock import awake_threads, host_time, time_call
from .measured import CPU, Entry, Result

_SHORTEST = 2e-3  # seconds of one turn; shorter calls are repeated
_MOST_REPEATS = {"cpu": 2000, "cuda": 50}  # on CUDA a cache is flushed before each
_ROUNDS = (3, 15)
_FLOORS = ("read", "sgemm")
_BATCHES = 3  # of rounds, at most


def measure(
    case: Case,
    device: torch.device,
    threads: int,
    peers: bool = False,
    known: Mapping[str, float] | None = None,
    seconds: float = 3.0,
    advance: Callable[[float], None] = lambda share: None,
) -> Result:
    """Checks a case and times it with its floors and baselines.

    Args:
        case: what to measure.
        device: CPU or CUDA.
        threads: on the CPU, the kernel is timed with 1 and with this number, the rest with this number.
        peers: time other libraries, too.
        known: rates of `peak.peak_rates`; on CUDA needed for the floor. Where the case's own product stays far
            below, somebody else was using the machine, and the rounds are repeated, at most twice.
        seconds: about how long all rounds may take; there are 3 to 15.
        advance: called with the share of the work done since the last call.

    Raises:
        WrongResult: the kernel's result is wrong.
    """
    threads = threads if device.type == "cpu" else 1
    with awake_threads(threads):
        inputs = case.inputs(device)
        case.checked(inputs)
        entries = [prepare(case, inputs, "kernel", device, 1)] if threads > 1 else []
        missing: dict[str, str] = {}
        for name in names(case, peers, device):
            try:
                entries.append(prepare(case, inputs, name, device, threads))
            except RuntimeError as error:
                _left_out(error, name, device, missing)
    # By the host's clock where its own work is what is measured.
    clock = host_time if case.bound == "call" else time_call
    count = len(entries)
    for entry in list(entries):
        try:
            _calibrate(entry, clock, device)
        except RuntimeError as error:
            _left_out(error, entry.name, device, missing)
            entries.remove(entry)
        advance(0.3 / count)
    rounds = min(_ROUNDS[1], max(_ROUNDS[0], int(seconds / sum(e.turn for e in entries))))
    result = Result(case, threads, max(1, peak.size_bytes(inputs)), entries, missing, known or {}, device)
    for _ in range(_BATCHES):
        for entry, done in in_turns(entries, rounds):
            took = clock(entry.call, device, entry.threads, entry.repeats)
            entry.rounds.append(took / entry.share)
            advance(0.7 * done / _BATCHES)
        if not result.disturbed:
            break
    for entry in entries:
        entry.call = _nothing  # results are kept, inputs must not be
    return result


def _nothing() -> None:
    """Replaces a call that is no longer needed."""


def _left_out(error: RuntimeError, name: str, device: torch.device, missing: dict[str, str]) -> None:
    """Notes why a baseline or floor has no time, or raises the error again.

    On CUDA a baseline may not fit into the memory, or have no kernel for these sizes; the other entries still run.
    """
    if name == "kernel" or not (isinstance(error, Unavailable) or device.type == "cuda"):
        raise error
    missing[name] = str(error).splitlines()[0]
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _calibrate(entry: Entry, clock: Callable[..., float], device: torch.device) -> None:
    """Calls once to load code and memory, then measures how many calls make a turn."""
    took = clock(entry.call, device, entry.threads)
    if took < _SHORTEST:
        took = clock(entry.call, device, entry.threads, 3)
    entry.repeats = min(_MOST_REPEATS[device.type], max(1, round(_SHORTEST / max(took, 1e-7))))
    entry.turn = took * entry.repeats


def in_turns(entries: list[Entry], rounds: int) -> Iterator[tuple[Entry, float]]:
    """Yields each entry once a round, with its share of all turns.

    Every round starts one entry later, so that none always follows the same one. After an entry that takes ten
    times as long as both floors they are measured again: a floor of milliseconds says little about the seconds of
    its neighbour otherwise.
    """
    floors = [e for e in entries if e.role in _FLOORS]
    long = 10 * sum(e.turn for e in floors)
    for number in range(rounds):
        start = number % len(entries)
        for entry in entries[start:] + entries[:start]:
            yield entry, 1 / (rounds * len(entries))
            if floors and entry.turn > long:
                yield from ((floor, 0.0) for floor in floors)


def names(case: Case, peers: bool, device: torch.device = CPU) -> list[str]:
    """The names of a case's entries: the kernel, the floors if it has one, and the baselines of this device."""
    floors = [] if case.bound == "call" else ["read", "copy", "sgemm"]
    baselines = [
        name
        for name, baseline in case.baselines.items()
        if (peers or baseline.kind != "peer") and baseline.only in (None, device.type)
    ]
    return ["kernel", *floors, *baselines]


def prepare(case: Case, inputs: Inputs, name: str, device: torch.device, threads: int) -> Entry:
    """One of the entries, ready to be timed.

    Raises:
        Unavailable: a baseline, or a floor's product, that cannot run here.
    """
    if name == "kernel":
        return Entry(name, "kernel", lambda: case.kernel(*inputs), threads)
    if name == "read":
        return Entry(name, "read", peak.read(inputs), threads)
    if name == "copy":
        call, share = peak.copy(inputs)
        return Entry(name, "copy", call, threads, share)
    if name == "sgemm":
        return Entry(name, "sgemm", peak.gemm(case.dtype, device), threads)
    baseline = case.baselines[name]
    return Entry(name, baseline.kind, baseline.prepare(inputs), threads, baseline.share)

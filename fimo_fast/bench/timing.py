"""Timing: everything that is compared runs in one process, in turns.

On a shared machine the speed drifts by tens of percent within minutes, so two numbers are only comparable if they
were measured next to each other. Each round calls the kernel (on one thread and on all), the floors and the rivals
once; rounds start at different entries. The minimum over the rounds is what the code needs; the rest is other users.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

import torch

from . import roofs
from .case import Call, Case, Inputs, Kind, Unavailable

_SHORTEST = 2e-3  # seconds of one turn; shorter calls are repeated
_MOST_REPEATS = 2000
_ROUNDS = (3, 15)
_FLOORS = ("read", "sgemm")
_BATCHES = 3  # of rounds, at most
_UNCACHED = 2**26  # bytes: twice the largest last-level cache of one core complex
_DISTURBED = 0.8  # of the known SGEMM rate

Role = Literal["kernel", "read", "copy", "sgemm"] | Kind


@dataclass
class Entry:
    """One of the calls that take turns.

    Attributes:
        name: ``kernel``, ``read``, ``copy``, ``sgemm`` or the rival's.
        role: what it is compared as.
        call: what is timed.
        threads: torch's while it runs.
        share: of the case's work (of the inputs, for a read or copy) that one call does.
        repeats: calls in a turn.
        turn: seconds of a turn, estimated.
        rounds: seconds for the whole work, one number a turn.
    """

    name: str
    role: Role
    call: Call
    threads: int
    share: float = 1.0
    repeats: int = 1
    turn: float = 0.0
    rounds: list[float] = field(default_factory=list)

    @property
    def best(self) -> float:
        """The shortest turn."""
        return min(self.rounds)

    @property
    def median(self) -> float:
        """The turn in the middle."""
        return median(self.rounds)


@dataclass
class Result:
    """What was measured for a case.

    Attributes:
        case: the case.
        threads: the larger number of threads.
        input_bytes: of the plain read.
        entries: with their rounds.
        missing: {rival: why it did not run}.
        known_sgemm: operations a second that the machine reaches when it is quiet; None: not known.
    """

    case: Case
    threads: int
    input_bytes: int
    entries: list[Entry]
    missing: dict[str, str]
    known_sgemm: float | None = None

    def entry(self, role: Role, threads: int | None = None) -> Entry | None:
        """The fastest entry of a role on ``threads`` (default: the larger number), None where there is none."""
        threads = self.threads if threads is None else threads
        found = [e for e in self.entries if e.role == role and e.threads == threads]
        return min(found, key=lambda e: e.best, default=None)

    @property
    def seconds(self) -> float:
        """The kernel's best time on all threads."""
        kernel = self.entry("kernel")
        assert kernel is not None
        return kernel.best

    @property
    def scaling(self) -> float | None:
        """How many times as fast as on one thread; None if only one was asked for, or no work is shared out."""
        single = self.entry("kernel", 1)
        several = self.threads > 1 and self.case.bound != "call"
        return single.best / self.seconds if single is not None and several else None

    @property
    def floor(self) -> float | None:
        """Seconds that the case takes at least, by its bound: the fewest bytes at the read's speed, or SGEMM."""
        return self._floor(lambda entry: entry.best)

    @property
    def of_floor(self) -> float | None:
        """Floor divided by time, both the shortest: 1 is as fast as this machine allows."""
        return None if self.floor is None else self.floor / self.seconds

    @property
    def of_floor_median(self) -> float | None:
        """The same of medians: where the memory of a shared machine is faster for moments, less a matter of luck."""
        kernel, floor = self.entry("kernel"), self._floor(lambda entry: entry.median)
        return None if kernel is None or floor is None else floor / kernel.median

    def _floor(self, time: Callable[[Entry], float]) -> float | None:
        read, sgemm = self.entry("read"), self.entry("sgemm")
        if self.case.bound == "read" and read is not None:
            return time(read) * self.case.moved / self.input_bytes
        if self.case.bound == "sgemm" and sgemm is not None:
            # The products of the case alone may be faster than the square ones (never seen, but then they count).
            products = self.entry("gemm")
            square = time(sgemm) * self.case.operations / roofs.GEMM_OPERATIONS
            return square if products is None else min(square, time(products))
        return None

    @property
    def disturbed(self) -> bool:
        """Whether the machine was never as fast during these rounds as it is known to be: times are too long."""
        if self.known_sgemm is None or self.sgemm_rate is None:
            return False
        return self.sgemm_rate < _DISTURBED * self.known_sgemm

    @property
    def sgemm_rate(self) -> float | None:
        """Operations a second of the square product beside this case; None where there was none in float32."""
        sgemm = self.entry("sgemm")
        return None if sgemm is None or self.case.dtype == torch.float64 else roofs.GEMM_OPERATIONS / sgemm.best

    @property
    def read_rate(self) -> float | None:
        """Bytes a second of the plain read beside this case; None where they may have come from a cache."""
        read = self.entry("read")
        return None if read is None or self.input_bytes < _UNCACHED else self.input_bytes / read.best


def measure(
    case: Case,
    device: torch.device,
    threads: int,
    peers: bool = False,
    sgemm: float | None = None,
    seconds: float = 3.0,
    advance: Callable[[float], None] = lambda share: None,
) -> Result:
    """Checks a case and times it beside its floors and rivals.

    Args:
        case: what to measure.
        device: CPU or CUDA.
        threads: on the CPU, the kernel is timed with 1 and with this number, the rest with this number.
        peers: time other libraries, too.
        sgemm: operations a second that the machine is known to reach. Where the case's own float32 product stays far
            below, somebody else was using the machine, and the rounds are repeated, at most twice.
        seconds: about how long all rounds may take; there are 3 to 15.
        advance: called with the share of the work done since the last call.

    Raises:
        WrongResult: the kernel's result is wrong.
    """
    threads = threads if device.type == "cpu" else 1
    with _threads(threads):
        inputs = case.inputs(device)
        case.checked(inputs)
        entries = [prepare(case, inputs, "kernel", device, 1)] if threads > 1 else []
        missing = {}
        for name in names(case, peers):
            try:
                entries.append(prepare(case, inputs, name, device, threads))
            except Unavailable as error:
                missing[name] = str(error)
    for entry in entries:
        _calibrate(entry, device)
        advance(0.3 / len(entries))
    rounds = min(_ROUNDS[1], max(_ROUNDS[0], int(seconds / sum(e.turn for e in entries))))
    result = Result(case, threads, max(1, roofs.size_bytes(inputs)), entries, missing, sgemm)
    for _ in range(_BATCHES):
        for entry, done in in_turns(entries, rounds):
            took = time_call(entry.call, device, entry.threads, entry.repeats)
            entry.rounds.append(took / entry.share)
            advance(0.7 * done / _BATCHES)
        if not result.disturbed:
            break
    return result


def _calibrate(entry: Entry, device: torch.device) -> None:
    """A call to load code and memory; then how long a call takes, and so how many make a turn."""
    took = time_call(entry.call, device, entry.threads)
    if took < _SHORTEST:
        took = time_call(entry.call, device, entry.threads, 3)
    entry.repeats = min(_MOST_REPEATS, max(1, round(_SHORTEST / max(took, 1e-7))))
    entry.turn = took * entry.repeats


def in_turns(entries: list[Entry], rounds: int) -> Iterator[tuple[Entry, float]]:
    """Each entry once a round, and the share of all turns that it is.

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


def time_call(call: Call, device: torch.device, threads: int, repeats: int = 1) -> float:
    """Seconds of one of ``repeats`` calls, on ``threads`` threads that are awake; on CUDA by events."""
    with _threads(threads):
        if device.type == "cuda":
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize(device)
            began.record()
            for _ in range(repeats):
                call()
            ended.record()
            torch.cuda.synchronize(device)
            return began.elapsed_time(ended) / 1e3 / repeats
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - start) / repeats


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Sets torch's threads, and starts them, so that no timing contains that."""
    before = torch.get_num_threads()
    if before != number:
        torch.set_num_threads(number)
    torch.zeros(2**17).add_(1)
    try:
        yield
    finally:
        if before != number:
            torch.set_num_threads(before)


def names(case: Case, peers: bool) -> list[str]:
    """The names of a case's entries: the kernel, the floors where it has one, and the rivals."""
    floors = [] if case.bound == "call" else ["read", "copy", "sgemm"]
    return ["kernel", *floors, *(name for name, rival in case.rivals.items() if peers or rival.kind != "peer")]


def prepare(case: Case, inputs: Inputs, name: str, device: torch.device, threads: int) -> Entry:
    """One of the entries, ready to be timed.

    Raises:
        Unavailable: a rival that cannot run here.
    """
    if name == "kernel":
        return Entry(name, "kernel", lambda: case.kernel(*inputs), threads)
    if name == "read":
        return Entry(name, "read", roofs.read(inputs), threads)
    if name == "copy":
        call, share = roofs.copy(inputs)
        return Entry(name, "copy", call, threads, share)
    if name == "sgemm":
        return Entry(name, "sgemm", roofs.gemm(case.dtype, device), threads)
    rival = case.rivals[name]
    return Entry(name, rival.kind, rival.prepare(inputs), threads, rival.share)

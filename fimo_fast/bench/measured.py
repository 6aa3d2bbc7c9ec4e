"""Measurements of a case: the rounds of each call, and the floor that they are compared with.

On the CPU each case names its floor. A read of its own inputs is timed, because they may lie in a cache. On CUDA every
call starts with a cold cache, and the floor is that of the roofline model: the fewest bytes at the speed of the
device's memory, or the operations at the rate of torch's product in the type of the case, whichever takes longer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

import torch

from . import peak
from .case import Bound, Call, Case, Kind

_UNCACHED = 2**26  # bytes: twice the largest last-level cache of one core complex
_DISTURBED = 0.8  # of the known rate of products
CPU = torch.device("cpu")

Role = Literal["kernel", "read", "copy", "sgemm"] | Kind


@dataclass
class Entry:
    """One of the calls that take turns.

    Attributes:
        name: ``kernel``, ``read``, ``copy``, ``sgemm`` or the baseline's.
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
        missing: {baseline or floor: why it did not run}.
        known: rates of `peak.peak_rates`, which the machine reaches when it is idle.
        device: where.
    """

    case: Case
    threads: int
    input_bytes: int
    entries: list[Entry]
    missing: dict[str, str]
    known: Mapping[str, float] = field(default_factory=dict)
    device: torch.device = CPU

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
        """How many times as fast as on one thread; None for one thread, or if the work is not divided."""
        single = self.entry("kernel", 1)
        several = self.threads > 1 and self.case.bound != "call"
        return single.best / self.seconds if single is not None and several else None

    @property
    def floor(self) -> float | None:
        """Least seconds: for the fewest bytes at the speed of the read, or for the operations in a product."""
        return self._floor(lambda entry: entry.best)[0]

    @property
    def bound(self) -> Bound:
        """Which of the two that is: the case's own on the CPU, the longer one on CUDA."""
        return self._floor(lambda entry: entry.best)[1]

    @property
    def of_floor(self) -> float | None:
        """Floor divided by time, both the shortest: 1 is as fast as this machine allows."""
        return None if self.floor is None else self.floor / self.seconds

    @property
    def of_floor_median(self) -> float | None:
        """The same of medians: more reliable on a shared machine, whose memory is faster for moments."""
        kernel, floor = self.entry("kernel"), self._floor(lambda entry: entry.median)[0]
        return None if kernel is None or floor is None else floor / kernel.median

    def _floor(self, time: Callable[[Entry], float]) -> tuple[float | None, Bound]:
        if self.case.bound == "call":
            return None, "call"
        product = self._product_floor(time)
        if self.device.type == "cuda":
            reading = self.case.moved / self.known["read"]
            return (product, "sgemm") if product is not None and product > reading else (reading, "read")
        read = self.entry("read")
        if self.case.bound == "read":
            return (None if read is None else time(read) * self.case.moved / self.input_bytes), "read"
        return product, "sgemm"

    def _product_floor(self, time: Callable[[Entry], float]) -> float | None:
        square, products = self.entry("sgemm"), self.entry("gemm")
        if square is None:
            return None
        # The products of the case alone may be faster than the square ones (never seen, but then they count).
        scaled = time(square) * self.case.operations / self.square_operations
        return scaled if products is None else min(scaled, time(products))

    @property
    def product_name(self) -> str:
        """Name of the products that the case is compared with."""
        return peak.product_name(self.case.dtype, self.device)

    @property
    def square_operations(self) -> int:
        """Operations of the square product that takes turns with the case."""
        return peak.gemm_operations(self.case.dtype, self.device)

    @property
    def disturbed(self) -> bool:
        """Whether the machine stayed slower than its known rate in all rounds, so that times are too long."""
        known = self.known.get(self.product_name)
        return known is not None and self.product_rate is not None and self.product_rate < _DISTURBED * known

    @property
    def product_rate(self) -> float | None:
        """Operations a second of the square product beside this case; None where there was none."""
        square = self.entry("sgemm")
        return None if square is None else self.square_operations / square.best

    @property
    def read_rate(self) -> float | None:
        """Bytes a second of the plain read beside this case; None if they may have come from a cache."""
        read = self.entry("read")
        return None if read is None or self.input_bytes < _UNCACHED else self.input_bytes / read.best

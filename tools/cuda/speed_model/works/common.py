"""What the functions of this package share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from launches import Launch

from fimo_fast.bench import Case

from ..execution import Work

Before = Sequence[tuple[Launch, Work]]  # the launches of the case before this one
WorkOf = Callable[[Launch, Case, Before], Work]
WORKS: dict[str, WorkOf] = {}

# Copies of rows that are not made of whole pieces of 16 bytes (slice_copy.cuh).
RAGGED = r"LDG\.E\.U16|LDG\.E\.U8|LDGSTS\S*\.ZFILL"
BY_ELEMENT = r"^(LDG\.E(\.U16|\.U8|\.CONSTANT)?$|LDGSTS\.E(\.ZFILL)?$)"
SLICE = 64  # bytes of a row in a slice of a tile product


def work_of(*kernels: str) -> Callable[[WorkOf], WorkOf]:
    """Says that a function knows these kernels."""

    def add(function: WorkOf) -> WorkOf:
        WORKS.update(dict.fromkeys(kernels, function))
        return function

    return add


def up(a: float, b: float) -> int:
    """Their ratio, rounded up."""
    return math.ceil(a / b)


def size_of(case: Case) -> int:
    """Bytes of an element of the inputs."""
    return case.dtype.itemsize


def where(size: float) -> dict[str, float]:
    """Bytes that were just written: in the L2 cache if they fit."""
    return {"cached": size} if size < 30e6 else {"bytes": size}


@work_of(
    "mask_positions_kernel",
    "pair_finish_kernel",
    "norm_finish_kernel",
    "topk_filter_kernel",
    "rows_rank_kernel",
    "rows_out_of_range_kernel",
)
def small(launch: Launch, case: Case, before: Before) -> Work:
    """Of what a warp reads and writes once."""
    return Work(cached=launch.blocks * launch.threads * 16.0)

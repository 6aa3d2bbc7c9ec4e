"""What the functions of this package share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from execution import Work
from launches import Launch

from fimo_fast.bench import Case

Before = Sequence[tuple[Launch, Work]]  # the launches of the case before this one

# Copies of rows that are not made of whole pieces of 16 bytes (slice_copy.cuh).
RAGGED = r"LDG\.E\.U16|LDG\.E\.U8|LDGSTS\S*\.ZFILL"
BY_ELEMENT = r"^(LDG\.E(\.U16|\.U8|\.CONSTANT)?$|LDGSTS\.E(\.ZFILL)?$)"
SLICE = 64  # bytes of a row in a slice of a tile product


def up(a: float, b: float) -> int:
    return math.ceil(a / b)


def size_of(case: Case) -> int:
    return case.dtype.itemsize


def where(size: float) -> dict[str, float]:
    """Bytes that were just written: in the L2 cache if they fit."""
    return {"cached": size} if size < 30e6 else {"bytes": size}


def small(launch: Launch, case: Case, before: Before) -> Work:
    """Of what a warp reads and writes once."""
    return Work(cached=launch.blocks * launch.threads * 16.0)

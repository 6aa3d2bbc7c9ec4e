"""The workspace limit: how much memory one batch of work may take.

Code that works in batches asks ``rows_within`` how many rows fit, from an estimate of a row's bytes, and states its
share of the limit. The limit is 512 MiB, or the environment variable ``FIMO_FAST_WORKSPACE_MB`` (in MiB), or what
``workspace`` sets. It changes speed and memory, not results beyond rounding. One row is always taken, however large.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .integers import integer

_MIB = 2**20
_DEFAULT = 512
_VARIABLE = "FIMO_FAST_WORKSPACE_MB"
_inside: ContextVar[int | None] = ContextVar("workspace", default=None)


@contextmanager
def workspace(size: int) -> Iterator[None]:
    """Sets the limit inside a ``with`` block of this thread.

    Args:
        size: Bytes, at least 1.

    Raises:
        TypeError: No integer.
        ValueError: Below 1.
    """
    token = _inside.set(integer("workspace", size, 1, 2**63 - 1, "2^63 - 1"))
    try:
        yield
    finally:
        _inside.reset(token)


def rows_within(bytes_per_row: int, share: float) -> int:
    """How many rows one batch may have; at least 1.

    Args:
        bytes_per_row: Estimated memory of one more row.
        share: Part of the limit that the caller may use, such as 1/2.

    Raises:
        ValueError: ``FIMO_FAST_WORKSPACE_MB`` is no number of MiB.
    """
    return max(1, int(share * _limit()) // max(1, bytes_per_row))


def _limit() -> int:
    """Bytes: of the innermost ``workspace``, else of the environment."""
    size = _inside.get()
    if size is not None:
        return size
    text = os.environ.get(_VARIABLE, str(_DEFAULT))
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ValueError(f"{_VARIABLE}: expected a whole number of MiB, at least 1, got {text!r}")
    return int(text) * _MIB

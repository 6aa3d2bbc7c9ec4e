"""Tools for tests: choose the instruction set, count kernel calls, compare bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from .ops.native import _C

__all__ = ["assert_same_bits", "available_isas", "count_kernel_calls", "force_isa", "sum_tolerance"]


def available_isas() -> list[str]:
    """The instruction sets this machine can run, from the plainest to the default one."""
    isas: list[str] = _C.build_info()["isas"]
    return isas


@contextmanager
def force_isa(name: str) -> Iterator[None]:
    """Runs the kernels of instruction set ``name`` inside the block, for the whole process.

    Raises:
        ValueError: the name is unknown, or this machine cannot run it.
    """
    before = _C.build_info()["isa"]
    _C.set_isa(name)
    try:
        yield
    finally:
        _C.set_isa(before)


@contextmanager
def count_kernel_calls() -> Iterator[dict[str, int]]:
    """A dictionary that after the block has, for each op, the compiled kernel calls made inside."""
    before = _C.calls()
    counts: dict[str, int] = {}
    try:
        yield counts
    finally:
        counts.update({op: count - before[op] for op, count in _C.calls().items()})


def assert_same_bits(actual: Tensor, expected: Tensor) -> None:
    """Fails unless both tensors have one dtype, one shape and the same bits; NaN equals NaN.

    Raises:
        AssertionError: with the number of differences and the first of them.
    """
    assert actual.dtype == expected.dtype, f"dtype {actual.dtype}, expected {expected.dtype}"
    assert actual.shape == expected.shape, f"shape {list(actual.shape)}, expected {list(expected.shape)}"
    differs = (actual != expected) & ~(actual.isnan() & expected.isnan())
    # -0 == 0, but their bits differ.
    differs |= torch.signbit(actual) != torch.signbit(expected) if actual.is_floating_point() else False
    differs &= ~(actual.isnan() & expected.isnan())
    if differs.any():
        at = tuple(differs.nonzero()[0].tolist())
        raise AssertionError(
            f"{int(differs.sum())} of {differs.numel()} differ, first at {at}: {actual[at]}, expected {expected[at]}"
        )


def sum_tolerance(dtype: torch.dtype, length: int) -> float:
    """Relative tolerance for a sum of ``length`` random terms.

    Rounding errors add like a random walk; the margin is 8. Relative to the root of the sum of
    squared terms, not to the result, which may cancel.
    """
    return float(8 * torch.finfo(dtype).eps * max(1, length) ** 0.5)

"""Checks of integer arguments: NumPy's integers are taken, booleans and fractions are not."""

from __future__ import annotations

import operator
from typing import SupportsIndex


def integer(name: str, value: SupportsIndex, low: int, high: int | None = None, limit: str | None = None) -> int:
    """``value`` as an int in [low, high].

    Args:
        name: What errors call it.
        value: An int or a NumPy integer.
        low: Smallest allowed.
        high: Largest allowed, if any.
        limit: How errors write ``high``; as a number, unless given.

    Raises:
        TypeError: No integer.
        ValueError: Out of range.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if number < low or (high is not None and number > high):
        allowed = f"at least {low}" if high is None else f"{low} to {limit or high}"
        raise ValueError(f"{name}: expected {allowed}, got {number}")
    return number

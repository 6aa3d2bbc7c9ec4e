"""Types of numbers: what sums are made in."""

from __future__ import annotations

import torch


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """The type in which an op adds and returns: float64 for float64, float32 for the rest."""
    return torch.float64 if dtype == torch.float64 else torch.float32

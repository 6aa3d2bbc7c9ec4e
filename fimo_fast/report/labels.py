"""Labels at line ends that do not overlap.

Labels are moved from their wanted places as little as possible (least squares). Neighbours keep a distance and their
order, and all stay within bounds. Without the bounds, and after the cumulative distances are subtracted, this is
isotonic regression; pooling adjacent violators solves it exactly. Clipping that solution solves the bounded problem
exactly, too (Barlow et al. 1972, section 2.3).
"""

from __future__ import annotations

from collections.abc import Sequence


def spread(wanted: Sequence[float], heights: Sequence[float], low: float, high: float) -> list[float]:
    """Centres of labels that do not overlap.

    Args:
        wanted: desired centres, in any order; equal values keep their order in the sequence
            (the earlier one lower).
        heights: height of each label, in the same unit.
        low: no label reaches below this.
        high: no label reaches above this.

    Returns:
        The centres, in the order of the input. Where the labels do not fit between the bounds,
        they are squeezed evenly from ``low`` to ``high``.

    Raises:
        ValueError: the sequences differ in length.
    """
    if len(wanted) != len(heights):
        raise ValueError(f"heights: expected {len(wanted)} values, got {len(heights)}")
    if not wanted:
        return []
    total = sum(heights)
    squeeze = min(1.0, (high - low) / total) if total > 0 else 1.0
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    # offset[j]: centre of the j-th label from below when all are stacked on ``low``.
    offsets: list[float] = []
    below = 0.0
    for i in order:
        offsets.append(below + heights[i] * squeeze / 2)
        below += heights[i] * squeeze
    free = [wanted[i] - offset for i, offset in zip(order, offsets, strict=True)]
    limit = max(low, high - below)
    placed = [min(max(base, low), limit) for base in _isotonic(free)]
    centres = [0.0] * len(wanted)
    for i, base, offset in zip(order, placed, offsets, strict=True):
        centres[i] = base + offset
    return centres


def _isotonic(values: Sequence[float]) -> list[float]:
    """The nearest non-decreasing sequence, by pooling adjacent violators."""
    blocks: list[tuple[float, int]] = []  # (sum, count)
    for value in values:
        blocks.append((value, 1))
        while len(blocks) > 1 and (blocks[-2][0] * blocks[-1][1] > blocks[-1][0] * blocks[-2][1]):
            (sum_b, n_b), (sum_a, n_a) = blocks.pop(), blocks.pop()
            blocks.append((sum_a + sum_b, n_a + n_b))
    return [total / count for total, count in blocks for _ in range(count)]

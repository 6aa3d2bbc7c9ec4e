"""Labels do not overlap, stay within bounds, and move as little as possible."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from fimo_fast.report.labels import spread

places = st.lists(st.floats(-50, 150), min_size=1, max_size=12)


@given(places)
def test_apart_within_bounds_and_in_order(wanted: list[float]) -> None:
    heights = [5.0 + i % 3 for i in range(len(wanted))]
    placed = spread(wanted, heights, 0.0, 100.0)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    assert placed[order[0]] - heights[order[0]] / 2 >= -1e-9
    assert placed[order[-1]] + heights[order[-1]] / 2 <= 100 + 1e-9
    for a, b in pairwise(order):
        assert placed[b] - placed[a] >= (heights[a] + heights[b]) / 2 - 1e-9


@settings(deadline=None, max_examples=15)
@given(st.lists(st.floats(0, 100), min_size=2, max_size=6))
def test_least_squares(wanted: list[float]) -> None:
    """Against a general solver of the same quadratic program."""
    wanted = sorted(wanted)
    n = len(wanted)
    placed = np.array(spread(wanted, [12.0] * n, 0.0, 100.0))
    solved = minimize(
        lambda y: ((y - wanted) ** 2).sum(),
        6 + 12 * np.arange(n),
        jac=lambda y: 2 * (y - wanted),
        bounds=[(6, 94)] * n,
        constraints={"type": "ineq", "fun": lambda y: np.diff(y) - 12},
        method="SLSQP",
        options={"ftol": 1e-10},
    )
    assert ((placed - wanted) ** 2).sum() <= solved.fun + 1e-3


def test_known_cases() -> None:
    assert spread([], [], 0, 1) == []
    assert spread([5.0, 50.0], [4.0, 4.0], 0, 100) == [5.0, 50.0]
    assert spread([50.0, 50.0], [10.0, 10.0], 0, 100) == [45.0, 55.0]
    assert spread([99.0, 98.0], [10.0, 10.0], 0, 100) == [95.0, 85.0]


def test_squeezed_where_they_do_not_fit() -> None:
    assert spread([3.0, 2.0, 1.0, 0.0], [10.0] * 4, 0, 20) == [17.5, 12.5, 7.5, 2.5]


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="heights"):
        spread([1.0], [], 0, 1)

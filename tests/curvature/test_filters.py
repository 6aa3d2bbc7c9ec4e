"""Functions of curvature as values."""

import pytest
import torch

from fimo_fast.curvature import DampedInverse, Horizon
from fimo_fast.curvature.filters import evaluate_on_spectrum


def test_are_values():
    assert DampedInverse(0.1) == DampedInverse(0.1) and len({Horizon(0.1, 3), Horizon(0.1, 3), Horizon(0.1, 4)}) == 2
    assert DampedInverse.for_horizon(0.05, 10) == DampedInverse(2.0)


@pytest.mark.parametrize(("rate", "steps"), [(0.1, 1), (0.3, 7), (0.01, 1000)])
def test_the_horizon_is_a_sum_over_steps(rate, steps):
    h = torch.tensor([0.0, 1e-9, 0.3, 2.0, 6.0], dtype=torch.float64)
    expected = sum(rate * (1 - rate * h) ** t for t in range(steps))
    torch.testing.assert_close(Horizon(rate, steps)(h), expected)


def test_know_their_limits():
    h = torch.tensor([0.0, 1.0], dtype=torch.float64)
    with pytest.raises(ValueError, match="learning_rate: expected less than 2 / h_max = 2 "):
        Horizon(2.0, 3)(h)
    with pytest.raises(ValueError, match="damping: the Gauss-Newton matrix is singular"):
        evaluate_on_spectrum(DampedInverse(0.0), h, singular=False)
    with pytest.raises(ValueError, match="damping: the Gauss-Newton matrix is singular, smallest eigenvalue 0"):
        evaluate_on_spectrum(DampedInverse(0.0), h[1:], singular=True)
    values, at_zero = evaluate_on_spectrum(DampedInverse(0.5), h, singular=True)
    assert values.tolist() == [2.0, 1 / 1.5] and at_zero == 2
    for make in (lambda: DampedInverse(-1), lambda: Horizon(0, 1), lambda: Horizon(0.1, 0), lambda: Horizon(0.1, 1.5)):
        with pytest.raises((ValueError, TypeError), match=r"(damping|learning_rate|steps): expected"):
            make()

"""Mini-batches: every example once an epoch, matched between runs, shifted as in the reference code."""

import numpy as np
import pytest
import torch

from fimo_fast.oracle.sampling import matched, order, shifted, steps_per_epoch

LIKE = torch.zeros(1, dtype=torch.float64)


def test_order_is_fixed_for_all_versions():
    """Known answer: results on disk must mean the same after an update of NumPy."""
    assert order(8, seed=3, epoch=2).tolist() == [6, 0, 2, 4, 1, 3, 7, 5]


def test_order_is_a_permutation_and_differs_by_seed_and_epoch():
    orders = {(s, e): tuple(order(50, s, e)) for s in range(3) for e in range(3)}
    assert all(sorted(o) == list(range(50)) for o in orders.values())
    assert len(set(orders.values())) == 9


@pytest.mark.parametrize("n", [1, 7, 8, 9, 23])
def test_matched_batches_cover_the_epoch_and_only_the_left_out_weight_is_zero(n):
    left_out = torch.tensor([-1, 0, n - 1])
    batches = list(matched(n, 4, 0, 0, left_out, LIKE))
    assert len(batches) == steps_per_epoch(n, 4)
    assert sorted(torch.cat([b.index for b in batches]).tolist()) == list(range(n))
    for batch in batches:
        for row, left in zip(batch.weight, left_out, strict=True):
            expected = torch.where(batch.index == left, 0.0, 1 / len(batch.index))
            torch.testing.assert_close(row, expected.double())


@pytest.mark.parametrize("n", [8, 9, 10])
def test_shifted_batches_drop_the_example_and_move_the_rest_up(n):
    left_out = torch.tensor([-1, 2])
    batches = list(shifted(n, 4, 5, 1, left_out, LIKE))
    for row, left in enumerate(left_out.tolist()):
        visit = [i for i in order(n, 5, 1).tolist() if i != left]
        expected = [visit[i : i + 4] for i in range(0, len(visit), 4)]
        active = [b for b in batches if b.active is None or b.active[row]]
        got = [b.index[row][b.weight[row] > 0].tolist() for b in active]
        assert got == expected
        for batch, chosen in zip(active, expected, strict=True):
            np.testing.assert_allclose(batch.weight[row].sum(), 1.0)
            np.testing.assert_allclose(batch.weight[row].max(), 1 / len(chosen))

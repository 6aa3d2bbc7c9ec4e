"""Agreement with the oracle: against scipy, and intervals that hold what they promise."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from fimo_fast import FurtherTrainingResult
from fimo_fast.evaluate import agreement


def result(per_seed, left_out, n_train=50):
    seeds, epochs, queries, _ = per_seed.shape
    return FurtherTrainingResult(
        per_seed, torch.zeros(seeds, epochs, queries), torch.zeros(seeds, epochs), 1.0, tuple(left_out),
        tuple(range(seeds)), n_train, 1.0, 1.0,
    )  # fmt: skip


LEFT_OUT = [3, 0, 17, 49, 20, 21]


def random_result(seed=0, epochs=2, queries=7, seeds=4):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(1, epochs, queries, len(LEFT_OUT), generator=generator, dtype=torch.float64)
    noise = torch.randn(seeds, epochs, queries, len(LEFT_OUT), generator=generator, dtype=torch.float64)
    return result(truth + 0.5 * noise, LEFT_OUT), truth[0]


def test_cosine_and_spearman_by_hand():
    oracle, _ = random_result()
    scores = torch.randn(50, 7, dtype=torch.float64)
    found = agreement(scores, oracle)
    for epoch in range(2):
        cosines, spearmans = [], []
        for query in range(7):
            a, b = scores[LEFT_OUT, query].numpy(), oracle.effects[epoch, query].numpy()
            cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
            spearmans.append(spearmanr(a, b).statistic)
        assert found.cosine[epoch].item() == pytest.approx(np.mean(cosines))
        assert found.spearman[epoch].item() == pytest.approx(np.mean(spearmans))
    torch.testing.assert_close(found.ceiling, oracle.reliability)


def test_rows_of_the_left_out_alone_and_scores_by_epoch():
    oracle, _ = random_result()
    scores = torch.randn(2, 50, 7, dtype=torch.float64)
    whole = agreement(scores, oracle)
    part = agreement(scores[:, [49, 3, 17, 0, 21, 20, 9]], oracle, examples=[49, 3, 17, 0, 21, 20, 9])
    torch.testing.assert_close(whole.cosine, part.cosine)
    first = agreement(scores[0], oracle)
    torch.testing.assert_close(first.cosine[0], whole.cosine[0])
    assert first.cosine[1] != whole.cosine[1]


def test_perfect_opposite_and_constant_scores():
    oracle, _ = random_result()
    own = oracle.effects.transpose(1, 2)
    assert agreement(own, oracle, LEFT_OUT).cosine.tolist() == pytest.approx([1, 1])
    assert agreement(-own, oracle, LEFT_OUT).spearman.tolist() == pytest.approx([-1, -1])
    assert agreement(torch.zeros(50, 7), oracle).cosine.tolist() == [0, 0]
    assert agreement(torch.ones(50, 7), oracle).spearman.tolist() == [0, 0]


def test_ties_share_their_rank():
    oracle, _ = random_result(epochs=1, queries=1)
    scores = torch.tensor([1.0, 1.0, 0.0, 0.0, 2.0, 2.0], dtype=torch.float64)[:, None]
    expected = spearmanr(scores[:, 0], oracle.effects[0, 0]).statistic
    assert agreement(scores, oracle, LEFT_OUT).spearman.item() == pytest.approx(expected)


@pytest.mark.slow
def test_intervals_cover_the_value_without_noise():
    """95% intervals of the noisy oracle against what a repetition of the whole experiment gives."""
    scores = torch.randn(50, 7, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    repeats = [agreement(scores, random_result(seed)[0]) for seed in range(40)]
    centre = torch.stack([r.cosine for r in repeats]).mean(0)
    inside = torch.stack([(r.cosine_interval[:, 0] <= centre) & (centre <= r.cosine_interval[:, 1]) for r in repeats])
    assert inside.double().mean() > 0.8  # 80 draws; binomial, far above chance for intervals that are too narrow


def test_intervals_are_reproducible_and_narrow_with_more_queries():
    few, many = (random_result(queries=q)[0] for q in (5, 200))

    def spread(oracle):
        scores = torch.randn(50, oracle.per_seed.shape[2], generator=torch.Generator().manual_seed(2)).double()
        first, again = agreement(scores, oracle), agreement(scores, oracle)
        assert torch.equal(first.cosine_interval, again.cosine_interval)
        return (first.cosine_interval[:, 1] - first.cosine_interval[:, 0]).mean()

    assert spread(many) < spread(few) / 3


@pytest.mark.parametrize(
    ("scores", "examples", "message"),
    [
        (torch.zeros(49, 7), None, r"scores: expected \[50, 7\] or \[2, 50, 7\]"),
        (torch.zeros(7, 50), None, r"scores: expected \[50, 7\]"),
        (torch.zeros(3, 50, 7), None, "scores: expected 2 epochs, got 3"),
        (torch.full((50, 7), torch.nan), None, "scores: expected finite numbers"),
        (torch.zeros(2, 7), [3, 0], r"examples: expected a row for every left-out example, got none for \[17"),
        (torch.zeros(50), None, "scores: expected"),
    ],
)
def test_refused(scores, examples, message):
    with pytest.raises(ValueError, match=message):
        agreement(scores, random_result()[0], examples)

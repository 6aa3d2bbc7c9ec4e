"""Entries of the sketches' matrices: their distribution, and independence of rows, columns and places.

The seeds are fixed; a docstring's failure probability is that of a right sketch whose seed somebody else had chosen.
z is a sum over its standard deviation: |z| > 5.5 has probability 4e-8.
"""

import pytest
import torch
from scipy import stats
from torch import Tensor

from fimo_fast import ops
from fimo_fast.ops import sketch_matrices
from fimo_fast.sketch import SJLT, SRHT, Gaussian, Mask, Rademacher, TensorSketch

D, K = 2048, 256
Z = 5.5


def entries(sketch, offset: int | None = None) -> Tensor:
    """Columns of S times sqrt(sketch_dim), [sketch_dim, D]."""
    return ops.project(torch.eye(D, dtype=torch.float64), sketch, offset).T * sketch.sketch_dim**0.5


def z_of_sums(values: Tensor, dim) -> Tensor:
    """Sums of independent numbers with mean 0 and variance 1, over their standard deviation."""
    terms = values.sum(dim)
    return terms / (values.numel() / terms.numel()) ** 0.5


def bound(tests: int) -> float:
    """|z| that the largest of so many passes with probability 1e-7."""
    return float(stats.norm.isf(1e-7 / 2 / tests))


def assert_uncorrelated(rows: Tensor) -> None:
    """No two rows of numbers with mean 0 and variance 1 are correlated; probability 1e-7 to fail."""
    n = len(rows)
    gram = rows @ rows.T / rows.shape[1] ** 0.5
    largest = gram.fill_diagonal_(0).abs().max()
    assert largest <= bound(n * (n - 1) // 2), largest


def assert_uniform(counts: Tensor, expected: float) -> None:
    """Chi-square test of counts; probability 1e-7 to fail. Too even counts fail as well as too uneven ones."""
    chi2 = ((counts - expected) ** 2 / expected).sum().item()
    low, high = stats.chi2.isf([1 - 5e-8, 5e-8], len(counts) - 1)
    assert low <= chi2 <= high, f"chi-square {chi2}, expected {low} to {high}"


@pytest.mark.parametrize("offset", [0, 2**40])
@pytest.mark.parametrize("make", [Rademacher, Gaussian])
def test_dense_entries_have_mean_0_and_no_correlation(make, offset):
    """Means of rows, of columns and of each of the 128 places of a tile; pairs of rows and of columns.

    Failure probability 5e-7 for each of the 4.
    """
    values = entries(make(2**48, K, seed=1), offset)
    assert z_of_sums(values, 0).abs().max() <= bound(D)
    assert z_of_sums(values, 1).abs().max() <= bound(K)
    assert z_of_sums(values.reshape(-1, 128, D), (0, 2)).abs().max() <= bound(128)
    assert_uncorrelated(values)
    assert_uncorrelated(values.T)


def test_gaussian_entries_are_normal():
    """Kolmogorov-Smirnov and four moments of 524,288 numbers; failure probability 4e-7.

    Numbers made of 16 bits of radius and 14 of angle differ from normal ones by far less than can be seen here.
    """
    values = entries(Gaussian(D, K, seed=2)).flatten().numpy()
    n = len(values)
    assert stats.kstest(values, "norm").pvalue > 1e-7
    # Var h^m for m = 1 ... 4: E h^2m - (E h^m)^2.
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((values**power).mean() - mean) <= Z * (variance / n) ** 0.5, power
    assert 4 < abs(values).max() < 4.87


def test_the_two_normal_numbers_of_a_word_are_independent():
    """Squares of the cosine and the sine of one radius; uncorrelated only if the radius is right.

    Also quadrants: signs of both. Failure probability 2e-7.
    """
    values = entries(Gaussian(D, K, seed=3)).reshape(K // 32, 2, 16, D)  # 16 cosines, 16 sines
    cosine, sine = values[:, 0].flatten(), values[:, 1].flatten()
    squares = (cosine.square() - 1) * (sine.square() - 1) / 2
    assert abs(squares.sum()) <= Z * len(squares) ** 0.5
    assert_uniform(torch.bincount(2 * (cosine > 0).long() + (sine > 0)).double(), len(cosine) / 4)
    angle = torch.atan2(sine, cosine).div(2 * torch.pi).add(0.5).mul(64).long().clamp(max=63)
    assert_uniform(torch.bincount(angle, minlength=64).double(), len(angle) / 64)


def test_norms_under_gaussian_entries_are_chi_square():
    """Kolmogorov-Smirnov of |Sx|^2 of the 2048 unit vectors, k = 256; failure probability 1e-7."""
    squares = entries(Gaussian(D, K, seed=4)).square().sum(0).numpy()
    assert stats.kstest(squares, stats.chi2(K).cdf).pvalue > 1e-7


@pytest.mark.parametrize("nonzeros", [1, 4])
def test_sjlt_buckets_are_uniform_and_signs_balanced(nonzeros):
    """Buckets of each output block with either sign; buckets of neighbouring columns; failure probability 2e-7."""
    k = 16 * nonzeros
    values = entries(SJLT(D, k, seed=5, nonzeros=nonzeros))
    assert ((values != 0).reshape(nonzeros, 16, D).sum(1) == 1).all()
    bucket = values.abs().reshape(nonzeros, 16, D).argmax(1)
    sign = values.reshape(nonzeros, 16, D).sum(1) > 0
    assert_uniform(torch.bincount((2 * bucket + sign).flatten(), minlength=32).double(), nonzeros * D / 32)
    pairs = 16 * bucket[:, 0::2] + bucket[:, 1::2]
    assert_uniform(torch.bincount(pairs.flatten(), minlength=256).double(), nonzeros * D / 512)


def test_srht_signs_are_balanced_on_either_side():
    """Row and column 0 of a Hadamard matrix are all +1, so they show the signs; failure probability 4e-7."""
    k = 64
    blocks = entries(SRHT(D, k, seed=6)).reshape(k, D // k, k)  # output, block, place
    way_out, way_in = blocks[:, :, 0], blocks[0]  # each up to the sign of its block
    for signs in (way_out.T, way_in):
        relative = (signs * signs[:, :1])[:, 1:]
        assert abs(z_of_sums(relative, None)) <= Z
        assert_uncorrelated(relative)


def test_srht_rows_are_a_uniform_sample():
    """24 of 32 rows, over 2000 seeds. Chi-square with the variance of sampling without replacement; 1e-7 to fail."""
    counts = torch.zeros(32, dtype=torch.float64)
    for seed in range(2000):
        counts[sketch_matrices.srht_rows(SRHT(100, 24, seed))] += 1
    # A row's count has variance n (k/L) (1 - k/L); the counts' sum is fixed, which leaves L - 1 degrees of freedom.
    spread = ((counts - 1500) ** 2).sum().item() / (2000 * 0.75 * 0.25) * 31 / 32
    low, high = stats.chi2.isf([1 - 5e-8, 5e-8], 31)
    assert low <= spread <= high


def test_mask_takes_every_coordinate_of_a_stratum_alike():
    """Over 1000 seeds: places in 16 strata of 8, their pairs for neighbouring seeds and strata; 3e-7 to fail."""
    places = torch.tensor([sketch_matrices.mask_coordinates(Mask(128, 16, seed))[0] for seed in range(1000)]) % 8
    assert_uniform(torch.bincount(places.flatten(), minlength=8).double(), 2000)
    for first, second in ((places[:-1], places[1:]), (places[:, :-1], places[:, 1:])):
        pairs = (8 * first + second).flatten()
        assert_uniform(torch.bincount(pairs, minlength=64).double(), len(pairs) / 64)


def test_tensor_sketch_buckets_are_uniform():
    """Bucket and sign of entries that share no factor; each draws fresh numbers; failure probability 1e-7."""
    sketch = TensorSketch(2000, 2000, 16, seed=8)
    diagonal = torch.arange(2000) * 2001
    columns = torch.stack([sketch_matrices.sketch_matrix(sketch, j, j + 1)[:, 0] for j in diagonal[:400].tolist()])
    bucket, sign = columns.abs().argmax(1), columns.sum(1) > 0
    assert_uniform(torch.bincount(2 * bucket + sign, minlength=32).double(), 400 / 32)


def test_a_slightly_wrong_distribution_is_noticed():
    signs = entries(Rademacher(D, K, seed=1))
    with pytest.raises(AssertionError):
        assert_uncorrelated(torch.cat([signs, signs[:1]]))
    with pytest.raises(AssertionError, match="chi-square"):
        assert_uniform(torch.tensor([2100.0, 1900.0, 2300.0, 1700.0]), 2000)
    with pytest.raises(AssertionError, match="chi-square"):
        assert_uniform(torch.full((100,), 50.0), 50)
    uniform = torch.rand(524288, generator=torch.Generator().manual_seed(0)) * 12**0.5 - 3**0.5
    assert stats.kstest(uniform.numpy(), "norm").pvalue < 1e-7
    assert z_of_sums(signs.abs(), None) > Z

"""Inner products of sketches over many seeds: mean, variance, tails, and independence of seeds and places.

The seeds are fixed, so a test gives the same answer every time. The failure probability in a docstring is that of a
right sketch whose seeds somebody else had chosen. z is a mean over its standard error, and normal up to the rate of
the central limit theorem: |z| > 5.5 has probability 4e-8. The broken sketches at the end show what the checks see.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from fimo_fast import ops
from fimo_fast.ops import sketch_matrices
from fimo_fast.sketch import SJLT, SRHT, Composition, Factored, Gaussian, Mask, Rademacher, TensorSketch, VectorSketch

SEEDS = range(1000)
Z = 5.5
A, DELTA = 10, 20  # the factors' lengths; the vectors are their outer products
D = A * DELTA

MAKE = {
    "rademacher": lambda seed: Rademacher(D, 32, seed),
    "gaussian": lambda seed: Gaussian(D, 32, seed),
    "sjlt-1": lambda seed: SJLT(D, 32, seed, nonzeros=1),
    "sjlt-4": lambda seed: SJLT(D, 30, seed, nonzeros=4),  # output blocks of 7 and 8
    "srht": lambda seed: SRHT(D, 32, seed),
    "srht-sampled": lambda seed: SRHT(D, 24, seed),
    "mask": lambda seed: Mask(D, 63, seed),  # strata of 3 and 4
    "mask-sjlt": lambda seed: Composition(Mask(D, 90, seed), SJLT(90, 32, seed, nonzeros=1)),
    "sjlt-srht": lambda seed: Composition(SJLT(D, 64, seed, nonzeros=1), SRHT(64, 24, seed)),
    "factored": lambda seed: Factored(Rademacher(A, 4, seed), Rademacher(DELTA, 8, seed ^ 2**40)),
    "factored-srht": lambda seed: Factored(SRHT(A, 4, seed), SRHT(DELTA, 8, seed ^ 2**40)),
    "tensorsketch": lambda seed: TensorSketch(A, DELTA, 32, seed),
    "factgrass": lambda seed: Composition(
        Factored(Mask(A, 7, seed), Mask(DELTA, 15, seed ^ 2**40)), SJLT(105, 32, seed, nonzeros=1)
    ),
}
SIGNED = [name for name in MAKE if name != "mask"]


def factor(length: int, seed: int) -> Tensor:
    """[4, length]: normal, another that is correlated with it, constant (bad for bad signs), decaying."""
    normal = torch.randn(2, length, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    decaying = 1 / torch.arange(1, length + 1, dtype=torch.float64)
    rows = torch.stack([normal[0], normal[0] + normal[1], torch.ones_like(decaying), decaying])
    return rows / rows.norm(dim=1, keepdim=True)


FACTORS = factor(A, 1), factor(DELTA, 2)
VECTORS = torch.einsum("vm,vn->vmn", FACTORS[1], FACTORS[0]).flatten(1)  # [4, D], of norm 1
FIRST, SECOND = torch.tensor([(0, 0), (0, 1), (2, 2), (0, 2), (3, 3), (2, 3)]).T
PRODUCTS = (VECTORS[FIRST] * VECTORS[SECOND]).sum(1)


def apply(sketch) -> Tensor:
    """S applied to the vectors, [4, sketch_dim]."""
    first = sketch.first if isinstance(sketch, Composition) else sketch
    if isinstance(first, VectorSketch):
        return ops.project(VECTORS, sketch)
    a, delta = (rows[:, None] for rows in FACTORS)
    return ops.outer_project(a, delta, sketch)


@dataclass(frozen=True)
class Sample:
    """Sketches of the vectors by many sketches of one kind.

    Attributes:
        sketched: [seed, vector, sketch_dim].
        variance: of the inner product of each pair, [seed, pair]; its mean over seeds estimates the true one.
    """

    sketched: Tensor
    variance: Tensor

    @property
    def errors(self) -> Tensor:
        """<Sx, Sy> - <x, y>, [seed, pair]."""
        return (self.sketched[:, FIRST] * self.sketched[:, SECOND]).sum(2) - PRODUCTS


def draw(make: Callable, seeds=SEEDS, apply=apply) -> Sample:
    sketches = [make(seed) for seed in seeds]
    sketched = torch.stack([apply(sketch) for sketch in sketches])
    # The formula depends on the seed only after a first stage.
    distinct = sketches if isinstance(sketches[0], Composition) else sketches[:1]
    variances = torch.stack([variance(sketch, VECTORS[FIRST], VECTORS[SECOND]) for sketch in distinct])
    return Sample(sketched, variances.expand(len(sketches), -1))


@functools.cache
def sample(name: str) -> Sample:
    return draw(MAKE[name])


def variance(sketch, x: Tensor, y: Tensor) -> Tensor:
    """Var <Sx, Sy> of each pair of rows, [pair]; for a composition (of the pairs of VECTORS only) its expectation is.

    Signed entries of size 1/sqrt(k) give V/k, V = |x|^2 |y|^2 + <x, y>^2 - 2 sum (x_j y_j)^2. SRHT: between two
    blocks as for Gaussian entries; within one block there is no error but by the choice of k out of L rows, without
    replacement. Factors: <Sx, Sy> is the product of two independent inner products.
    """
    if isinstance(sketch, Composition):
        after = apply(sketch.first)
        return variance(sketch.first, x, y) + variance(sketch.second, after[FIRST], after[SECOND])
    if isinstance(sketch, (Factored, TensorSketch)):
        return _variance_of_factors(sketch, x, y)
    k, products = sketch.sketch_dim, x * y
    if isinstance(sketch, Mask):
        length = torch.tensor(sketch_matrices.mask_coordinates(sketch)[1])
        stratum = torch.arange(k).repeat_interleave(length)
        squares, sums = (
            torch.zeros(len(x), k, dtype=x.dtype).index_add(1, stratum, p) for p in (products**2, products)
        )
        return (length * squares - sums**2).sum(1)
    gaussian = x.square().sum(1) * y.square().sum(1) + products.sum(1) ** 2
    signed = gaussian - 2 * products.square().sum(1)
    if isinstance(sketch, Gaussian):
        return gaussian / k
    if isinstance(sketch, SJLT):
        s = sketch.nonzeros
        return signed / s**2 * sum(1 / ((r + 1) * k // s - r * k // s) for r in range(s))
    if isinstance(sketch, SRHT):
        blocks = [part.split(sketch.block, dim=1) for part in (x, y, products)]
        within = sum(p.square().sum(1) * q.square().sum(1) + pq.sum(1) ** 2 for p, q, pq in zip(*blocks, strict=True))
        left_out = (sketch.block - k) / max(1, sketch.block - 1)
        return (gaussian - within + left_out * (within - 2 * products.square().sum(1))) / k
    return signed / k


def _variance_of_factors(sketch: Factored | TensorSketch, x: Tensor, y: Tensor) -> Tensor:
    """Of outer products of rank one, whose factors are their first row, up to a scale, and first column.

    With means m and variances v of the factors' inner products, m_a^2 v_delta + m_delta^2 v_a comes from collisions in
    one factor. Collisions in both have probability 1/k^2 and v_a v_delta, or 1/k where only the XOR must agree.
    """
    shared = isinstance(sketch, TensorSketch)
    parts = sketch.factors if shared else (sketch.a, sketch.delta)
    x, y = (vectors.reshape(-1, parts[1].input_dim, parts[0].input_dim) for vectors in (x, y))
    a, delta = [v[:, 0] / v[:, 0, :1] for v in (x, y)], [v[:, :, 0] for v in (x, y)]
    mean_a, mean_delta = ((p * q).sum(1) for p, q in (a, delta))
    variance_a, variance_delta = variance(parts[0], *a), variance(parts[1], *delta)
    both = variance_a * variance_delta * (sketch.sketch_dim if shared else 1)
    return both + variance_a * mean_delta**2 + variance_delta * mean_a**2


def assert_small(mean: Tensor, standard_error: Tensor, what: str) -> None:
    """|mean| within Z standard errors, and rounding where a sketch is exact."""
    bound = Z * standard_error + 1e-12
    assert (mean.abs() <= bound).all(), f"{what}: {mean.tolist()}, expected within {bound.tolist()}"


def check_mean(sample: Sample) -> None:
    """E<Sx, Sy> = <x, y>."""
    error = (sample.variance.mean(0) / len(sample.errors)).sqrt()
    assert_small(sample.errors.mean(0), error, "bias of <Sx, Sy>")


def check_variance(sample: Sample) -> None:
    """Var <Sx, Sy> is what the formula says."""
    excess = sample.errors**2 - sample.variance
    assert_small(excess.mean(0), excess.std(0) / len(excess) ** 0.5, "excess variance of <Sx, Sy>")


def check_tails(sample: Sample) -> None:
    """Chebyshev: an error beyond sqrt(10 Var) has probability 0.1 at most."""
    outside = (sample.errors**2 > 10 * sample.variance.mean(0) + 1e-24).sum(0)
    assert outside.max() <= binom.isf(4e-8, len(sample.errors), 0.1), outside


def check_independence(sketched: Tensor, others: Tensor) -> None:
    """E<Sx, S'x> = 0 and its variance |x|^4 / k, for two independent sketches with E Sx (Sx)^T = |x|^2 / k."""
    products = (sketched * others).sum(2)  # [seed, vector]; the vectors have norm 1
    error = (sketched.shape[2] * len(products)) ** -0.5 * torch.ones(products.shape[1], dtype=products.dtype)
    assert_small(products.mean(0), error, "correlation of two sketches")


@pytest.mark.parametrize("name", MAKE)
def test_inner_products_are_unbiased(name):
    """Failure probability 4e-8 for each of 6 pairs of vectors, 3e-6 for all sketches."""
    check_mean(sample(name))


@pytest.mark.parametrize("name", MAKE)
def test_inner_products_have_the_variance_of_the_theory(name):
    """Failure probability 4e-8 for each of 6 pairs, 3e-6 for all sketches; sees an excess of 20 to 50 %."""
    check_variance(sample(name))


@pytest.mark.parametrize("name", MAKE)
def test_large_errors_are_rare(name):
    """Failure probability at most 4e-8 for each of 6 pairs, 3e-6 for all sketches."""
    check_tails(sample(name))


@pytest.mark.parametrize("make", [Rademacher, Gaussian])
def test_johnson_lindenstrauss(make):
    """Distances within 30 %, but for a fraction 2 exp(-k (e^2/4 - e^3/6)) = 0.02 of the seeds (Achlioptas 2003).

    The bound holds for each vector. Failure probability at most 4e-8 for each of the 4.
    """
    k, eps = 256, 0.3
    bound = 2 * torch.tensor(-k * (eps**2 / 4 - eps**3 / 6)).exp().item()
    squares = torch.stack([apply(make(D, k, seed)).square().sum(1) for seed in range(300)])
    outside = ((squares - 1).abs() > eps).sum(0)
    assert outside.max() <= binom.isf(4e-8, len(squares), bound), outside


@pytest.mark.parametrize("name", SIGNED)
def test_neighbouring_seeds_are_independent(name):
    """Failure probability 4e-8 for each of 4 vectors, 2e-6 for all sketches."""
    sketched = sample(name).sketched
    check_independence(sketched[:-1], sketched[1:])


@pytest.mark.parametrize("bit", [31, 32, 63])
@pytest.mark.parametrize("make", [Rademacher, Gaussian, SJLT, SRHT])
def test_every_bit_of_the_seed_counts(make, bit):
    """Failure probability 4e-8 for each of 4 vectors, 2e-6 for all sketches and bits."""
    sketched, others = (torch.stack([apply(make(D, 32, seed ^ flip)) for seed in range(200)]) for flip in (0, 1 << bit))
    check_independence(sketched, others)


@pytest.mark.parametrize("make", [Rademacher, Gaussian, SJLT, SRHT])
def test_slices_at_different_offsets_are_independent_sketches(make):
    """One seed, 600 places below and above 2^32: unbiased, and uncorrelated with the next place.

    Failure probability 4e-8 for each of 6 pairs and 4 vectors, 2e-6 for all sketches.
    """
    sketch = make(2**48, 32, seed=7)
    # Multiples of the block of 32, so that SRHT has whole blocks; the slices do not meet.
    offsets = [start + 224 * i for start in (0, 2**32 - 224 * 100, 2**45) for i in range(200)]
    sketched = torch.stack([ops.project(VECTORS, sketch, offset) for offset in offsets])
    check_mean(Sample(sketched, variance(make(D, 32), VECTORS[FIRST], VECTORS[SECOND])[None]))
    check_independence(sketched[:-1], sketched[1:])


def constant_signs(matrix, sketch):
    return matrix.abs()


def no_signs_on_the_way_in(matrix, sketch):
    return matrix * matrix[:1].sign()


def scale_of_5_percent_more(matrix, sketch):
    return 1.05 * matrix


def half_of_the_buckets(matrix, sketch):
    return torch.cat([matrix[:16] + matrix[16:], torch.zeros_like(matrix[16:])])


def cosines_only(matrix, sketch):
    return torch.cat([matrix[:16], matrix[:16]])


def first_of_each_stratum(matrix, sketch):
    starts = torch.tensor([c * D // sketch.sketch_dim for c in range(sketch.sketch_dim)])
    moved = torch.zeros_like(matrix)
    moved[torch.arange(len(starts)), starts] = matrix.sum(1)
    return moved


def one_seed_for_all(matrix, sketch):
    return sketch_matrices.sketch_matrix(type(sketch)(D, sketch.sketch_dim), 0, D)


BROKEN = [
    ("sjlt-1", constant_signs, check_mean),
    ("sjlt-4", constant_signs, check_mean),
    ("srht", no_signs_on_the_way_in, check_variance),
    ("rademacher", scale_of_5_percent_more, check_mean),
    ("gaussian", scale_of_5_percent_more, check_mean),
    ("srht", scale_of_5_percent_more, check_mean),
    ("sjlt-1", half_of_the_buckets, check_variance),
    ("tensorsketch", half_of_the_buckets, check_variance),
    ("gaussian", cosines_only, check_variance),
    ("mask", first_of_each_stratum, check_mean),
    ("rademacher", one_seed_for_all, check_mean),
]


@pytest.mark.parametrize(("name", "change", "check"), BROKEN, ids=lambda x: getattr(x, "__name__", x))
def test_a_broken_sketch_is_noticed(name, change, check):
    def broken(sketch):
        return VECTORS @ change(sketch_matrices.sketch_matrix(sketch, 0, D), sketch).T

    with pytest.raises(AssertionError, match="<Sx, Sy>"):
        check(draw(MAKE[name], range(400), broken))


def test_the_same_sketch_twice_is_not_independent():
    sketched = sample("rademacher").sketched
    with pytest.raises(AssertionError, match="correlation"):
        check_independence(sketched, sketched)

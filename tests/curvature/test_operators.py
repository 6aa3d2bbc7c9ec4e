"""One row a curvature operator: what f(H) means, for each of them. A new operator needs a row here."""

import inspect

import pytest
import torch
from torch import nn

import fimo_fast as ff
from fimo_fast import curvature as operators
from fimo_fast.curvature import Curvature, DampedInverse, GaussNewton, Horizon, SketchedGaussNewton
from fimo_fast.gradients import GradientSet
from fimo_fast.problem import Examples

torch.manual_seed(0)
PROBLEM = ff.Problem(nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2)).double(), ff.losses.cross_entropy)
SKETCH = ff.SRHT(PROBLEM.numel, 8, seed=1)


def examples(n):
    generator = torch.Generator().manual_seed(n)
    x = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return Examples(x, torch.randint(2, (n,), generator=generator))


# operator: (how it is fitted, the functions it takes)
BOTH = (DampedInverse(0.1), Horizon(0.05, 20))
ROWS = {
    "GaussNewton, parameters": (lambda: GaussNewton(PROBLEM, examples(30)), BOTH),
    "GaussNewton, examples": (lambda: GaussNewton(PROBLEM, examples(4)), BOTH),
    "SketchedGaussNewton": (
        lambda: SketchedGaussNewton(PROBLEM, ff.gradients.sketch(PROBLEM, examples(30), SKETCH)), BOTH[:1]
    ),
}  # fmt: skip


def test_every_operator_has_a_row():
    exported = {name for name, kind in vars(operators).items() if inspect.isclass(kind) and issubclass(kind, Curvature)}
    assert exported - {"Curvature"} == {name.split(",")[0] for name in ROWS}


def dense(operator, f, size):
    """f(H) as a matrix, from what it makes of the identity."""
    identity = torch.eye(size, dtype=torch.float64)
    if size == PROBLEM.numel:
        return operator.apply(f, GradientSet.from_vectors(operator.problem, identity)).vectors()
    return operator.apply(f, identity)


@pytest.mark.parametrize("name", ROWS)
def test_functions_of_one_positive_matrix(name):
    fit, functions = ROWS[name]
    operator = fit()
    size = SKETCH.sketch_dim if "Sketched" in name else PROBLEM.numel
    tenth = dense(operator, DampedInverse(0.1), size)
    matrix = torch.linalg.inv(tenth) - 0.1 * torch.eye(size).double()
    torch.testing.assert_close(matrix, matrix.T)
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    assert values.min() > -1e-9 and values.max() > 1e-3
    for f in (*functions, DampedInverse(1.0)):
        expected = (vectors * f(values.clamp_min(0))) @ vectors.T
        torch.testing.assert_close(dense(operator, f, size), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ROWS)
def test_applying_changes_nothing(name):
    fit, _ = ROWS[name]
    operator = fit()
    if "Sketched" in name:
        vectors = torch.randn(3, SKETCH.sketch_dim)
        before = vectors.clone()
        first = operator.apply(DampedInverse(0.1), vectors)
        assert torch.equal(vectors, before) and torch.equal(operator.apply(DampedInverse(0.1), vectors), first)
    else:
        gradients = GradientSet.collect(operator.problem, examples(3))
        before = gradients.vectors()
        first = operator.apply(DampedInverse(0.1), gradients).vectors()
        assert torch.equal(gradients.vectors(), before)
        assert torch.equal(operator.apply(DampedInverse(0.1), gradients).vectors(), first)

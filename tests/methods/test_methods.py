"""The methods against closed forms: linear regression, where everything is known."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import fimo_fast as ff
from fimo_fast.curvature import Curvature
from fimo_fast.gradients import GradientSet
from fimo_fast.methods import spectral_scores


def squared_error(output, target):
    return (output - target).square()


N, D = 30, 4


@pytest.fixture
def linear():
    """A linear regression at its optimum: problem, train, queries, and H, ∇ℓ_i, ∇g in closed form."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, y = draw(N, D), draw(N)
    queries = draw(6, D), draw(6)
    model = nn.Sequential(nn.Linear(D, 1, bias=False), nn.Flatten(0)).double()
    theta = torch.linalg.lstsq(x, y[:, None]).solution[:, 0]
    with torch.no_grad():
        model[0].weight.copy_(theta[None])
    hessian = 2 * x.T @ x / N
    gradients = 2 * (x @ theta - y)[:, None] * x
    query_gradients = 2 * (queries[0] @ theta - queries[1])[:, None] * queries[0]
    return ff.Problem(model, squared_error), (x, y), queries, hessian, gradients, query_gradients


def mlp_problem():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(D, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0)).double()
    return ff.Problem(model, squared_error)


def flat(problem, data, of="loss"):
    return problem.ravel(ff.per_example_gradients(problem, *data, of))


def test_grad_dot_and_grad_cos(linear):
    problem, train, queries, _, gradients, query_gradients = linear
    dots = gradients @ query_gradients.T
    torch.testing.assert_close(ff.GradDot().attribute(problem, train, queries), dots)
    cosines = dots / gradients.norm(dim=1)[:, None] / query_gradients.norm(dim=1)
    torch.testing.assert_close(ff.GradCos().attribute(problem, train, queries), cosines)


def test_grad_cos_of_a_vanishing_gradient_is_zero(linear):
    problem, (x, y), queries, *_ = linear
    y = y.clone()
    with torch.no_grad():
        y[3] = problem.model(x[3:4])[0]
    scores = ff.GradCos().attribute(problem, (x, y), queries)
    assert torch.equal(scores[3], torch.zeros(6).double()) and torch.isfinite(scores).all()


@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_influence_function(linear, damping):
    problem, train, queries, hessian, gradients, query_gradients = linear
    inverse = torch.linalg.inv(hessian + damping * torch.eye(D).double())
    scores = ff.InfluenceFunction(damping).attribute(problem, train, queries)
    torch.testing.assert_close(scores, gradients @ inverse @ query_gradients.T / N)


def test_influence_function_is_leave_one_out_to_first_order(linear):
    """Retraining without example i, which for least squares is exact: (1 − leverage) is the second order."""
    problem, (x, y), queries, *_ = linear
    scores = ff.InfluenceFunction(0.0).attribute(problem, (x, y), queries)
    theta = problem.vector()
    leverage = (x @ torch.linalg.inv(x.T @ x) * x).sum(1)
    for i in range(N):
        keep = torch.arange(N) != i
        without = torch.linalg.lstsq(x[keep], y[keep][:, None]).solution[:, 0]
        query_gradients = 2 * (queries[0] @ theta - queries[1])[:, None] * queries[0]
        first_order = query_gradients @ (without - theta) * (1 - leverage[i])
        torch.testing.assert_close(scores[i], first_order, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize(
    ("rate", "steps"), [(0.05, 1), (0.05, 7), (0.2, 40), pytest.param(0.3, 1000, marks=pytest.mark.slow)]
)
def test_finite_horizon_is_the_response_of_gradient_descent(linear, rate, steps):
    """(H⁻¹)(1 − (1 − ηH)^T), and the exact derivative of T full-batch steps, which at the optimum is the same."""
    problem, train, queries, hessian, gradients, query_gradients = linear
    scores = ff.FiniteHorizon(rate, steps).attribute(problem, train, queries)
    power = torch.linalg.matrix_power(torch.eye(D).double() - rate * hessian, steps)
    response = torch.linalg.solve(hessian, torch.eye(D).double() - power)
    torch.testing.assert_close(scores, gradients @ response @ query_gradients.T / N, rtol=1e-9, atol=1e-13)
    training = ff.FurtherTraining(problem, (torch.optim.SGD, {"lr": rate}), steps, batch_size=N, seeds=1)
    unrolled = ff.UnrolledDerivative(training).attribute(problem, train, queries)
    torch.testing.assert_close(scores, unrolled, rtol=1e-8, atol=1e-12)


def test_finite_horizon_goes_from_grad_dot_to_influence_function():
    problem = mlp_problem()
    data = torch.randn(N, D, dtype=torch.float64), torch.randn(N, dtype=torch.float64)
    one = ff.FiniteHorizon(1e-6, 1).attribute(problem, data, data) * N / 1e-6
    torch.testing.assert_close(one, ff.GradDot().attribute(problem, data, data), rtol=1e-4, atol=1e-5)
    h = torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(ff.FiniteHorizon(0.5, 10_000).filter(h), 1 / h)


def test_finite_horizon_filter_is_accurate_for_any_curvature():
    """Against exact rational arithmetic, through 0, tiny values and beyond 1/η."""
    from fractions import Fraction

    rate, steps = Fraction(1, 8), 20
    for h in [
        Fraction(0),
        Fraction(1, 2**60),
        Fraction(1, 2**30),
        Fraction(1, 10),
        Fraction(4),
        Fraction(8),
        Fraction(15),
    ]:
        exact = rate * steps if h == 0 else (1 - (1 - rate * h) ** steps) / h
        got = ff.FiniteHorizon(0.125, steps).filter(torch.tensor([float(h)], dtype=torch.float64))
        assert math.isclose(got.item(), float(exact), rel_tol=1e-13)


def test_damping_matched_to_a_horizon():
    assert ff.InfluenceFunction(learning_rate=0.05, steps=10).damping == pytest.approx(2.0)


def test_one_decomposition_serves_several_horizons(linear):
    problem, train, queries, *_ = linear
    spectrum = spectral_scores(problem, train, queries)
    for method in (ff.FiniteHorizon(0.1, 3), ff.InfluenceFunction(0.2)):
        torch.testing.assert_close(spectrum.score(method.filter), method.attribute(problem, train, queries))


def test_trak_without_loss_of_dimension_is_the_influence_function(linear):
    """In as many dimensions as parameters a sketch is a change of basis, and the loss has curvature 2 in its output."""
    problem, train, queries, hessian, gradients, query_gradients = linear
    scores = ff.TRAK(sketch_dim=D, damping=0.0, seed=4).attribute(problem, train, queries)
    torch.testing.assert_close(scores, 2 * gradients @ torch.linalg.inv(hessian) @ query_gradients.T / N)


def test_trak_of_a_classifier_uses_the_log_odds():
    torch.manual_seed(0)
    model = nn.Linear(D, 3).double()
    problem = ff.Problem(model, nn.CrossEntropyLoss(reduction="none"))
    train = torch.randn(40, D, dtype=torch.float64), torch.randint(3, (40,))
    queries = torch.randn(5, D, dtype=torch.float64), torch.randint(3, (5,))

    def log_odds(output, target):
        p = output.softmax(1).gather(1, target[:, None])[:, 0]
        return (p / (1 - p)).log()

    implicit = ff.TRAK(8, seed=1).attribute(problem, train, queries)
    explicit = ff.TRAK(8, seed=1, model_output=log_odds).attribute(problem, train, queries)
    torch.testing.assert_close(implicit, explicit)
    # By hand, in the sketch's own basis.
    sketch = ff.Rademacher(problem.numel, 8, 1)
    of_output = ff.Problem(model, problem.loss_fn, log_odds)
    gradients = flat(of_output, train, "output"), flat(problem, train), flat(problem, queries)
    phi, loss, query = (ff.project(g, sketch) for g in gradients)
    matrix = phi.T @ phi / 40
    matrix += 0.01 * matrix.diagonal().mean() * torch.eye(8).double()
    torch.testing.assert_close(implicit, loss @ torch.linalg.solve(matrix, query.T) / 40)


METHODS = [
    ff.GradDot(),
    ff.GradCos(),
    ff.InfluenceFunction(0.1),
    ff.FiniteHorizon(0.01, 10),
    ff.TRAK(16),
]


def test_every_method_has_a_row():
    assert {type(method).__name__ for method in METHODS} == set(ff.methods.METHODS)


@pytest.mark.parametrize("kind", ff.methods.METHODS.values(), ids=ff.methods.METHODS)
def test_made_for_a_horizon(kind):
    method = kind.for_horizon(0.05, 7)
    assert type(method) is kind and method.settings and kind.__name__ in repr(method)
    if kind.knows_horizon:
        assert repr(method) != repr(kind.for_horizon(0.05, 8))


class Diagonal(Curvature):
    """The diagonal of the empirical Fisher matrix: a curvature of the user's own."""

    def __init__(self, problem, train):
        self.problem = problem
        self.diagonal = GradientSet.collect(problem, train).vectors().square().mean(0)

    def apply(self, f, vectors):
        return GradientSet.from_vectors(self.problem, vectors.vectors() * f(self.diagonal))


@pytest.mark.parametrize("method", [ff.InfluenceFunction(0.3, curvature=Diagonal), ff.FiniteHorizon(0.01, 9, Diagonal)])
def test_any_curvature(linear, method):
    problem, train, queries, _, gradients, query_gradients = linear
    scaled = query_gradients * method.filter(gradients.square().mean(0))
    torch.testing.assert_close(method.attribute(problem, train, queries), gradients @ scaled.T / N)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_orientation_sign_and_output_fn(method):
    """[n_train, n_queries]; removing a query's own copy from training hurts it; a negated output negates the scores."""
    torch.manual_seed(0)
    problem = mlp_problem()
    train = torch.randn(12, D, dtype=torch.float64), torch.randn(12, dtype=torch.float64)
    queries = train[0][:5], train[1][:5]
    scores = method.attribute(problem, train, queries)
    assert scores.shape == (12, 5) and scores.dtype == torch.float64
    assert (scores.diagonal() > 0).all()
    negated = ff.Problem(problem.model, squared_error, output_fn=lambda out, y: -squared_error(out, y))
    torch.testing.assert_close(method.attribute(negated, train, queries), -scores)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_refused_data(method):
    problem = mlp_problem()
    data = torch.randn(4, D, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    empty = data[0][:0], data[1][:0]
    with pytest.raises(ValueError, match="train: expected at least one"):
        method.attribute(problem, empty, data)
    with pytest.raises(ValueError, match="queries: expected at least one"):
        method.attribute(problem, data, empty)
    with pytest.raises(ValueError, match="like the model, got meta"):
        method.attribute(problem, data, (data[0].to("meta"), data[1].to("meta")))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ff.InfluenceFunction(), "damping: expected either"),
        (lambda: ff.InfluenceFunction(0.1, learning_rate=0.1, steps=3), "damping: expected either"),
        (lambda: ff.InfluenceFunction(learning_rate=0.1), "damping: expected either"),
        (lambda: ff.InfluenceFunction(-1.0), "damping: expected a finite number"),
        (lambda: ff.InfluenceFunction(math.nan), "damping: expected a finite number"),
        (lambda: ff.FiniteHorizon(0.0, 3), "learning_rate: expected a positive number"),
        (lambda: ff.FiniteHorizon(0.1, 0), "steps: expected at least 1"),
        (lambda: ff.TRAK(0), "sketch_dim: expected at least 1"),
        (lambda: ff.TRAK(4, damping=-1.0), "damping: expected a finite number"),
    ],
)
def test_refused_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_refused_on_the_data(linear):
    problem, train, queries, hessian, *_ = linear
    limit = 2 / torch.linalg.eigvalsh(hessian).max().item()
    with pytest.raises(ValueError, match="learning_rate: expected less than 2 / h_max"):
        ff.FiniteHorizon(limit * 1.01, 5).attribute(problem, train, queries)
    with pytest.raises(ValueError, match="damping: .* is singular"):
        ff.TRAK(100, damping=0.0).attribute(problem, train, queries)
    with pytest.raises(ValueError, match="model_output: expected one for an output of shape"):
        two = ff.Problem(nn.Linear(D, 2).double(), lambda output, target: (output - target[:, None]).square().sum(1))
        ff.TRAK(4).attribute(two, train, queries)


def test_scores_are_reproducible(linear):
    problem, train, queries, *_ = linear
    first, second = (ff.TRAK(3).attribute(problem, train, queries) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_a_gradient_that_is_not_finite_is_an_error(method):
    """A norm has a finite value and no gradient at 0."""
    model = nn.Linear(2, 2, bias=False).double()
    problem = ff.Problem(model, lambda output, target: (output - target).square().sum(1).sqrt())
    x = torch.randn(5, 2, dtype=torch.float64)
    y = torch.randn(5, 2, dtype=torch.float64)
    y[3] = model(x[3:4]).detach()[0]
    with pytest.raises((FloatingPointError, ValueError), match="expected (finite numbers|one for an output)"):
        method.attribute(problem, (x, y), (x[:2], y[:2]))


@pytest.mark.parametrize("seed", range(12))
def test_no_inverse_is_made_of_rounding(seed):
    """Two columns that are multiples of each other: H is singular, whatever rounding makes of its zero eigenvalue."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    x[:, 2] = 3 * x[:, 0]
    problem = ff.Problem(nn.Sequential(nn.Linear(3, 1, bias=False), nn.Flatten(0)).double(), squared_error)
    data = x, torch.randn(20, generator=generator, dtype=torch.float64)
    with pytest.raises(ValueError, match="damping: the Gauss-Newton matrix is singular"):
        ff.InfluenceFunction(damping=0.0).attribute(problem, data, data)
    assert torch.isfinite(ff.InfluenceFunction(damping=0.1).attribute(problem, data, data)).all()

"""The Gauss-Newton matrix against its definition and, where the model is linear, the Hessian."""

import pytest
import torch
from torch import nn

import fimo_fast as ff
from fimo_fast.curvature import DampedInverse, GaussNewton, Horizon
from fimo_fast.gradients import GradientSet, per_example_gradients
from fimo_fast.problem import Examples


def squared_error(output, target):
    return (output - target).square()


cross_entropy = nn.CrossEntropyLoss(reduction="none")


def classifier(width):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 4)).double()


def data(n, classes=4):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return Examples(x, torch.randint(classes, (n,), generator=generator))


def definition(problem, examples):
    """(1/n) Σ Jᵀ A J, one example at a time with torch.autograd.functional."""
    names = list(problem.shapes)
    values = tuple(problem.parameters().values())
    total = torch.zeros(problem.numel, problem.numel, dtype=torch.float64)
    for x, y in zip(examples.inputs, examples.targets, strict=True):

        def output(*parts, x=x):
            return problem.forward(dict(zip(names, parts, strict=True)), x[None])[0]

        parts = torch.autograd.functional.jacobian(output, values)
        out = output(*values).detach()
        jacobian = torch.cat([p.reshape(out.numel(), -1) for p in parts], dim=1)
        inner = torch.autograd.functional.hessian(lambda o, y=y: problem.loss_fn(o[None], y[None])[0], out)
        total += jacobian.T @ inner.reshape(out.numel(), out.numel()) @ jacobian
    return total / len(examples)


@pytest.mark.parametrize(("width", "n", "dual"), [(4, 60, False), (20, 9, True)])
def test_scores_equal_the_definition(width, n, dual):
    problem, train, queries = ff.Problem(classifier(width), cross_entropy), data(n), data(5)
    curvature = GaussNewton(problem, train)
    assert curvature.dual is dual  # both routes are taken
    matrix = definition(problem, train)
    damping = 0.05
    gradients = [problem.ravel(per_example_gradients(problem, e.inputs, e.targets)) for e in (train, queries)]
    expected = gradients[0] @ torch.linalg.solve(matrix + damping * torch.eye(len(matrix)).double(), gradients[1].T) / n
    scores = curvature.pair(queries).score(lambda h: 1 / (h + damping))
    torch.testing.assert_close(scores, expected, rtol=1e-8, atol=1e-12)
    held = [GradientSet.collect(problem, each) for each in (train, queries)]
    for f in (DampedInverse(damping), Horizon(0.1, 50)):
        applied = held[0].dot(curvature.apply(f, held[1])) / n
        torch.testing.assert_close(applied, curvature.pair(queries).score(f), rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(
        held[0].dot(curvature.apply(DampedInverse(damping), held[1])) / n, expected, rtol=1e-8, atol=1e-12
    )


def test_of_a_linear_model_is_its_hessian():
    torch.manual_seed(0)
    model = nn.Linear(3, 4).double()
    problem, train = ff.Problem(model, cross_entropy), data(50)

    def mean_loss(vector):
        return problem.losses(problem.unravel(vector), train.inputs, train.targets).mean()

    hessian = torch.func.hessian(mean_loss)(problem.vector())
    torch.testing.assert_close(
        GaussNewton(problem, train).eigenvalues, torch.linalg.eigvalsh(hessian).clamp_min(0), rtol=1e-9, atol=1e-12
    )


def test_refused():
    problem = ff.Problem(classifier(4), lambda output, target: output[:, 0].sin())
    with pytest.raises(ValueError, match="loss_fn: expected a loss that is convex in the model's output"):
        GaussNewton(problem, data(60))
    large = ff.Problem(nn.Linear(3, 20_000), lambda output, target: output.square().sum(1))
    with pytest.raises(ValueError, match=r"eigendecomposition of size 60,000 .* TRAK"):
        GaussNewton(large, Examples(torch.zeros(3, 3), torch.zeros(3)))
    singular = ff.Problem(classifier(20), cross_entropy)
    with pytest.raises(ValueError, match="damping: the Gauss-Newton matrix is singular"):
        GaussNewton(singular, data(9)).pair(data(5)).score(lambda h: 1 / h)

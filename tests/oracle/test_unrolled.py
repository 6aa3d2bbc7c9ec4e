"""The exact derivative against central differences, a closed form, and itself in the other mode."""

import pytest
import torch
from plain_training import OPTIMIZERS, query_losses, regression, smooth_mlp, squared_error

import fimo_fast as ff
from fimo_fast.utils.memory import workspace

SMOOTH = [name for name in OPTIMIZERS if name != "ascent"]
EPOCHS, BATCH = 3, 8


def setup(name, seeds=1, **changes):
    model, (train, queries) = smooth_mlp(), regression()
    problem = ff.Problem(model, squared_error)
    training = ff.FurtherTraining(problem, OPTIMIZERS[name], EPOCHS, BATCH, seeds=seeds, **changes)
    return model, problem, training, train, queries


@pytest.mark.parametrize("name", SMOOTH)
def test_derivative_equals_central_differences(name):
    model, problem, training, train, queries = setup(name, seeds=[3])
    scores = ff.UnrolledDerivative(training).attribute(problem, train, queries)
    step = 1e-4
    expected = torch.empty_like(scores)
    for i in range(len(train[0])):
        ends = []
        for sign in (1, -1):
            weights = torch.ones(len(train[0]), dtype=torch.float64)
            weights[i] += sign * step
            ends.append(query_losses(model, squared_error, train, queries, OPTIMIZERS[name], EPOCHS, BATCH, 3, weights))
        expected[i] = -(ends[0] - ends[1])[-1] / (2 * step)
    error = (scores - expected).norm() / expected.norm()
    assert error < 1e-5, f"relative error {error:.2e}"


@pytest.mark.parametrize("name", SMOOTH)
def test_reverse_and_forward_mode_agree_at_every_epoch(name):
    _, problem, training, train, queries = setup(name, seeds=2)
    derivative = ff.UnrolledDerivative(training)
    examples, epochs = [4, 0, 17], [1, 2, 3]
    modes = [derivative.by_epoch(problem, train, queries, examples, epochs, mode) for mode in ("forward", "reverse")]
    assert modes[0].shape == (3, 3, 4)
    torch.testing.assert_close(modes[0], modes[1], rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(
        modes[1][-1], derivative.attribute(problem, train, queries)[examples], rtol=1e-9, atol=1e-13
    )


@pytest.mark.slow
def test_chunks_do_not_change_the_result():
    _, problem, training, train, queries = setup("adam")
    derivative = ff.UnrolledDerivative(training)
    whole = [derivative.by_epoch(problem, train, queries, mode=mode) for mode in ("forward", "reverse")]
    for mode, expected in zip(("forward", "reverse"), whole, strict=True):
        with workspace(1):
            one_by_one = derivative.by_epoch(problem, train, queries, mode=mode)
        torch.testing.assert_close(one_by_one, expected, rtol=1e-9, atol=1e-13)


def test_seeds_are_averaged():
    _, problem, training, train, queries = setup("sgd", seeds=2)
    both = ff.UnrolledDerivative(training).attribute(problem, train, queries)
    each = [ff.UnrolledDerivative(training.with_seeds([s])).attribute(problem, train, queries) for s in (0, 1)]
    torch.testing.assert_close(both, (each[0] + each[1]) / 2, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_linear_regression_in_closed_form(momentum):
    """Full batches on a quadratic: θ_T and its derivative by w_i follow from powers of one matrix."""
    torch.manual_seed(0)
    n, d, rate, steps = 12, 3, 0.1, 7
    x, y = torch.randn(n, d, dtype=torch.float64), torch.randn(n, dtype=torch.float64)
    queries = torch.randn(5, d, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    model = torch.nn.Sequential(torch.nn.Linear(d, 1, bias=False), torch.nn.Flatten(0)).double()
    problem = ff.Problem(model, squared_error)
    optimizer = (torch.optim.SGD, {"lr": rate, "momentum": momentum})
    training = ff.FurtherTraining(problem, optimizer, steps, batch_size=n, seeds=1)
    scores = ff.UnrolledDerivative(training).attribute(problem, (x, y), queries)
    hessian = 2 * x.T @ x / n
    theta = model[0].weight.detach()[0].clone()
    velocity = torch.zeros(d, dtype=torch.float64)
    tangent, velocity_tangent = torch.zeros(2, n, d, dtype=torch.float64)  # d/d w_i of θ and of the velocity
    for _ in range(steps):
        gradients = 2 * (x @ theta - y)[:, None] * x
        velocity_tangent = momentum * velocity_tangent + tangent @ hessian + gradients / n
        velocity = momentum * velocity + gradients.mean(0)
        theta, tangent = theta - rate * velocity, tangent - rate * velocity_tangent
    query_gradients = 2 * (queries[0] @ theta - queries[1])[:, None] * queries[0]
    torch.testing.assert_close(scores, -tangent @ query_gradients.T, rtol=1e-11, atol=1e-14)


def test_response_on_a_linear_model_is_the_loss_at_the_moved_output():
    """Squared error: (f + δf − y)² − (f − y)² is the derivative's part plus δf², seed by seed."""
    x, y = regression()[0]
    queries = regression(seed=2)[1]
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Flatten(0)).double()
    problem = ff.Problem(model, squared_error)
    of_output = ff.Problem(model, squared_error, output_fn=lambda output, _: output)
    derivatives, moves = [], []
    for seed in (0, 1):
        arguments = OPTIMIZERS["momentum"], EPOCHS, BATCH, [seed]
        training = ff.FurtherTraining(of_output, *arguments)
        moves.append(ff.UnrolledDerivative(training).attribute(of_output, (x, y), queries))
        training = ff.FurtherTraining(problem, *arguments)
        derivatives.append(ff.UnrolledDerivative(training).attribute(problem, (x, y), queries))
    expected = sum(derivatives) / 2 + sum(move**2 for move in moves) / 2
    training = ff.FurtherTraining(problem, OPTIMIZERS["momentum"], EPOCHS, BATCH, 2)
    scores = ff.UnrolledResponse(training).attribute(problem, (x, y), queries)
    torch.testing.assert_close(scores, expected, rtol=1e-9, atol=1e-13)


def test_response_sees_queries_whose_gradient_vanishes():
    """At the minimum of a query's loss every move raises it; the derivative says nothing."""
    model, problem, training, train, (x, _) = setup("sgd")
    end = ff.Problem(model, squared_error, output_fn=lambda output, _: output)
    final = ff.FurtherTraining(end, OPTIMIZERS["sgd"], EPOCHS, BATCH, 1).run(train, (x, x[:, 0]), [0]).full[0, -1]
    queries = (x, final)  # targets are what the run on all examples ends at
    effects = training.run(train, queries, range(23)).effects[-1].T
    assert (effects > 0).all()
    assert ff.UnrolledDerivative(training).attribute(problem, train, queries).abs().max() < 1e-10
    response = ff.UnrolledResponse(training).attribute(problem, train, queries)
    assert torch.nn.functional.cosine_similarity(response, effects, dim=0).min() > 0.98


@pytest.mark.parametrize("reading", [ff.UnrolledDerivative, ff.UnrolledResponse])
def test_several_outputs_in_both_modes(reading):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 4)).double()
    problem = ff.Problem(model, torch.nn.CrossEntropyLoss(reduction="none"))
    data = torch.randn(20, 3, dtype=torch.float64), torch.randint(4, (20,))
    queries = data[0][:3] + 0.1, data[1][:3]
    training = ff.FurtherTraining(problem, OPTIMIZERS["adam"], 2, 6, seeds=2)
    modes = [reading(training).by_epoch(problem, data, queries, mode=mode) for mode in ("forward", "reverse")]
    assert modes[0].shape == (2, 20, 3)
    torch.testing.assert_close(modes[0], modes[1], rtol=1e-8, atol=1e-13)


def test_agrees_with_the_oracle_for_small_effects():
    """In a large training set one example is a small change, and the derivative nearly is the effect."""
    model, (train, queries) = smooth_mlp(), regression(n=400)
    problem = ff.Problem(model, squared_error)
    training = ff.FurtherTraining(problem, OPTIMIZERS["sgd"], 2, 50, seeds=1)
    effects = training.run(train, queries, range(20)).effects
    scores = ff.UnrolledDerivative(training).by_epoch(problem, train, queries, range(20), [1, 2])
    assert (scores.transpose(1, 2) - effects).norm() < 0.02 * effects.norm()


def test_dead_inputs_under_adam_give_finite_scores():
    """Parameters that never see a gradient: √v at 0."""
    (x, y), queries = regression()
    x[:, 1] = 0
    problem = ff.Problem(smooth_mlp(), squared_error)
    training = ff.FurtherTraining(problem, OPTIMIZERS["adam"], 2, 8, seeds=1)
    for mode in ("forward", "reverse"):
        assert torch.isfinite(ff.UnrolledDerivative(training).by_epoch(problem, (x, y), queries, mode=mode)).all()


def test_refused():
    _, problem, training, train, queries = setup("sgd")
    derivative = ff.UnrolledDerivative(training)
    with pytest.raises(TypeError, match="further_training: expected FurtherTraining, got Problem"):
        ff.UnrolledDerivative(problem)
    with pytest.raises(ValueError, match='expected batches="matched"'):
        ff.UnrolledDerivative(setup("sgd", batches="shifted")[2])
    with pytest.raises(ValueError, match=r"epochs: expected increasing numbers from 1 to 3, got \[3, 4\]"):
        derivative.by_epoch(problem, train, queries, epochs=[3, 4])
    with pytest.raises(ValueError, match="examples: expected indices from 0 to 22"):
        derivative.by_epoch(problem, train, queries, examples=[23])
    with pytest.raises(ValueError, match="mode: expected one of"):
        derivative.by_epoch(problem, train, queries, mode="backward")


@pytest.mark.parametrize("kind", ["another model", "an equal problem"])
def test_another_problem_is_refused_before_data_are_read(kind):
    model, problem, training, _, _ = setup("sgd")
    other = ff.Problem(model if kind == "an equal problem" else torch.nn.Linear(2, 1), squared_error)
    with pytest.raises(ValueError) as raised:
        ff.UnrolledDerivative(training).attribute(other, train=None, queries=None)
    expected = f"problem: expected further_training.problem itself, {problem!r}, got another object, {other!r}"
    assert str(raised.value) == expected


class Attention(torch.nn.Module):
    """A transformer layer in evaluation mode, and attention by torch's fused function."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.head = torch.nn.Linear(4, 1)

    def forward(self, x):
        h = self.layer(x)
        h = torch.nn.functional.scaled_dot_product_attention(h, h, h)
        return self.head(h.mean(1))[:, 0]


def test_transformers_go_through_the_oracle_and_the_derivative():
    torch.manual_seed(0)
    model = Attention().double().eval()
    data = torch.randn(60, 5, 4, dtype=torch.float64), torch.randn(60, dtype=torch.float64)
    queries = data[0][:3] + 0.1, data[1][:3]
    problem = ff.Problem(model, squared_error)
    training = ff.FurtherTraining(problem, (torch.optim.SGD, {"lr": 0.01}), 1, 12, seeds=[0])
    effects = training.run(data, queries, range(6)).per_seed[0, 0].T
    weights = torch.ones(60, dtype=torch.float64)
    full = query_losses(model, squared_error, data, queries, training.optimizer, 1, 12, 0, weights)
    weights[4] = 0
    without = query_losses(model, squared_error, data, queries, training.optimizer, 1, 12, 0, weights)
    torch.testing.assert_close(effects[4], (without - full)[0], rtol=0, atol=1e-12)
    modes = [
        ff.UnrolledDerivative(training).by_epoch(problem, data, queries, mode=m)[0] for m in ("forward", "reverse")
    ]
    torch.testing.assert_close(modes[0], modes[1], rtol=1e-8, atol=1e-13)
    assert torch.nn.functional.cosine_similarity(modes[0][:6], effects, dim=0).min() > 0.999

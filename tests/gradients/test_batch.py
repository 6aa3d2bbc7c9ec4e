"""Factored gradients: equal to torch.func's, taken where they can be, and never where they would be wrong."""

import warnings

import pytest
import torch
from torch import nn

import fimo_fast as ff
from fimo_fast.data import Examples
from fimo_fast.gradients import BatchGradients, GradientStream, batch, per_example_gradients
from fimo_fast.gradients.capture import capture, factored_layers
from fimo_fast.testing import count_kernel_calls


def last_mean(output, target):
    return (output.flatten(1).mean(1) - target).square()


class Sequence(nn.Module):
    """Linear layers on [batch, T, n], one used twice, one without bias, a norm and an embedding of positions."""

    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.randn(5, 4))
        self.shared = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.out = nn.Linear(4, 3, bias=False)

    def forward(self, x):
        x = x + self.position
        return self.out(self.norm(self.shared(torch.tanh(self.shared(x)))))


class Functional(nn.Module):
    """A weight that is also used outside its module."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x) @ self.layer.weight


class TimeFirst(nn.Module):
    """The batch is the second axis inside, and as long as the first."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x.transpose(0, 1)).transpose(0, 1)


def examples(shape, n=6):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    return Examples(x, torch.randn(n, generator=generator, dtype=torch.float64))


def problem_of(model):
    torch.manual_seed(0)
    return ff.Problem(model().double(), last_mean)


def mlp():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))


def flat(problem, data):
    return problem.ravel(per_example_gradients(problem, data.inputs, data.targets))


@pytest.mark.parametrize("model", [mlp, Sequence, Functional, TimeFirst])
def test_dots_and_norms_equal_those_of_the_gradients(model):
    problem = problem_of(model)
    data = examples((5, 4) if model in (Sequence, TimeFirst) else (4,))
    others = data[slice(1, 4)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stream = GradientStream(problem, data)
    assert len(caught) == (model in (Functional, TimeFirst))
    gradients, other = stream(data), stream(others)
    expected = flat(problem, data)
    torch.testing.assert_close(gradients.dot(other), expected @ flat(problem, others).T)
    torch.testing.assert_close(gradients.norm2(), expected.square().sum(1))


@pytest.mark.parametrize(
    ("model", "shape", "paths"),
    [
        (mlp, (4,), {"0": "factored", "2": "factored", "4": "factored"}),
        (
            Sequence,
            (5, 4),
            {"shared": "factored", "out": "factored"}
            | dict.fromkeys(["position", "norm.weight", "norm.bias"], "torch.func"),
        ),
        (Functional, (4,), {"layer.weight": "torch.func", "layer.bias": "torch.func"}),
        (TimeFirst, (5, 4), {"layer.weight": "torch.func", "layer.bias": "torch.func"}),
    ],
)
@pytest.mark.filterwarnings("ignore:gradients. layers")
def test_which_path_each_layer_takes(model, shape, paths):
    data = examples(shape)
    gradients = GradientStream(problem_of(model), data)(data)
    assert gradients.paths == paths


def test_grad_dot_of_an_mlp_never_forms_a_gradient(monkeypatch):
    """After the check on two examples torch.func is not called, and the kernel is."""
    formed = []
    original = batch.per_example_gradients
    monkeypatch.setattr(
        batch, "per_example_gradients", lambda p, x, y, of: formed.append(len(x)) or original(p, x, y, of)
    )
    problem, data = problem_of(mlp), examples((4,), n=600)
    with count_kernel_calls() as calls:
        ff.GradDot().attribute(problem, (data.inputs, data.targets), (data.inputs[:7], data.targets[:7]))
    assert formed == [2, 2]  # the check, for training examples and for queries
    assert calls["outer_dot"] == 3 * 3  # layers times batches of 256


def test_hooks_are_gone_also_after_an_error():
    problem, data = problem_of(mlp), examples((4,))
    layers = factored_layers(problem)
    capture(problem, layers, data.inputs, data.targets)
    with pytest.raises(RuntimeError, match="shape"):
        capture(problem, layers, data.inputs[:, :3], data.targets)
    assert all(not module._forward_hooks for module in problem.model.modules())
    assert all(parameter.grad is None for parameter in problem.model.parameters())


def test_partly_selected_layers_are_not_factored():
    torch.manual_seed(0)
    problem = ff.Problem(mlp().double(), last_mean, parameters=["0.weight", "2.*"])
    data = examples((4,))
    gradients = GradientStream(problem, data)(data)
    assert gradients.paths == {"2": "factored", "0.weight": "torch.func"}
    torch.testing.assert_close(gradients.norm2(), flat(problem, data).square().sum(1))


def test_streams_that_differ_meet_in_the_middle():
    """Queries through an output that skips the last layer: both sides then take torch.func for it."""
    problem, data = problem_of(mlp), examples((4,))
    train, queries = GradientStream(problem, data), GradientStream(problem, data, "output")
    queries._layers = {name: layer for name, layer in queries._layers.items() if name != "2"}
    train.agree_with(queries)
    assert set(train(data).factors) == set(queries(data).factors) == {"0", "4"}
    torch.testing.assert_close(train(data).dot(queries(data)), flat(problem, data) @ flat(problem, data).T)


def test_an_empty_selection_cannot_happen():
    gradients = BatchGradients({}, {"w": torch.ones(2, 3)})
    torch.testing.assert_close(gradients.norm2(), torch.tensor([3.0, 3.0]))


def test_a_flat_loss_does_not_hide_that_factors_are_wrong():
    """Tied weights whose first examples have zero loss gradients: 0 = 0 is no verification."""

    class Autoencoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Linear(4, 3)

        def forward(self, x):
            return torch.tanh(self.encoder(x)) @ self.encoder.weight

    data = examples((4,))
    model = Autoencoder().double()
    with torch.no_grad():
        targets = model(data.inputs)
        targets[2:] += 3
    problem = ff.Problem(model, lambda output, target: torch.relu((output - target).square().sum(1) - 0.5))
    data = Examples(data.inputs, targets)
    with pytest.warns(UserWarning, match="encoder"):
        stream = GradientStream(problem, data)
    gradients = flat(problem, data)
    assert gradients[:2].abs().max() == 0 < gradients[2:].abs().max()
    torch.testing.assert_close(stream(data).norm2(), gradients.square().sum(1))


def test_linear_layers_of_unusual_form():
    """Called by keyword, and reparametrised."""

    class Keyword(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            return self.layer(input=x)

    data = examples((4,))
    by_keyword = problem_of(Keyword)
    assert GradientStream(by_keyword, data)(data).paths == {"layer": "factored"}
    with pytest.warns(FutureWarning):
        normed = torch.nn.utils.weight_norm(nn.Linear(4, 2))
    problem = ff.Problem(normed.double(), last_mean)
    gradients = GradientStream(problem, data)(data)
    assert set(gradients.paths.values()) == {"torch.func"}
    torch.testing.assert_close(gradients.norm2(), flat(problem, data).square().sum(1))

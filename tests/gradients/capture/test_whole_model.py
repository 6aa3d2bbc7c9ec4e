"""Per-example gradients against one backward pass an example."""

import pytest
import torch
from torch import nn

import fimo_fast as ff
from fimo_fast.gradients.capture import whole_model
from fimo_fast.problem import Examples


def squared_error(output, target):
    return (output - target).square()


def models():
    torch.manual_seed(0)
    yield "mlp", nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0)), (3,)
    yield (
        "cnn",
        nn.Sequential(
            nn.Conv2d(1, 2, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.LayerNorm(8),
            nn.Linear(8, 1),
            nn.Flatten(0),
        ),
        (1, 6, 6),
    )
    yield (
        "norm",
        nn.Sequential(nn.Conv1d(2, 4, 2), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(12, 1), nn.Flatten(0)),
        (2, 4),
    )


MODELS = {name: (model.double(), shape) for name, model, shape in models()}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("of", ["loss", "output"])
def test_equals_one_backward_pass_an_example(name, of):
    model, shape = MODELS[name]
    x, y = torch.randn(5, *shape, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    problem = ff.Problem(model, squared_error, output_fn=lambda output, target: output.exp())
    gradients = whole_model.vectorised(problem, Examples(x, y), of)
    for i in range(5):
        out = model(x[i : i + 1])
        value = squared_error(out, y[i : i + 1]) if of == "loss" else out.exp()
        expected = torch.autograd.grad(value.sum(), list(model.parameters()))
        for (parameter, _), one in zip(model.named_parameters(), expected, strict=True):
            torch.testing.assert_close(gradients[parameter][i], one)


def test_only_the_selected_parameters():
    model, shape = MODELS["mlp"]
    problem = ff.Problem(model, squared_error, parameters="2.*")
    gradients = whole_model.vectorised(
        problem, Examples(torch.randn(2, 3, dtype=torch.float64), torch.zeros(2).double())
    )
    assert {name: tuple(g.shape) for name, g in gradients.items()} == {"2.weight": (2, 1, 4), "2.bias": (2, 1)}


def test_chunks_and_the_empty_batch():
    model, shape = MODELS["cnn"]
    problem = ff.Problem(model, squared_error)
    x, y = torch.randn(7, *shape, dtype=torch.float64), torch.randn(7, dtype=torch.float64)
    whole = whole_model.vectorised(problem, Examples(x, y))
    with ff.workspace(1):
        chunks = whole_model.vectorised(problem, Examples(x, y))
    for name, chunked in chunks.items():
        torch.testing.assert_close(chunked, whole[name])
    assert ff.per_example_gradients(problem, x[:0], y[:0])["0.weight"].shape == (0, 2, 1, 3, 3)
    for name, captured in ff.per_example_gradients(problem, x, y).items():
        torch.testing.assert_close(captured, whole[name])


def test_refused():
    model, shape = MODELS["mlp"]
    problem = ff.Problem(model, squared_error)
    with pytest.raises(ValueError, match='of: expected "loss" or "output", got "grad"|got \'grad\''):
        whole_model.vectorised(problem, Examples(torch.zeros(2, 3).double(), torch.zeros(2).double()), "grad")

    class Branching(nn.Linear):
        def forward(self, x):
            return super().forward(x)[:, 0] if x.sum() > 0 else 2 * super().forward(x)[:, 0]

    with pytest.raises(RuntimeError, match="torch.func could not transform Branching"):
        whole_model.vectorised(ff.Problem(Branching(3, 1), squared_error), Examples(torch.zeros(2, 3), torch.zeros(2)))

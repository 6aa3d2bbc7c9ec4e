"""The problem: which parameters, one loss an example, and models that are refused."""

import pytest
import torch
from torch import nn

import fimo_fast as ff


def squared_error(output, target):
    return (output - target).square()


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0))


DATA = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.linspace(-1, 1, 6)


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        (None, ["0.weight", "0.bias", "2.weight", "2.bias"]),
        ("2.*", ["2.weight", "2.bias"]),
        (["*.bias"], ["0.bias", "2.bias"]),
        (lambda name, p: p.dim() == 2, ["0.weight", "2.weight"]),
    ],
)
def test_parameters_of_interest(choice, names):
    problem = ff.Problem(model(), squared_error, parameters=choice)
    assert list(problem.parameters()) == names
    assert problem.numel == sum(p.numel() for p in problem.parameters().values()) == len(problem.vector())


def test_frozen_parameters_are_not_of_interest():
    net = model()
    net[0].requires_grad_(False)
    assert list(ff.Problem(net, squared_error).shapes) == ["2.weight", "2.bias"]


def test_vector_and_parameters_are_one_to_one():
    problem = ff.Problem(model(), squared_error)
    stacked = torch.randn(2, 5, problem.numel)
    again = problem.ravel(problem.unravel(stacked))
    assert torch.equal(stacked, again)
    assert problem.unravel(stacked)["0.weight"].shape == (2, 5, 4, 3)


def test_losses_at_other_parameters_leave_the_model_alone():
    net = model()
    problem = ff.Problem(net, squared_error, parameters="2.*")
    values = {name: p + 1 for name, p in problem.parameters().items()}
    moved = problem.losses(values, *DATA)
    expected = model()
    with torch.no_grad():
        expected[2].weight += 1
        expected[2].bias += 1
    torch.testing.assert_close(moved, squared_error(expected(DATA[0]), DATA[1]))
    torch.testing.assert_close(problem.losses(problem.parameters(), *DATA), squared_error(net(DATA[0]), DATA[1]))


def test_tied_parameters_move_together():
    net = model()
    net.add_module("extra", net[2])
    problem = ff.Problem(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), lambda o, t: o.sum(1))
    tied = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    tied[1].weight = tied[0].weight
    problem = ff.Problem(tied, lambda output, target: output.sum(1))
    assert list(problem.shapes) == ["0.weight"]
    weight = torch.randn(3, 3)
    expected = (DATA[0] @ weight.T @ weight.T).sum(1)
    torch.testing.assert_close(problem.losses({"0.weight": weight}, *DATA), expected)


@pytest.mark.parametrize(
    "loss",
    [
        torch.nn.MSELoss(),  # one number for the batch
        lambda o, t: (o[:, None] - t) ** 2,  # a broadcast that was not meant
        lambda o, t: 0.0,
    ],
)
def test_a_loss_that_is_not_per_example(loss):
    problem = ff.Problem(model(), loss)
    with pytest.raises(ValueError, match="loss_fn: expected one value an example, shape \\[6\\], got"):
        problem.losses(problem.parameters(), *DATA)
    with pytest.raises(ValueError, match="loss_fn: expected one value an example"):
        ff.GradDot().attribute(problem, DATA, DATA)


def test_refused_modules():
    for net, what in [
        (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), "1 is a BatchNorm1d in training mode"),
        (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False)).eval(), "without running"),
        (nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.1)), "Dropout with dropout 0.1 in training mode"),
        (nn.MultiheadAttention(4, 2, dropout=0.5), "MultiheadAttention with dropout 0.5"),
    ]:
        with pytest.raises(ValueError, match=what):
            ff.Problem(net, squared_error)
        if "without" not in what:
            assert ff.Problem(net.eval(), squared_error).numel > 0


def test_batchnorm_in_evaluation_mode_keeps_its_statistics():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 1), nn.Flatten(0)).double().eval()
    problem = ff.Problem(net, squared_error)
    data = tuple(t.double() for t in DATA)
    training = ff.FurtherTraining(problem, (torch.optim.SGD, {"lr": 0.1}), 1, 3, seeds=1)
    assert torch.isfinite(training.run(data, data, [0]).effects).all()
    assert torch.equal(net[1].running_mean, torch.zeros(3, dtype=torch.float64))


def test_refused_arguments():
    with pytest.raises(TypeError, match="model: expected a torch.nn.Module, got function"):
        ff.Problem(squared_error, squared_error)
    with pytest.raises(TypeError, match="loss_fn: expected a callable"):
        ff.Problem(model(), "mse")
    with pytest.raises(ValueError, match="parameters: 'fc' matches none of"):
        ff.Problem(model(), squared_error, parameters="fc")
    with pytest.raises(ValueError, match="parameters: none selected"):
        ff.Problem(model().requires_grad_(False), squared_error)
    with pytest.raises(ValueError, match="float16 on CPU is refused"):
        ff.Problem(model().half(), squared_error)
    mixed = model()
    mixed[0].double()
    with pytest.raises(ValueError, match="expected parameters of one dtype"):
        ff.Problem(mixed, squared_error)


def test_functional_dropout_is_an_error_and_not_noise():
    class Noisy(nn.Linear):
        def forward(self, x):
            return nn.functional.dropout(super().forward(x), training=True).sum(1)

    problem = ff.Problem(Noisy(3, 2), squared_error)
    with pytest.raises((RuntimeError, ValueError), match="random|do not depend"):
        ff.FurtherTraining(problem, torch.optim.SGD, 1, 2, seeds=1).run(DATA, DATA, [0])


def test_any_name_of_a_tied_parameter_selects_it():
    tied = nn.ModuleDict({"first": nn.Linear(3, 3), "head": nn.Linear(3, 3)})
    tied["head"].weight = tied["first"].weight
    assert set(ff.Problem(tied, squared_error, parameters="head.*").shapes) == {"first.weight", "head.bias"}


def test_modules_that_change_themselves_are_refused_or_left_alone():
    with pytest.raises(ValueError, match="Embedding with max_norm"):
        ff.Problem(nn.Sequential(nn.Embedding(5, 3, max_norm=1.0)), squared_error)
    with pytest.raises(ValueError, match="InstanceNorm1d in training mode"):
        ff.Problem(nn.Sequential(nn.InstanceNorm1d(3, affine=True, track_running_stats=True)), squared_error)
    normed = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(3, 1)), nn.Flatten(0))
    before = {name: buffer.clone() for name, buffer in normed.named_buffers()}
    ff.GradDot().attribute(ff.Problem(normed, squared_error), DATA, DATA)
    assert all(torch.equal(buffer, before[name]) for name, buffer in normed.named_buffers())


def test_a_mode_switched_after_construction_is_noticed():
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 1), nn.Flatten(0)).eval()
    problem = ff.Problem(net, squared_error)
    net.train()
    with pytest.raises(ValueError, match="BatchNorm1d in training mode"):
        ff.GradDot().attribute(problem, DATA, DATA)
    assert torch.equal(net[1].running_mean, torch.zeros(3))

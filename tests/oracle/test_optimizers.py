"""Update rules against torch.optim, step by step."""

from functools import partial

import pytest
import torch
from plain_training import OPTIMIZERS

from fimo_fast.oracle.optimizers import Adam, update_rule


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rule_equals_torch_optim_at_every_step(name):
    kind, arguments = OPTIMIZERS[name]
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    parameters = [torch.nn.Parameter(row.clone()) for row in theta]
    optimizer = kind(parameters, **arguments)
    rule = update_rule((kind, arguments))
    state = tuple(torch.zeros_like(theta) for _ in range(rule.state_size))
    for step in range(1, 12):
        gradient = torch.randn(3, 5, generator=generator, dtype=torch.float64)
        for parameter, row in zip(parameters, gradient, strict=True):
            parameter.grad = row.clone()
        optimizer.step()
        theta, state = rule(theta, state, gradient, step)
        expected = torch.stack([p.detach() for p in parameters])
        torch.testing.assert_close(theta, expected, rtol=1e-13, atol=1e-14)


def test_partial_pair_and_class_mean_the_same():
    pair = update_rule((torch.optim.Adam, {"lr": 1e-3}))
    assert pair == update_rule(partial(torch.optim.Adam, lr=1e-3)) == update_rule(torch.optim.Adam)


def test_adam_has_a_derivative_where_no_gradient_ever_came():
    rule = Adam(0.1)
    zero = torch.zeros(4, dtype=torch.float64)

    def after(gradient):
        return rule(zero, (zero, zero), gradient, 1)[0]

    tangent = torch.func.jvp(after, (zero,), (zero,))[1]
    adjoint = torch.func.vjp(after, zero)[1](torch.ones_like(zero))[0]
    assert torch.isfinite(tangent).all() and torch.isfinite(adjoint).all()


@pytest.mark.parametrize(
    ("optimizer", "error", "message"),
    [
        ((torch.optim.RMSprop, {"lr": 0.1}), ValueError, "SGD, Adam or AdamW, got RMSprop"),
        ((torch.optim.Adam, {"amsgrad": True}), ValueError, "amsgrad"),
        ((torch.optim.SGD, {"lr": -1.0}), ValueError, "learning rate"),
        ("sgd", TypeError, "optimizer: expected a torch.optim class"),
        (torch.optim.SGD([torch.zeros(1)], lr=0.1), TypeError, "optimizer: expected a torch.optim class"),
        (partial(torch.optim.SGD, [torch.zeros(1)], lr=0.1), TypeError, "keyword arguments only"),
    ],
)
def test_refused(optimizer, error, message):
    with pytest.raises(error, match=message):
        update_rule(optimizer)

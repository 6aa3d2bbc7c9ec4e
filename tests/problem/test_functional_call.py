"""A module's call at other values of its parameters."""

import torch
from torch import nn

import fimo_fast as ff
from fimo_fast.problem.functional_call import functional_call


def test_a_module_held_under_two_names_keeps_its_parameters():
    shared = nn.Linear(3, 3)
    shared.register_buffer("scale", torch.ones(1))
    model = nn.Sequential(shared, nn.Tanh(), nn.Sequential(shared))
    before = [*model.parameters(), *model.buffers()]
    x = torch.randn(2, 3)
    values = {name: torch.full_like(p, 0.5) for name, p in model.named_parameters()}
    got = functional_call(model, values, (x,), {})
    assert all(old is new for old, new in zip(before, [*model.parameters(), *model.buffers()], strict=True))
    once = x.sum(1, keepdim=True) * 0.5 + 0.5
    assert torch.allclose(got, (once.tanh() * 1.5 + 0.5).expand(2, 3))


def test_tied_parameters_all_get_the_value():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    x = torch.randn(2, 3)
    for name in ("0.weight", "1.weight"):
        assert torch.equal(functional_call(model, {name: torch.eye(3) * 2}, (x,), {}), 4 * x)


def test_a_problem_leaves_a_shared_module_as_it_is():
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, nn.Tanh(), shared)
    weight = shared.weight
    problem = ff.Problem(model, lambda output, target: (output - target).square().sum(1))
    problem.losses(problem.parameters(), torch.randn(2, 3), torch.randn(2, 3))
    assert shared.weight is weight

"""The diagnostic: it says that right gradients are right, and which are not."""

import pytest
import torch
from small_models import MODELS, problem_and_data
from torch import nn

import fimo_fast as ff
from fimo_fast.gradients import rules

pytestmark = pytest.mark.filterwarnings("ignore:gradients. no layer rule")


@pytest.mark.parametrize("name", MODELS)
def test_right_gradients(name):
    problem, data = problem_and_data(name)
    found = ff.gradients.check(problem, data)
    assert found.ok
    assert found.tolerance == 1e-9
    assert set(found.errors) == set(problem.shapes) == set(found.neighbours)
    assert "ok: largest error at" in str(found)


def test_float32_is_independent_of_its_neighbours():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(50, 64), nn.ReLU(), nn.Linear(64, 3))
    problem = ff.Problem(model, ff.losses.cross_entropy)
    found = ff.gradients.check(problem, (torch.randn(32, 50), torch.randint(3, (32,))))
    assert found.ok
    assert max(found.neighbours.values()) < 1e-5


def test_an_example_that_depends_on_its_neighbours_is_found():
    class Grows(nn.Module):
        """A batch of more than three examples, more than are tried, is normalised by its mean."""

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            y = self.layer(x)
            return y - y.mean(0) if len(x) > 3 else y

    problem = ff.Problem(Grows().double(), lambda output, target: output.square().sum(1))
    found = ff.gradients.check(problem, (torch.randn(8, 4).double(), torch.zeros(8)))
    assert not found.ok
    assert found.neighbours[found.worst] > 0.01 > 1e-9 > found.errors[found.worst]
    assert "NOT ok: largest error at layer." in str(found)


def test_a_wrong_rule_is_not_trusted(monkeypatch):
    """A rule that forgets a factor loses against the verification, and torch.func takes its place."""
    problem, data = problem_and_data("mlp")
    entries = [entry for entry in rules._ENTRIES if entry.kind is nn.Linear]
    right = entries[0].rule

    def wrong(call):
        for name, term in right(call):
            yield name, (ff.gradients.Dense(2 * term.value) if name == "bias" else term)

    for entry in entries:
        object.__setattr__(entry, "rule", wrong)
    try:
        with pytest.warns(UserWarning, match="no layer rule gives the gradients of 0.bias, 2.bias, 4.bias"):
            found = ff.gradients.check(problem, data)
    finally:
        for entry in entries:
            object.__setattr__(entry, "rule", right)
    assert found.ok
    assert found.paths["0.bias"] == "torch.func"
    assert found.paths["0.weight"] == "wrong"

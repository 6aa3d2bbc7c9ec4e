"""Models whose layers see rows that the data pick: right also where the first examples hide it."""

import pytest
import torch
from models import ready
from torch import nn

import fimo_fast as ff
from fimo_fast.gradients.capture import plan

N, T = 7, 4
FULL = torch.ones(N, T, dtype=torch.bool)
RAGGED = torch.arange(T) < torch.tensor([4, 4, 4, 3, 1, 2, 4])[:, None]  # 6 = 3 · 2 rows in the second batch of three

pytestmark = pytest.mark.filterwarnings("ignore:gradients. no layer rule")


class Rows(nn.Module):
    """Sums over tokens of a layer that is given its rows in one of many ways."""

    def __init__(self, way):
        super().__init__()
        self.embed, self.inner, self.norm, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)
        self.way = way

    def row(self, x):
        return self.norm(self.inner(x).tanh())

    def forward(self, x, present):
        return self.out(self.way(self, self.embed(x), present).sum(1))


def without_padding(model, x, present):
    result = torch.zeros_like(x)
    result[present] = model.row(x[present])
    return result


def without_padding_if_any(model, x, present):
    if present.all():
        return model.row(x.reshape(-1, 4)).view_as(x)
    return without_padding(model, x, present)


def cut_and_joined(model, x, present):
    lengths = present.sum(1).tolist()
    rows = model.row(torch.cat([one[:length] for one, length in zip(x, lengths, strict=True)]))
    return torch.stack([part.sum(0, keepdim=True) for part in rows.split(lengths)])


def longest_first(model, x, present):
    order = present.sum(1).argsort(descending=True, stable=True)
    return (model.row(x[order]) * present[order, :, None])[order.argsort()]


def by_expert(model, x, present):
    flat = x.reshape(-1, 4)
    order = present.flatten().long().argsort(descending=True, stable=True)
    return torch.zeros_like(flat).index_copy(0, order, model.row(flat[order])).view_as(x)


def time_first(model, x, present):
    return model.row(x.transpose(0, 1).reshape(-1, 4)).view(T, len(x), 4).transpose(0, 1)


def problem_and_exact(way, x, present):
    model = ready(Rows(way))
    target = torch.randn(N, 2, dtype=torch.float64)
    problem = ff.Problem(model, lambda output, target: (output - target).square().sum(1))
    rows = []
    for i in range(N):
        loss = (model(x[i : i + 1], present[i : i + 1]) - target[i]).square().sum()
        rows.append(torch.autograd.grad(loss, list(model.parameters())))
    names = [name for name, _ in model.named_parameters()]
    return problem, target, dict(zip(names, map(torch.stack, zip(*rows, strict=True)), strict=True))


def assert_equal(got, exact):
    for name, expected in exact.items():
        assert (got[name] - expected).abs().max() <= 1e-9 * expected.abs().max(), name


WAYS = [without_padding, without_padding_if_any, cut_and_joined, longest_first, by_expert, time_first]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore:gradients. .* was called")
def test_later_batches_with_other_rows(way):
    torch.manual_seed(0)
    x = torch.randn(N, T, 4, dtype=torch.float64)
    problem, target, exact = problem_and_exact(way, x, RAGGED)
    for size in (1, 3, N):
        assert_equal(ff.gradients.formed(problem, ((x, RAGGED), target), batch_size=size), exact)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("alike", [1, 3])
@pytest.mark.filterwarnings("ignore:gradients. .* was called")
def test_a_plan_made_on_examples_that_are_all_alike(way, alike):
    torch.manual_seed(0)
    x = torch.randn(N, T, 4, dtype=torch.float64)
    x[:3] = x[0].clone()
    problem, target, exact = problem_and_exact(way, x, RAGGED)
    some = slice(0, alike)
    assert_equal(
        ff.gradients.formed(problem, ((x[some], RAGGED[some]), target[some])), {k: g[some] for k, g in exact.items()}
    )
    assert_equal(ff.gradients.formed(problem, ((x, RAGGED), target)), exact)
    assert_equal(ff.gradients.formed(problem, ((x, RAGGED), target), batch_size=3), exact)


def test_rows_in_their_places_keep_the_layers_rule():
    """Batches that turn out to be regular cost a backward pass more, and nothing else."""
    torch.manual_seed(0)
    x = torch.randn(N, T, 4, dtype=torch.float64)
    problem, target, exact = problem_and_exact(without_padding, x, FULL)
    stream = ff.gradients.GradientStream(problem, ff.data.Examples((x, FULL), target))
    assert stream.paths["inner.weight"] == "linear" and stream.paths["norm.weight"] == "layer_norm"
    assert plan.make_plan(problem, ff.data.Examples((x, FULL), target)).verify
    terms = {
        name: sum(p.formed() for p in parts)
        for name, parts in stream.collect(ff.data.Examples((x, FULL), target)).items()
    }
    assert_equal({name: value.view_as(exact[name]) for name, value in terms.items()}, exact)


def test_other_models_are_spared_the_second_backward_pass():
    """Lookups in tables, and along an axis without examples, pick no rows of other examples."""

    class Tables(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.table = nn.Embedding(9, 4), nn.Parameter(torch.randn(5, 4))
            self.inner, self.out = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            y = self.inner(self.embed(x)) + self.table[torch.tensor([0, 1, 1, 4])]
            return self.out(y.gather(2, x[..., None].clamp(max=3).expand(-1, -1, 4)).sum(1))

    torch.manual_seed(0)
    problem = ff.Problem(ready(Tables()), lambda output, target: (output - target).square().sum(1))
    examples = ff.data.Examples(torch.arange(N * T).reshape(N, T) % 9, torch.randn(N, 2, dtype=torch.float64))
    assert not plan.make_plan(problem, examples).verify

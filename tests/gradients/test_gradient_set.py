"""Sets of gradients: held as factors, transformed, multiplied and sketched like the numbers they stand for."""

import threading
from dataclasses import replace

import pytest
import torch
from small_models import MODELS, exact, problem_and_data
from torch import nn
from torch.func import functional_call, grad, vmap

import fimo_fast as ff
from fimo_fast.gradients import Dense, GradientSet, LayerSketch, Outer
from fimo_fast.testing import count_kernel_calls


def close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore:gradients")
def test_is_what_it_stands_for(name, batch_size):
    problem, data = problem_and_data(name, n=7)
    problem = problem.with_output_fn(lambda output, target: output.flatten(1).sum(1).exp())
    found, others = GradientSet.collect(problem, data, "output", batch_size), GradientSet.collect(problem, data)
    expected, losses = exact(problem, data, "output"), exact(problem, data)
    assert len(found) == 7
    close(found.vectors(), expected)
    close(found.norm2(), expected.square().sum(1))
    close(found.dot(others), expected @ losses.T)
    sketch = ff.SRHT(problem.numel, 16, seed=1)
    close(found.sketch(sketch), ff.project(expected, sketch))
    layers = LayerSketch.for_problem(problem, 64)
    close(others.sketch(layers), ff.gradients.sketch(problem, data, layers))
    numbers = GradientSet.from_vectors(problem, expected)
    close(numbers.vectors(), expected)
    close(numbers.dot(found), expected @ expected.T)
    close(ff.gradients.dots(problem, data, found), losses @ expected.T)
    close(ff.gradients.dots(problem, data, numbers), losses @ expected.T)


def test_inner_products_form_no_gradient():
    problem, data = problem_and_data("mlp", n=9)
    with count_kernel_calls() as calls:
        found = GradientSet.collect(problem, data)
        found.dot(found)
    assert calls["outer_dot"] == 3 and calls["project"] == 0


def test_a_layer_preconditioner_acts_on_factors_bias_included():
    """K-FAC's form, δ → S δ and (a, 1) → A (a, 1), against the same on formed matrices."""
    torch.manual_seed(0)
    problem = ff.Problem(nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2)).double(), lambda o, y: o.sum(1) * y)
    data = torch.randn(5, 3).double(), torch.randn(5).double()
    sides = {"0.weight": torch.randn(4, 4).double(), "2.weight": torch.randn(3, 3).double()}
    outputs = torch.randn(2, 2).double()

    def precondition(name, term):
        assert isinstance(term, Outer) and term.partner == name.replace("weight", "bias")
        return replace(term, a=term.a @ sides[name], delta=term.delta @ outputs)

    found = GradientSet.collect(problem, data).map(precondition)
    gradients, expected = ff.per_example_gradients(problem, *data), {}
    for name, side in sides.items():
        bias = name.replace("weight", "bias")
        whole = torch.cat([gradients[name], gradients[bias][..., None]], dim=2)
        moved = outputs.T @ whole @ side
        expected[name], expected[bias] = moved[..., :-1], moved[..., -1]
    expected = problem.ravel(expected)
    close(found.vectors(), expected)
    close(found.norm2(), expected.square().sum(1))
    plain = exact(problem, data)
    close(ff.gradients.dots(problem, data, found), plain @ expected.T)
    close(found.dot(GradientSet.collect(problem, data)), expected @ plain.T)
    close(found.dot(found), expected @ expected.T)
    for sketch in (ff.SRHT(problem.numel, 8), LayerSketch.for_problem(problem, 32)):
        close(found.sketch(sketch), GradientSet.from_vectors(problem, expected).sketch(sketch))


def test_at_other_parameters():
    problem, (x, y) = problem_and_data("mlp")
    before = {name: p.clone() for name, p in problem.parameters().items()}
    elsewhere = problem.vector() + 0.1 * torch.randn(problem.numel).double()
    moved = problem.at(elsewhere)
    values = problem.unravel(elsewhere)

    def loss(values, x, y):
        return problem.loss_fn(functional_call(problem.model, values, (x[None],)), y[None])[0]

    expected = vmap(grad(loss), in_dims=(None, 0, 0))(values, x, y)
    close(GradientSet.collect(moved, (x, y)).vectors(), problem.ravel(expected))
    for given in (values, elsewhere):
        close(problem.at(given).vector(), elsewhere)
    assert all(torch.equal(p, before[name]) for name, p in problem.parameters().items())
    # Both ends of a trajectory meet in one inner product.
    both = GradientSet.collect(problem, (x, y)).dot(GradientSet.collect(moved, (x, y)))
    close(both, exact(problem, (x, y)) @ problem.ravel(expected).T)


def test_float32_models_take_float64_vectors():
    model = nn.Linear(3, 1)
    problem = ff.Problem(model, lambda o, y: (o[:, 0] - y).square())
    data = torch.randn(4, 3), torch.randn(4)
    vectors = torch.randn(2, problem.numel, dtype=torch.float64)
    expected = problem.ravel(ff.per_example_gradients(problem, *data)).double() @ vectors.T
    got = ff.gradients.dots(problem, data, GradientSet.from_vectors(problem, vectors))
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-6)


def test_refused():
    problem, data = problem_and_data("mlp")
    found = GradientSet.collect(problem, data)
    with pytest.raises(ValueError, match=r"vectors: expected shape \[examples, \d+\], got \[2, 3\]"):
        GradientSet.from_vectors(problem, torch.zeros(2, 3))
    with pytest.raises(ValueError, match="function: expected 6 x 40 entries from 0 on for 0.weight"):
        found.map(lambda name, term: Dense(torch.zeros(6, 3)))
    with pytest.raises(ValueError, match="function: expected an Outer with partner '0.bias' for 0.weight"):
        found.map(lambda name, term: Dense(torch.zeros(len(term), term.width).double(), term.start))
    other, _ = problem_and_data("wrapped")
    with pytest.raises(ValueError, match="queries: expected gradients of Problem"):
        ff.gradients.dots(other, data, found)
    for wrong, message in (
        (torch.zeros(3), r"parameters: expected shape \[\d+\], got \[3\]"),
        ({"0.weight": torch.zeros(8, 4)}, "parameters: expected .* in their shapes"),
        (
            torch.full((problem.numel,), torch.nan),
            "parameters: expected finite numbers of torch.float64, got others in 0.weight",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            problem.at(wrong)
    assert "6 examples" in repr(found)


@pytest.mark.parametrize("name", ["mlp", "sequence", "wrapped"])
@pytest.mark.filterwarnings("ignore:gradients")
def test_a_small_workspace_changes_no_number(name):
    problem, data = problem_and_data(name, n=7)
    expected = exact(problem, data)
    with ff.workspace(1):
        assert ff.gradients.GradientStream(problem, ff.data.load(problem, data, "data")).batch_size == 1
        found = GradientSet.collect(problem, data)
        close(found.vectors(), expected)
        close(found.norm2(), expected.square().sum(1))
        close(found.dot(GradientSet.from_vectors(problem, expected)), expected @ expected.T)


def test_sets_of_other_parameters_are_refused():
    problem, data = problem_and_data("mlp")
    found = GradientSet.collect(problem, data)
    wider = ff.Problem(nn.Linear(6, 3, bias=False).double(), lambda output, y: output.sum(1) * y)
    others = GradientSet.collect(wider, (torch.randn(5, 6).double(), torch.randn(5).double()))
    for left, right in ((found, others), (others, found)):
        with pytest.raises(ValueError, match="other: expected gradients of Problem"):
            left.dot(right)
    with pytest.raises(TypeError, match="other: expected a GradientSet, got Tensor"):
        found.dot(found.vectors())
    with pytest.raises(TypeError, match="vectors: expected a floating-point tensor, got (list|torch.int64)"):
        GradientSet.from_vectors(problem, [1.0])
    with pytest.raises(TypeError, match="vectors: expected a floating-point tensor, got torch.int64"):
        GradientSet.from_vectors(problem, torch.zeros(1, problem.numel, dtype=torch.int64))
    for wrong, message in (
        (lambda name, term: None, "function: expected an Outer, Rows or Dense for 0.weight, got NoneType"),
        (lambda name, term: replace(term, a=term.delta, delta=term.a), "function: expected a with 5 columns"),
        (lambda name, term: replace(term, delta=term.delta.float()), "function: expected a and delta of one type"),
        (lambda name, term: replace(term, delta=term.delta[:3]), r"got \[3, 6\] x 40"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            found.map(wrong)
    with pytest.raises(FloatingPointError, match="queries gradients of 0.weight: expected finite numbers"):
        ff.gradients.dots(problem, data, GradientSet.from_vectors(problem, torch.full((1, problem.numel), torch.nan)))


@pytest.mark.parametrize("kind", ["linear", "embedding"])
def test_a_set_is_not_changed_through_the_data(kind):
    if kind == "linear":
        model, x = nn.Linear(4, 3, bias=False).double(), torch.randn(5, 4).double()
    else:
        model, x = nn.Embedding(9, 3).double(), torch.randint(9, (5, 4))
    problem = ff.Problem(model, lambda output, y: output.flatten(1).square().sum(1) * y)
    found = GradientSet.collect(problem, (x, torch.ones(5).double()))
    before = found.vectors()
    x.zero_()
    assert torch.equal(found.vectors(), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_numbers_of_16_bits_are_multiplied_in_wider_ones(dtype):
    problem = ff.Problem(nn.Linear(4, 3).double(), ff.losses.cross_entropy)
    found = GradientSet.from_vectors(problem, torch.full((2, problem.numel), 300.0).to(dtype))
    assert (found.dot(found) == 300.0**2 * problem.numel).all() and (found.norm2() == 300.0**2 * problem.numel).all()


def test_a_parameter_without_axes():
    class Scaled(nn.Linear):
        def __init__(self):
            super().__init__(4, 3)
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x):
            return super().forward(x) * self.scale

    problem = ff.Problem(Scaled().double(), ff.losses.cross_entropy)
    assert torch.equal(problem.at(problem.vector()).vector(), problem.vector())
    both = problem.unravel(torch.zeros(2, problem.numel))
    assert both["scale"].shape == (2,) and both["weight"].shape == (2, 3, 4)


def test_at_refuses_what_it_cannot_hold_or_copy():
    problem = ff.Problem(nn.Linear(4, 3), ff.losses.cross_entropy)
    for wrong in (torch.full((problem.numel,), 1e300, dtype=torch.float64), torch.zeros(problem.numel).cfloat()):
        with pytest.raises(ValueError, match="parameters: expected finite numbers of torch.float32, got others"):
            problem.at(wrong)
    with pytest.raises(TypeError, match="parameters: expected a tensor or a dict of tensors, got list"):
        problem.at([1.0])
    locked = nn.Linear(4, 3)
    locked.lock = threading.Lock()
    with pytest.raises(TypeError, match="model: expected one that copy.deepcopy can copy, .* got a Linear; it says"):
        ff.Problem(locked, ff.losses.cross_entropy).at(problem.vector())

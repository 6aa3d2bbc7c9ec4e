"""Gradients, norms, inner products and sketches of whole models, against one backward pass an example."""

import json

import pytest
import torch
from small_models import MODELS, exact, problem_and_data
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

import fimo_fast as ff
from fimo_fast.gradients import LayerSketch
from fimo_fast.testing import count_kernel_calls

pytestmark = pytest.mark.filterwarnings("ignore:gradients. no layer rule")


def close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch_size", [1, 4, None])
def test_whole_models(name, batch_size):
    problem, data = problem_and_data(name)
    expected = exact(problem, data)
    close(problem.ravel(ff.gradients.formed(problem, data, batch_size=batch_size)), expected)
    close(ff.gradients.norm2(problem, data, batch_size=batch_size), expected.square().sum(1))
    others = tuple(part[1:4] for part in data)
    close(ff.gradients.dots(problem, data, others, batch_size), expected @ expected[1:4].T)
    sketch = ff.SRHT(problem.numel, 32, seed=3)
    close(ff.gradients.sketch(problem, data, sketch, batch_size=batch_size), ff.project(expected, sketch))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("matrices", ["tensor", "factored"])
@pytest.mark.parametrize(("sketch_dim", "apart"), [(64, False), (64, True), (2100, True)])
def test_a_layer_sketch_is_one_linear_map(name, matrices, sketch_dim, apart):
    """However a gradient is handed over, its sketch is that of the one-hot gradients times it."""
    problem, data = problem_and_data(name)
    sketch = ff.gradients.LayerSketch.for_problem(problem, sketch_dim, seed=1, matrices=matrices, apart=apart)
    assert len({sketch.part(weight).start for weight in sketch.starts}) == min(
        len(sketch.starts), sketch_dim // 1024 or 1
    )
    adder = ff.gradients.Sketches(problem, sketch)
    eye = torch.eye(problem.numel, dtype=torch.float64)
    columns = adder.empty(problem.numel)
    for parameter, entries in problem.unravel(eye).items():
        adder.add(parameter, ff.gradients.Dense(entries.flatten(1)), columns)
    close(ff.gradients.sketch(problem, data, sketch), exact(problem, data) @ columns)


@pytest.mark.filterwarnings("ignore")
def test_a_layer_sketch_of_a_long_bias_and_of_a_weight_that_is_computed():
    torch.manual_seed(0)
    model = nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 100)), nn.Tanh(), nn.Linear(100, 90)).double()
    problem = ff.Problem(model, ff.losses.cross_entropy)
    data = (torch.randn(4, 3, dtype=torch.float64), torch.arange(4))
    sketch = ff.gradients.LayerSketch.for_problem(problem, 64)
    assert sketch.biases == {"2.bias": "2.weight"}
    adder = ff.gradients.Sketches(problem, sketch)
    expected = adder.empty(4)
    for name, gradient in ff.gradients.formed(problem, data).items():
        adder.add(name, ff.gradients.Dense(gradient.flatten(1)), expected)
    close(ff.gradients.sketch(problem, data, sketch), expected)


def test_queries_are_differentiated_through_the_output():
    problem, data = problem_and_data("mlp")
    problem = problem.with_output_fn(lambda output, target: output.flatten(1).sum(1).exp())
    expected = exact(problem, data, "output")
    close(ff.gradients.norm2(problem, data, "output"), expected.square().sum(1))
    close(ff.gradients.dots(problem, data, data), exact(problem, data) @ expected.T)


@pytest.mark.parametrize("sketch", [ff.SJLT, ff.Rademacher, ff.Mask])
def test_other_sketches_of_the_whole_vector(sketch):
    problem, data = problem_and_data("tied")
    sketch = sketch(problem.numel, 16, seed=5)
    close(ff.gradients.sketch(problem, data, sketch), ff.project(exact(problem, data), sketch))


@pytest.mark.parametrize("name", ["tied", "mlp"])
def test_a_composition(name):
    problem, data = problem_and_data(name)
    sketch = ff.Composition(ff.Mask(problem.numel, 24, seed=1), ff.SJLT(24, 16, seed=2))
    close(ff.gradients.sketch(problem, data, sketch), ff.project(exact(problem, data), sketch))
    factored = ff.Factored(ff.SRHT(problem.numel, 4, 1), ff.SRHT(1, 4, 2))
    with pytest.raises(TypeError, match="sketch: expected a Composition of sketches of vectors"):
        ff.gradients.sketch(problem, data, ff.Composition(factored, ff.SJLT(16, 8, 3)))


def test_grad_dot_of_an_mlp_never_forms_a_gradient():
    problem, data = problem_and_data("mlp", n=1500)
    with count_kernel_calls() as calls:
        ff.GradDot().attribute(problem, data, tuple(part[:7] for part in data))
    assert calls["outer_dot"] == 3 * 2  # layers times batches of 1,024
    assert calls["project"] == calls["outer_project"] == 0


def test_tokens_apart_add_up():
    problem, data = problem_and_data("tied")
    labels = torch.randint(7, (6, 5))
    problem = ff.Problem(problem.model, ff.losses.TokenCrossEntropy(shift=False))
    data = (data[0], labels)
    whole = ff.gradients.dots(problem, data, data)
    apart = ff.gradients.dots(problem, data, data, batch_size=4, tokens=True)
    assert apart.shape == (6, 5, 6)
    close(apart.sum(1), whole)
    # A position's part is that of the factors at the position alone.
    gradients = ff.gradients.GradientStream(problem, ff.data.load(problem, data, "train"))
    terms = gradients.collect(ff.data.load(problem, data, "train"))["hidden.weight"]
    only = ff.Problem(problem.model, problem.loss_fn, parameters="hidden.weight")
    found = ff.gradients.dots(only, data, data, tokens=True)
    a, delta = (torch.einsum("bti,qsi->btqs", factor, factor) for factor in (terms[0].a, terms[0].delta))
    close(found, (a * delta).sum(-1))


def test_tokens_refused():
    problem, data = problem_and_data("mlp")
    with pytest.raises(ValueError, match="tokens: expected sequences with a target for each position"):
        ff.gradients.dots(problem, data, data, tokens=True)
    problem, data = problem_and_data("sequence")
    problem = ff.Problem(problem.model, lambda output, target: (output.mean(2) - target).square().mean(1))
    data = (data[0], torch.zeros(6, 5).double())
    with pytest.raises(ValueError, match="tokens: the gradient of position is not known as a sum over positions"):
        ff.gradients.dots(problem, data, data, tokens=True)


def test_refused():
    problem, data = problem_and_data("mlp")
    with pytest.raises(ValueError, match=f"sketch: expected input_dim {problem.numel} like the problem's parameters"):
        ff.gradients.sketch(problem, data, ff.SRHT(5, 4))
    with pytest.raises(TypeError, match="sketch: expected a sketch of vectors or a LayerSketch, got Factored"):
        ff.gradients.sketch(problem, data, ff.Factored(ff.SRHT(2, 2, 1), ff.SRHT(3, 2, 2)))
    other, _ = problem_and_data("wrapped")
    with pytest.raises(ValueError, match="sketch: expected one of the problem's parameters, got another size for"):
        ff.gradients.sketch(problem, data, ff.gradients.LayerSketch.for_problem(other, 64))
    with pytest.raises(ValueError, match='matrices: expected "tensor" or "factored"'):
        ff.gradients.LayerSketch.for_problem(problem, 32, matrices="dense")
    with pytest.raises(ValueError, match='of: expected "loss" or "output"'):
        ff.gradients.norm2(problem, data, of="margin")


def test_gradients_that_are_not_finite_are_refused():
    problem, data = problem_and_data("mlp")
    root = ff.Problem(problem.model, lambda output, target: (output[:, 0] - output[:, 0].detach()).abs().sqrt())
    with pytest.raises(FloatingPointError, match="gradients: expected finite numbers"):
        ff.gradients.norm2(root, data)


def test_sketches_into_given_memory():
    problem, data = problem_and_data("mlp")
    sketch = ff.SRHT(problem.numel, 8)
    expected = ff.gradients.sketch(problem, data, sketch)
    out = torch.full((6, 8), 7.0, dtype=torch.float64)
    assert ff.gradients.sketch(problem, data, sketch, batch_size=4, out=out) is out
    torch.testing.assert_close(out, expected)
    with pytest.raises(ValueError, match=r"out: expected shape \[6, 8\], got \[5, 8\]"):
        ff.gradients.sketch(problem, data, sketch, out=out[:5])
    with pytest.raises(TypeError, match="out: expected a tensor of torch.float64 on cpu, got torch.float32 on cpu"):
        ff.gradients.sketch(problem, data, sketch, out=out.float())


def test_the_example_whose_gradient_is_not_finite_is_named():
    """In whatever batch it comes, also where its loss is finite: |x| ** 0.5 at 0."""
    model = torch.nn.Linear(1, 1, bias=False).double()
    problem = ff.Problem(model, lambda output, target: output[:, 0].abs().sqrt())
    x = torch.arange(1.0, 9.0, dtype=torch.float64)[:, None]
    zeros = torch.zeros(8, dtype=torch.float64)
    model.weight.data.fill_(1)
    fine, broken = (x, zeros), (x.where(x != 6, 0), zeros)
    sketch = ff.SJLT(1, 4)
    measures = {
        "train": lambda: ff.gradients.dots(problem, broken, fine, batch_size=3),
        "queries": lambda: ff.gradients.dots(problem, fine, broken, batch_size=3),
        "data": lambda: ff.gradients.norm2(problem, broken, batch_size=3),
        "others": lambda: ff.gradients.sketch(problem, broken, sketch, batch_size=3, name="others"),
        "data gradients of weight": lambda: ff.gradients.formed(problem, broken, batch_size=3),
    }
    for name, measure in measures.items():
        with pytest.raises(FloatingPointError, match=f"{name}.*: expected finite numbers, got .* for example 5;"):
            measure()


class Numbers(IterableDataset):
    def __iter__(self):
        x, y = problem_and_data("mlp")[1]
        return iter(zip(x, y, strict=True))


def test_a_stream_of_unknown_length():
    problem, data = problem_and_data("mlp")
    loader = DataLoader(Numbers(), batch_size=4)
    close(ff.gradients.norm2(problem, loader, progress=True), ff.gradients.norm2(problem, data))
    close(ff.GradDot().attribute(problem, loader, loader), ff.GradDot().attribute(problem, data, data))
    with pytest.raises(ValueError, match="got an IterableDataset with 2 workers: row i of the scores"):
        ff.gradients.norm2(problem, DataLoader(Numbers(), num_workers=2))


def test_batch_sizes_that_are_none_are_refused():
    problem, data = problem_and_data("mlp")
    with pytest.raises(ValueError, match="batch_size: expected at least 1, got 0"):
        ff.gradients.norm2(problem, data, batch_size=0)
    with pytest.raises(TypeError, match=r"batch_size: expected an integer, got 2\.5"):
        ff.gradients.dots(problem, data, data, batch_size=2.5)


def test_the_spec_of_a_layer_sketch_makes_it_again():
    problem, data = problem_and_data("tied")
    for matrices in ("tensor", "factored"):
        sketch = LayerSketch.for_problem(problem, 64, seed=3, matrices=matrices)
        again = LayerSketch.from_spec(json.loads(json.dumps(sketch.spec)))
        assert again == sketch
        assert torch.equal(ff.gradients.sketch(problem, data, again), ff.gradients.sketch(problem, data, sketch))
    for wrong in (
        None,
        {**sketch.spec, "sketches": [1]},
        {**sketch.spec, "starts": None},
        {"kind": "srht"},
        {**sketch.spec, "more": 1},
        {k: v for k, v in sketch.spec.items() if k != "starts"},
    ):
        with pytest.raises(ValueError, match="spec: expected"):
            LayerSketch.from_spec(wrong)

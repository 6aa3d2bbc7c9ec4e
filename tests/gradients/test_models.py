"""Gradients of whole models, against one backward pass for each example alone."""

import copy
import warnings
from fnmatch import fnmatchcase

import models
import pytest
import torch
import torch.nn.functional as F
from models import MODELS, N
from torch import nn

import fimo_fast as ff
from fimo_fast.gradients.capture import plan


@pytest.fixture(scope="module")
def case(request):
    """A model and its data, made once."""
    torch.manual_seed(0)
    return MODELS[request.param]()


def every_model(test):
    return pytest.mark.parametrize("case", models.params(), indirect=True)(test)


def problem_of(case, **settings):
    return ff.Problem(case.model, case.loss, **settings)


def parts(tree, i):
    """Example i of nested tuples and dicts, as a batch of one."""
    if isinstance(tree, dict):
        return {key: parts(value, i) for key, value in tree.items()}
    if isinstance(tree, tuple):
        return tuple(parts(value, i) for value in tree)
    return tree[i : i + 1]


def own_loss(case, i):
    """The loss of one example. Of tokens: transformers' own would be in float32."""
    one = parts(case.data, i)
    if isinstance(one, dict):
        logits, labels = case.model(**one).logits, one["labels"]
        if logits.dim() == 2:
            return F.cross_entropy(logits, labels)
        if any(type(module).__name__.endswith(("CausalLM", "LMHeadModel")) for module in case.model.modules()):
            logits, labels = logits[:, :-1], labels[:, 1:]
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())
    inputs, target = one
    if isinstance(inputs, dict):
        return case.loss(case.model(**inputs), target).sum()
    return case.loss(case.model(*inputs) if isinstance(inputs, tuple) else case.model(inputs), target).sum()


def exact_gradients(case):
    selected = {name: p for name, p in case.model.named_parameters() if p.requires_grad}
    rows = []
    for i in range(N):
        grads = torch.autograd.grad(own_loss(case, i), list(selected.values()), allow_unused=True)
        rows.append(
            [torch.zeros_like(p) + (0 if g is None else g) for g, p in zip(grads, selected.values(), strict=True)]
        )
    return {name: torch.stack(column) for name, *column in zip(selected, *rows, strict=True)}


def assert_equal(got, exact, tolerance):
    assert got.keys() == exact.keys()
    largest = max(value.abs().max() for value in exact.values())
    for name, expected in exact.items():
        assert got[name].shape == expected.shape and got[name].dtype == expected.dtype, name
        # A gradient that is zero but for rounding is compared with the model's largest.
        scale = max(expected.abs().max(), 1e-6 * largest)
        error = (got[name] - expected).abs().max()
        assert error <= tolerance * scale, f"{name}: {error / scale:.1e}"


def everything(model):
    """What attribution must leave alone."""
    return {
        "hooks": [
            [len(getattr(module, kind)) for kind in vars(module) if kind.endswith("_hooks")]
            for module in model.modules()
        ],
        "parameters": [(name, id(p), p.requires_grad, p.grad) for name, p in model.named_parameters()],
        "training": [module.training for module in model.modules()],
        "values": [tensor.clone() for tensor in model.state_dict().values()],
        "settings": (torch.is_grad_enabled(), torch.backends.mha.get_fastpath_enabled()),
    }


def _hooks(module):
    return [len(getattr(module, kind)) for kind in vars(module) if kind.endswith("_hooks")]


def assert_untouched(model, before):
    after = everything(model)
    for before_values, after_values in zip(before.pop("values"), after.pop("values"), strict=True):
        assert torch.equal(before_values, after_values)
    assert before == after


@every_model
@pytest.mark.filterwarnings("ignore:gradients. no layer rule")
def test_exact(case):
    """All of: formed gradients, in ragged batches and one by one; their sketches, norms and inner products."""
    exact = exact_gradients(case)
    before = everything(case.model)
    problem = problem_of(case)

    assert_equal(ff.gradients.formed(problem, case.data), exact, case.tolerance)
    assert_equal(ff.gradients.formed(problem, case.data, batch_size=2), exact, case.tolerance)
    assert_equal(ff.gradients.formed(problem, case.data, batch_size=1), exact, case.tolerance)

    vectors = problem.ravel(exact)
    grams = {"dots": vectors @ vectors.T, "norm2": vectors.square().sum(1)}
    got = {"dots": ff.gradients.dots(problem, case.data, case.data, batch_size=2)}
    got["norm2"] = ff.gradients.norm2(problem, case.data, batch_size=3)
    assert_equal(got, grams, case.tolerance)
    sketch = ff.SJLT(problem.numel, 8, seed=3)
    got = ff.gradients.sketch(problem, case.data, sketch, batch_size=3)
    assert_equal({"sketch": got}, {"sketch": ff.ops.project(vectors, sketch)}, case.tolerance)
    assert_untouched(case.model, before)


@every_model
def test_paths(case):
    """Each parameter goes the fast way that there is for it, and what does not is said."""
    plan._TRIED.clear()  # what was said before is not said again
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        paths = ff.gradients.paths(problem_of(case), case.data)
    slow = ("torch.func", "one by one")
    for name, path in paths.items():
        expected = [way for pattern, way in case.paths.items() if fnmatchcase(name, pattern)]
        if expected and expected[-1] != "any":
            assert path == expected[-1], name
        assert expected or path not in slow, name
    for pattern in case.paths:
        assert any(fnmatchcase(name, pattern) for name in paths), f"{pattern} matches nothing"
    messages = [str(warning.message) for warning in said if "no layer rule" in str(warning.message)]
    words = dict(zip(slow, ("torch.func", "one example at a time"), strict=True))
    assert {way for way in slow if way in paths.values()} == {way for way in slow if words[way] in "".join(messages)}


@pytest.mark.parametrize("case", models.params(["mlp", "resnet9", "gpt2", "encoder", "lstm"]), indirect=True)
@pytest.mark.filterwarnings("ignore:gradients. no layer rule")
def test_batches_of_one_example(case):
    problem = problem_of(case)
    one = parts(case.data, 2)
    exact = {name: gradient[2:3] for name, gradient in exact_gradients(case).items()}
    assert_equal(ff.gradients.formed(problem, one), exact, case.tolerance)


@pytest.mark.parametrize(
    "case", models.params(["mlp", "cnn_of_all_kinds", "gpt2", "encoder_time_first"]), indirect=True
)
@pytest.mark.filterwarnings("ignore:gradients. no layer rule")
def test_only_some_parameters(case):
    exact = exact_gradients(case)
    for pattern in ("*bias", "*weight"):
        problem = problem_of(case, parameters=pattern)
        some = {name: gradient for name, gradient in exact.items() if fnmatchcase(name, pattern)}
        assert_equal(ff.gradients.formed(problem, case.data), some, case.tolerance)


@pytest.mark.parametrize("case", models.params(["mlp", "resnet9", "gpt2", "encoder"]), indirect=True)
def test_float32(case):
    exact = exact_gradients(case)
    model = copy.deepcopy(case.model).float()
    data = case.data
    if isinstance(data, tuple):
        inputs, target = data
        data = (tuple(t.float() if t.is_floating_point() else t for t in inputs), target)
        data = data if isinstance(inputs, tuple) else (inputs.float(), target)
    got = ff.gradients.formed(ff.Problem(model, case.loss), data)
    assert_equal({name: gradient.double() for name, gradient in got.items()}, exact, 1e-3)


class Breaks(torch.autograd.Function):
    """The identity, until told otherwise."""

    where = None

    @staticmethod
    def forward(ctx, x):
        if Breaks.where == "forward":
            raise RuntimeError("broken forward")
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        if Breaks.where == "backward":
            raise RuntimeError("broken backward")
        return grad


class Breaking(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)

    def forward(self, x):
        return self.last(Breaks.apply(self.norm(self.first(x))))


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_the_model_is_as_it_was_after_an_exception(where, monkeypatch):
    model = models.ready(Breaking())
    model.first.bias.requires_grad_(False)
    model.last.weight.grad = torch.ones_like(model.last.weight)
    problem = ff.Problem(model, ff.losses.squared_error)
    x, y = models.numbers(4), models.numbers()
    batch = ff.data.Examples(x, y)
    stream = ff.gradients.GradientStream(problem, batch)
    before = everything(model)
    monkeypatch.setattr(Breaks, "where", where)
    with pytest.raises(RuntimeError, match=f"broken {where}"):
        stream(batch, lambda name, term: None)
    assert_untouched(model, before)
    monkeypatch.setattr(Breaks, "where", None)
    assert set(stream.collect(batch)) == set(problem.shapes)


def test_an_exception_of_the_receiver_passes_through():
    model = models.ready(Breaking())
    problem = ff.Problem(model, ff.losses.squared_error)
    batch = ff.data.Examples(models.numbers(4), models.numbers())
    stream = ff.gradients.GradientStream(problem, batch)
    before = everything(model)

    def receive(name, term):
        raise KeyError(name)

    with pytest.raises(KeyError):
        stream(batch, receive)
    assert_untouched(model, before)


def test_autocast_to_bfloat16():
    """Gradients are those of the model as it runs: not better than bfloat16, and not worse than autograd's."""
    case = MODELS["mlp"]()
    model = copy.deepcopy(case.model).float()
    x, y = case.data[0].float(), case.data[1]
    problem = ff.Problem(model, case.loss)
    with torch.autocast("cpu", torch.bfloat16):
        got = ff.gradients.formed(problem, (x, y))
        paths = ff.gradients.paths(problem, (x, y))
        rows = []
        for i in range(N):
            loss = case.loss(model(x[i : i + 1]), y[i : i + 1]).sum()
            rows.append(torch.autograd.grad(loss, list(model.parameters())))
    assert set(paths.values()) == {"linear"}
    exact = dict(zip(problem.shapes, map(torch.stack, zip(*rows, strict=True)), strict=True))
    assert_equal({name: gradient.float() for name, gradient in got.items()}, exact, 0.02)

"""One pass: which way each parameter takes, what is refused, and that nothing stays on the model."""

import warnings

import pytest
import torch
from small_models import MODELS, exact, last_mean, problem_and_data
from torch import nn
from torch.utils.checkpoint import checkpoint

import fimo_fast as ff
from fimo_fast.gradients import GradientStream
from fimo_fast.gradients.capture import per_module
from fimo_fast.problem import Examples

pytestmark = pytest.mark.filterwarnings("ignore:gradients. no layer rule")

PATHS = {
    "mlp": dict.fromkeys(["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"], "linear"),
    "sequence": {
        "position": "torch.func",
        "embedded.weight": "embedding",
        "shared.weight": "linear",
        "shared.bias": "linear",
        "norm.weight": "layer_norm",
        "norm.bias": "layer_norm",
        "out.weight": "linear",
    },
    # The bias is used in the layer only.
    "functional": {"layer.weight": "torch.func", "layer.bias": "linear"},
    "time first": {"layer.weight": "linear", "layer.bias": "linear"},
    "folded": {"layer.weight": "linear", "layer.bias": "linear", "scale.weight": "torch.func"},
    "tied": {"embedding.weight": "embedding + linear", "hidden.weight": "linear", "hidden.bias": "linear"},
    "wrapped": {
        "inner.weight": "torch.func",
        "inner.bias": "torch.func",
        "scales.0": "torch.func",
        "scales.1": "torch.func",
        "out.weight": "linear",
        "out.bias": "linear",
    },
    "branching": {"inner.weight": "one by one", "out.weight": "linear", "out.bias": "linear"},
}


def state(model):
    """All that a pass may change."""
    hooks = [
        (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks), dict(m._parameters))
        for m in model.modules()
    ]
    numbers = [(p.requires_grad, p.grad, p._version) for p in model.parameters()]
    return hooks, numbers, torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("name", MODELS)
def test_which_way_each_parameter_takes(name):
    problem, data = problem_and_data(name)
    assert ff.gradients.paths(problem, data) == PATHS[name]


def test_what_has_no_rule_is_said_once():
    problem, data = problem_and_data("wrapped")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ff.gradients.norm2(problem, data)
    (message,) = [str(w.message) for w in caught if "gradients:" in str(w.message)]
    assert "no layer rule gives the gradients of scales.0, scales.1" in message or "inner.weight" in message
    assert "through torch.func" in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ff.gradients.norm2(*problem_and_data("mlp"))


def test_a_module_without_a_rule_runs_alone(monkeypatch):
    """Only the module itself is run again, not the model."""
    problem, data = problem_and_data("wrapped")
    replayed = []
    original = per_module._Replay.__call__
    monkeypatch.setattr(
        per_module._Replay, "__call__", lambda self, *args: replayed.append(self.call.module) or original(self, *args)
    )
    problem = ff.Problem(problem.model, last_mean, parameters="inner.*")
    ff.gradients.norm2(problem, data)
    assert replayed and all(module is problem.model.inner for module in replayed)


@pytest.mark.parametrize("name", MODELS)
def test_nothing_stays_on_the_model(name):
    problem, data = problem_and_data(name)
    problem.model.register_buffer("seen", torch.zeros(()))
    next(problem.model.parameters()).requires_grad_(False)
    before = state(problem.model)
    ff.gradients.norm2(ff.Problem(problem.model, last_mean), data)
    assert state(problem.model) == before


class Fails(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.when = "never"

    def forward(self, x):
        y = self.layer(x)
        if self.when == "forward" or (self.when == "inside" and len(x) > 3):
            raise KeyError("forward")
        if self.when == "backward":
            y.register_hook(self.fail)
        return y

    @staticmethod
    def fail(grad):
        raise KeyError("backward")


@pytest.mark.parametrize("when", ["forward", "backward"])
def test_nothing_stays_after_an_exception(when):
    model = Fails().double()
    problem, data = ff.Problem(model, last_mean), Examples(torch.randn(5, 4).double(), torch.zeros(5).double())
    before = state(model)
    stream = GradientStream(problem, data)
    model.when = when
    with pytest.raises(KeyError, match=when):
        stream.collect(data)
    assert state(model) == before
    model.layer.forward = lambda x: 1 / 0  # inside a captured call
    with pytest.raises(ZeroDivisionError):
        stream.collect(data)
    assert state(model) == before


def test_a_model_that_changes_its_buffers_gets_them_back():
    class Counts(nn.Linear):
        def __init__(self):
            super().__init__(4, 1)
            self.register_buffer("calls", torch.zeros((), dtype=torch.float64))

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    model = Counts().double()
    ff.gradients.norm2(ff.Problem(model, last_mean), (torch.randn(5, 4).double(), torch.zeros(5).double()))
    assert model.calls == 0


def test_an_input_changed_in_place_is_refused():
    """Autograd refuses that too, but only where it computes the weight's gradient itself."""

    class Changes(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.change = False

        def forward(self, x):
            x = x.clone()
            y = self.layer(x)
            if self.change:
                x += 1
            return y

    problem, data = (
        ff.Problem(Changes().double(), last_mean),
        Examples(torch.randn(5, 4).double(), torch.zeros(5).double()),
    )
    stream = GradientStream(problem, data)
    problem.model.change = True
    with pytest.raises(RuntimeError, match="an input of layer was changed in place after the call"):
        stream.collect(data)


def test_a_layer_that_is_called_otherwise_later_goes_one_by_one():
    class Sometimes(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.last = nn.Linear(4, 4), nn.Linear(4, 2)
            self.fold = False

        def forward(self, x):
            return self.last(self.layer(x[:, None])[:, 0] if self.fold else self.layer(x))

    problem = ff.Problem(Sometimes().double(), last_mean)
    data = Examples(torch.randn(5, 4).double(), torch.zeros(5).double())
    stream = GradientStream(problem, data)
    problem.model.fold = True
    with pytest.warns(
        UserWarning, match="layer was called with tensors of other forms than those of the first examples"
    ):
        terms = stream.collect(data)
    got = torch.cat([sum(term.formed() for term in terms[name]) for name in problem.shapes], dim=1)
    torch.testing.assert_close(got, exact(problem, (data.inputs, data.targets)))


def test_a_weight_used_elsewhere_later_is_refused():
    class Sometimes(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.penalty = False

        def forward(self, x):
            y = self.layer(x)
            return y @ self.layer.weight if self.penalty else y

    model = Sometimes().double()
    problem, data = ff.Problem(model, last_mean), Examples(torch.randn(5, 4).double(), torch.zeros(5).double())
    stream = GradientStream(problem, data)
    model.penalty = True
    with pytest.raises(RuntimeError, match=r"\['layer.weight'\] were used outside their layers"):
        stream.collect(data)


def test_a_flat_loss_does_not_hide_that_factors_are_wrong():
    """Tied weights whose first examples have zero loss gradients: 0 = 0 is no verification."""

    class Autoencoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Linear(4, 3)

        def forward(self, x):
            return torch.tanh(self.encoder(x)) @ self.encoder.weight

    model, x = Autoencoder().double(), torch.randn(6, 4).double()
    with torch.no_grad():
        targets = model(x)
        targets[3:] += 3
    problem = ff.Problem(model, lambda output, target: torch.relu((output - target).square().sum(1) - 0.5))
    expected = exact(problem, (x, targets))
    assert expected[:3].abs().max() == 0 < expected[3:].abs().max()
    torch.testing.assert_close(ff.gradients.norm2(problem, (x, targets)), expected.square().sum(1))


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing(reentrant):
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.block = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.LayerNorm(8), nn.Linear(8, 2))

        def forward(self, x):
            return checkpoint(self.block, self.first(x), use_reentrant=reentrant)

    torch.manual_seed(0)
    problem = ff.Problem(Checkpointed().double(), last_mean)
    data = (torch.randn(5, 4).double(), torch.randn(5).double())
    if reentrant:
        with pytest.raises(RuntimeError, match="use_reentrant"):
            ff.gradients.norm2(problem, data)
        return
    assert set(ff.gradients.paths(problem, data).values()) == {"linear", "layer_norm"}
    torch.testing.assert_close(ff.gradients.norm2(problem, data), exact(problem, data).square().sum(1))


def test_gradient_checkpointing_of_a_block_whose_inputs_need_no_gradient():
    """Nothing but the taps makes its outputs depend on anything; both runs of it must keep the same tensors."""

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3), nn.Tanh())
            self.last = nn.Linear(3, 2)

        def forward(self, x):
            return self.last(checkpoint(self.block, x, use_reentrant=False))

    torch.manual_seed(0)
    problem = ff.Problem(Checkpointed().double(), last_mean)
    data = (torch.randn(5, 4).double(), torch.randn(5).double())
    assert set(ff.gradients.paths(problem, data).values()) == {"linear"}
    torch.testing.assert_close(ff.gradients.norm2(problem, data), exact(problem, data).square().sum(1))


def test_a_compiled_model_is_captured():
    problem, data = problem_and_data("mlp")
    expected = exact(problem, data)
    compiled = ff.Problem(torch.compile(problem.model, backend="eager"), last_mean)
    compiled.model(data[0])  # compiled before the hooks are there
    assert set(ff.gradients.paths(compiled, data).values()) == {"linear"}
    torch.testing.assert_close(ff.gradients.norm2(compiled, data), expected.square().sum(1))


def test_autocast_to_bfloat16():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 8))
    problem = ff.Problem(model, last_mean)
    data = (torch.randn(6, 16), torch.randn(6))
    full = ff.gradients.norm2(problem, data)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = ff.gradients.norm2(problem, data)
        expected = exact(problem, data).square().sum(1)
    assert mixed.dtype == torch.float32
    assert not torch.allclose(full, mixed, rtol=1e-4)  # it was computed in 16 bits
    torch.testing.assert_close(mixed, expected, rtol=3e-2, atol=1e-3)

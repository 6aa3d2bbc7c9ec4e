"""Nothing mixes devices: whole computations on tensors that claim another one (tests/pretend.py).

What goes through `torch.func` (the Gauss-Newton matrix, the exact derivative) cannot be wrapped so: there it is counted
which tensors are made without saying where. tests/cuda/gpu/test_gpu_models.py has them on a GPU.
"""

import sys
import warnings
from pathlib import Path

import pytest
import torch
from gradients.models import MODELS, params
from pretend import DEVICE, OnDevice, device, move, moved
from torch.overrides import TorchFunctionMode

import fimo_fast as ff
from fimo_fast.methods import TRAK, FiniteHorizon, GradCos, GradDot, InfluenceFunction
from fimo_fast.testing import assert_same_bits


def network():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))


def examples(count):
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, 8, generator=generator), torch.randn(count, 1, generator=generator)


def oracle(problem, train, queries):
    further = ff.FurtherTraining(problem, (torch.optim.Adam, {"lr": 0.01}), epochs=2, batch_size=10, seeds=2)
    return further.run(train, queries, leave_out=range(5)).effects


COMPUTATIONS = {
    "dots": lambda problem, train, queries: ff.gradients.dots(problem, train, queries),
    "norm2": lambda problem, train, queries: ff.gradients.norm2(problem, train),
    "sketch": lambda problem, train, queries: ff.gradients.sketch(problem, train, ff.SRHT(161, 32)),
    "layer sketch": lambda problem, train, queries: ff.gradients.sketch(
        problem, train, ff.gradients.LayerSketch.for_problem(problem, 32)
    ),
    "formed": lambda problem, train, queries: ff.gradients.formed(problem, train)["0.weight"],
    "per example": lambda problem, train, queries: ff.per_example_gradients(problem, *train)["0.bias"],
    "GradDot": lambda *given: GradDot().attribute(*given),
    "GradCos": lambda *given: GradCos().attribute(*given),
    "TRAK": lambda *given: TRAK(64, damping=0.1).attribute(*given),
    "oracle": oracle,
}


# The ops whose CUDA kernels run.
KERNELS = {
    "dots": {"outer_dot"},
    "norm2": {"outer_norm2"},
    "sketch": {"outer_project", "project"},
    "layer sketch": {"outer_project"},
    "GradDot": {"outer_dot"},
    "GradCos": {"outer_dot", "outer_norm2"},
    "TRAK": {"outer_project", "project"},
}


@pytest.mark.parametrize("name", COMPUTATIONS)
def test_computations_stay_where_their_tensors_are(name, monkeypatch):
    train, queries = examples(40), examples(6)
    expected = COMPUTATIONS[name](ff.Problem(network(), ff.losses.squared_error), train, queries)
    with device(monkeypatch) as module, warnings.catch_warnings():
        warnings.simplefilter("error")  # a float32 model needs no op in float64, which has no kernel
        problem = ff.Problem(move(network()), ff.losses.squared_error)
        assert problem.device == DEVICE
        result = COMPUTATIONS[name](problem, moved(train), moved(queries))
    assert set(module.counts) == KERNELS.get(name, set())
    assert_same_bits(result.inner if isinstance(result, OnDevice) else result, expected)


def test_mixing_is_noticed(monkeypatch):
    with device(monkeypatch), pytest.raises(RuntimeError, match="expected all tensors on one device"):
        torch.ones(3, device=DEVICE) + torch.ones(3)


# One of each way to a gradient; all 43 pass.
SOME = ["resnet9", "decoder", "lstm", "tied", "folded", "gpt2_lora", "mixtral", "mamba", "t5", "vit", "wav2vec2"]


@pytest.mark.parametrize("name", params(SOME))
def test_gradients_of_many_architectures(name, monkeypatch):
    case = MODELS[name]()
    expected = ff.gradients.norm2(ff.Problem(case.model, case.loss), case.data)
    with device(monkeypatch):
        result = ff.gradients.norm2(ff.Problem(move(case.model), case.loss), moved(case.data))
    torch.testing.assert_close(result.inner, expected)


# --- What torch.func hides ------------------------------------------------------------------------

FACTORIES = {
    getattr(torch, name)
    for name in (
        "arange", "empty", "eye", "full", "linspace", "ones", "rand", "randint", "randn", "randperm",
        "tensor", "zeros",
    )
}  # fmt: skip
PACKAGE = str(Path(ff.__file__).parent)
# Moved to the model's device behind it, a placeholder, or one of torch's own checks of arguments.
ON_THE_CPU = {
    ("oracle/optimizers.py", "update_rule"),
    ("oracle/unrolled.py", "unrolled_scores"),
    ("oracle/differentiate.py", "_reverse"),
    ("gradients/capture/plan.py", "make_plan"),
}


class WithoutDevice(TorchFunctionMode):
    """Notes where the package makes tensors without saying on which device."""

    def __init__(self):
        super().__init__()
        self.places = set()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in FACTORIES and (kwargs or {}).get("device") is None:
            frame = sys._getframe(1)
            while frame and not frame.f_code.co_filename.startswith(PACKAGE):
                frame = frame.f_back
            name = Path(frame.f_code.co_filename).relative_to(PACKAGE).as_posix() if frame else "outside"
            self.places.add((name, frame.f_code.co_name if frame else ""))
        return function(*args, **(kwargs or {}))


def unrolled(kind, mode):
    def run(problem, train, queries):
        further = ff.FurtherTraining(problem, (torch.optim.SGD, {"lr": 0.01}), epochs=2, batch_size=10, seeds=2)
        return kind(further).by_epoch(problem, train, queries, mode=mode)

    return run


def shifted(problem, train, queries):
    further = ff.FurtherTraining(problem, torch.optim.Adam, 2, 10, seeds=2, batches="shifted")
    return further.run(train, queries, leave_out=range(5)).effects


HIDDEN = {
    "InfluenceFunction": lambda *given: InfluenceFunction(0.1).attribute(*given),
    "FiniteHorizon": lambda *given: FiniteHorizon(0.01, 8).attribute(*given),
    "derivative, forward": unrolled(ff.UnrolledDerivative, "forward"),
    "derivative, reverse": unrolled(ff.UnrolledDerivative, "reverse"),
    "response, forward": unrolled(ff.UnrolledResponse, "forward"),
    "response, reverse": unrolled(ff.UnrolledResponse, "reverse"),
    "oracle, shifted": shifted,
}


@pytest.mark.parametrize("name", [*COMPUTATIONS, *HIDDEN])
def test_tensors_are_made_on_the_device_of_the_model(name):
    mode = WithoutDevice()
    problem = ff.Problem(network(), ff.losses.squared_error)
    with mode:
        {**COMPUTATIONS, **HIDDEN}[name](problem, examples(40), examples(6))
    # The examples of this test are made outside the package.
    assert {place for place in mode.places if place[0] != "outside"} <= ON_THE_CPU

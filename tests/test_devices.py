"""Nothing mixes devices: whole computations on tensors that claim another one (tests/pretend.py).

What goes through `torch.func` (the Gauss-Newton matrix, the exact derivative) cannot be wrapped so;
tests/cuda/test_gpu.py has these.
"""

import pytest
import torch
from gradients.models import MODELS
from pretend import DEVICE, OnDevice, device, move, moved

import fimo_fast as ff
from fimo_fast.methods import TRAK, GradCos, GradDot
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


@pytest.mark.parametrize("name", COMPUTATIONS)
def test_computations_stay_where_their_tensors_are(name, monkeypatch):
    train, queries = examples(40), examples(6)
    expected = COMPUTATIONS[name](ff.Problem(network(), ff.losses.squared_error), train, queries)
    with device(monkeypatch):
        problem = ff.Problem(move(network()), ff.losses.squared_error)
        assert problem.device == DEVICE
        result = COMPUTATIONS[name](problem, moved(train), moved(queries))
    assert_same_bits(result.inner if isinstance(result, OnDevice) else result, expected)


def test_mixing_is_noticed(monkeypatch):
    with device(monkeypatch), pytest.raises(RuntimeError, match="expected all tensors on one device"):
        torch.ones(3, device=DEVICE) + torch.ones(3)


# One of each way to a gradient; all 43 pass.
SOME = ["resnet9", "decoder", "lstm", "tied", "folded", "gpt2_lora", "mixtral", "mamba", "t5", "vit", "wav2vec2"]


@pytest.mark.parametrize("name", SOME)
def test_gradients_of_many_architectures(name, monkeypatch):
    case = MODELS[name]()
    expected = ff.gradients.norm2(ff.Problem(case.model, case.loss), case.data)
    with device(monkeypatch):
        result = ff.gradients.norm2(ff.Problem(move(case.model), case.loss), moved(case.data))
    torch.testing.assert_close(result.inner, expected)

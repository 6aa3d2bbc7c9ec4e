"""Gradients, methods and further training on a GPU give what they give on the CPU. Skipped without a GPU.

In float64, where CUDA runs the plain-torch definitions, up to rounding; in float32, by the kernels, up to float32's.
"""

import copy

import pytest
import torch
from gradients.models import MODELS, params
from torch.utils.data import DataLoader, TensorDataset

import fimo_fast as ff
from fimo_fast.methods import TRAK, FiniteHorizon, GradCos, GradDot, InfluenceFunction
from fimo_fast.problem.trees import tree_map

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore:.*no CUDA kernel for float64"),
]
F32, F64 = torch.float32, torch.float64
TOLERANCE = {F32: 1e-3, F64: 1e-8}  # of the largest number of a result
both_types = pytest.mark.parametrize("dtype", [F32, F64], ids=["float32", "float64"])


@pytest.fixture(autouse=True)
def _without_tf32():
    """Convolutions of float32 use TF32 unless told not to; products of matrices only where told to."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def cast(data, dtype, device):
    return tree_map(lambda x: x.to(device, dtype if x.is_floating_point() else x.dtype), data)


def assert_equal(found, expected, dtype):
    found = found.cpu()
    assert found.dtype == expected.dtype and found.shape == expected.shape
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE[dtype] * max(scale, 1e-30))


# --- Gradients ------------------------------------------------------------------------------------

MEASURES = {
    "norm2": lambda problem, data: ff.gradients.norm2(problem, data),
    "dots": lambda problem, data: ff.gradients.dots(problem, data, data),
    "SRHT": lambda problem, data: ff.gradients.sketch(problem, data, ff.SRHT(problem.numel, 64, 1)),
    "SJLT": lambda problem, data: ff.gradients.sketch(problem, data, ff.SJLT(problem.numel, 64, 1)),
    "layers": lambda problem, data: ff.gradients.sketch(
        problem, data, ff.gradients.LayerSketch.for_problem(problem, 32, seed=1)
    ),
}
# One of each way to a gradient.
SOME = ["resnet9", "decoder", "lstm", "tied", "folded", "gpt2_lora", "mixtral", "mamba", "t5", "vit", "wav2vec2"]


@both_types
@pytest.mark.parametrize("name", params(SOME))
def test_gradients_of_many_architectures(name, dtype):
    case = MODELS[name]()
    found = {}
    for device in ("cpu", "cuda"):
        problem = ff.Problem(copy.deepcopy(case.model).to(device, dtype), case.loss)
        data = cast(case.data, dtype, device)
        found[device] = {measure: of(problem, data) for measure, of in MEASURES.items()}
    for measure, expected in found["cpu"].items():
        assert_equal(found["cuda"][measure], expected, dtype)


class Tokens(torch.nn.Module):
    """An embedding, a layer for each token, and one for their mean."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.inner, self.outer = torch.nn.Embedding(50, 12), torch.nn.Linear(12, 10), torch.nn.Linear(10, 3)

    def forward(self, tokens):
        return self.outer(torch.tanh(self.inner(self.table(tokens))).mean(1))


def test_gradients_go_through_the_kernels(calls):
    problem = ff.Problem(Tokens().cuda(), ff.losses.cross_entropy)
    data = torch.randint(0, 50, (9, 6), device="cuda"), torch.randint(0, 3, (9,), device="cuda")
    for of in MEASURES.values():
        of(problem, data)
    assert set(calls()) >= {"project", "outer_project", "rows_project", "outer_dot", "outer_norm2"}


def test_check_finds_nothing_wrong():
    case = MODELS["resnet9"]()
    problem = ff.Problem(case.model.to("cuda", F32), case.loss)
    report = ff.gradients.check(problem, cast(case.data, F32, "cuda"))
    assert report.ok, report


def test_autocast():
    case = MODELS["decoder"]()
    problem = ff.Problem(case.model.to("cuda", F32), case.loss)
    data = cast(case.data, F32, "cuda")
    expected = ff.gradients.norm2(problem, data)
    with torch.autocast("cuda", torch.bfloat16):
        found = ff.gradients.norm2(problem, data)
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_sixteen_bits(dtype):
    model, train, _ = network(F32, "cuda")
    expected = ff.gradients.norm2(ff.Problem(model, ff.losses.squared_error), train)
    narrow = ff.Problem(copy.deepcopy(model).to(dtype), ff.losses.squared_error)
    found = ff.gradients.norm2(narrow, cast(train, dtype, "cuda"))
    torch.testing.assert_close(found.float(), expected, rtol=0.15, atol=0.05 * float(expected.max()))


# --- Methods and further training -----------------------------------------------------------------


def network(dtype, device):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    train, queries = ((torch.randn(n, 8), torch.randn(n, 1)) for n in (40, 6))
    return model.to(device, dtype), cast(train, dtype, device), cast(queries, dtype, device)


def training(problem, **options):
    settings = {"epochs": 2, "batch_size": 10, "seeds": 2, **options}
    return ff.FurtherTraining(problem, (torch.optim.SGD, {"lr": 0.01, "momentum": 0.9}), **settings)


def in_mode(mode):
    return lambda problem, train, queries: ff.UnrolledDerivative(training(problem)).by_epoch(
        problem, train, queries, mode=mode
    )


COMPUTATIONS = {
    "GradDot": lambda *given: GradDot().attribute(*given),
    "GradCos": lambda *given: GradCos().attribute(*given),
    "TRAK": lambda *given: TRAK(64, damping=0.1).attribute(*given),
    "InfluenceFunction": lambda *given: InfluenceFunction(0.1).attribute(*given),
    "FiniteHorizon": lambda *given: FiniteHorizon(0.01, 8).attribute(*given),
    "UnrolledDerivative, forward": in_mode("forward"),
    "UnrolledDerivative, reverse": in_mode("reverse"),
    "UnrolledResponse": lambda problem, *data: ff.UnrolledResponse(training(problem)).attribute(problem, *data),
    "oracle": lambda problem, *data: training(problem).run(*data, leave_out=range(5)).effects,
    "oracle, shifted": lambda problem, *data: training(problem, batches="shifted").run(*data, leave_out=[0, 9]).effects,
    "oracle, Adam": lambda problem, *data: (
        ff.FurtherTraining(problem, (torch.optim.AdamW, {"lr": 0.01}), epochs=2, batch_size=15, seeds=[3])
        .run(*data, leave_out=[1, 2])
        .effects
    ),
    "per example": lambda problem, train, _: ff.per_example_gradients(problem, *train)["0.weight"],
}


@both_types
@pytest.mark.parametrize("name", COMPUTATIONS)
def test_computations_are_those_of_the_cpu(name, dtype):
    found = {}
    for device in ("cpu", "cuda"):
        model, *data = network(dtype, device)
        found[device] = COMPUTATIONS[name](ff.Problem(model, ff.losses.squared_error), *data)
    # Effects are differences of losses that nearly agree: what float32 rounds there is of the losses' size.
    if dtype == F32 and name.startswith("oracle"):
        torch.testing.assert_close(found["cuda"].cpu(), found["cpu"], rtol=0.05, atol=1e-5)
    else:
        assert_equal(found["cuda"], found["cpu"], dtype)


def test_a_dataset_on_the_cpu_is_moved_batch_by_batch():
    model, train, queries = network(F32, "cuda")
    problem = ff.Problem(model, ff.losses.squared_error)
    expected = GradDot().attribute(problem, train, queries)
    dataset = TensorDataset(*(x.cpu() for x in train))
    for data in (dataset, DataLoader(dataset, batch_size=7)):
        torch.testing.assert_close(GradDot().attribute(problem, data, queries), expected, rtol=1e-4, atol=1e-5)


def test_tensors_on_the_cpu_are_not_moved_unasked():
    model, train, queries = network(F32, "cuda")
    with pytest.raises(ValueError, match="expected on cuda:0 like the model, got cpu"):
        GradDot().attribute(ff.Problem(model, ff.losses.squared_error), tuple(x.cpu() for x in train), queries)


def test_results_are_evaluated_where_they_are():
    model, train, queries = network(F32, "cuda")
    problem = ff.Problem(model, ff.losses.squared_error)
    gold = training(problem).run(train, queries, leave_out=range(5))
    found = ff.evaluate.agreement(GradDot().attribute(problem, train, queries), gold)
    assert len(found.cosine) == 2


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_model_on_the_second_device():
    model, train, queries = network(F32, "cuda:1")
    scores = GradDot().attribute(ff.Problem(model, ff.losses.squared_error), train, queries)
    assert scores.device == torch.device("cuda:1") and torch.cuda.current_device() == 0
    on_cpu = network(F32, "cpu")
    assert_equal(scores, GradDot().attribute(ff.Problem(on_cpu[0], ff.losses.squared_error), *on_cpu[1:]), F32)

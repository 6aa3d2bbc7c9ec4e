"""What only a GPU can show. Skipped without one; docs/cuda_testing.md names the command that runs everything there."""

import pytest
import torch

import fimo_fast as ff
from fimo_fast import _torch_cuda, ops
from fimo_fast.methods import TRAK, FiniteHorizon, GradCos, GradDot
from fimo_fast.sketch import SJLT, SRHT, Factored, Gaussian, Mask, Rademacher, TensorSketch
from fimo_fast.testing import assert_same_bits

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
TYPES = [torch.float32, torch.bfloat16, torch.float16]
DIM = 70_001
SKETCHES = [
    Rademacher(DIM, 300, 1),
    Gaussian(DIM, 300, 2),
    SJLT(DIM, 1000, 3, nonzeros=4),
    SRHT(DIM, 1000, 4),
    SRHT(DIM, 1024, 4),
    Mask(DIM, 300, 5),
]


def kind(x):
    return type(x).__name__ if not isinstance(x, torch.dtype) else str(x).removeprefix("torch.")


@pytest.fixture(autouse=True)
def _kernels_are_built():
    assert _torch_cuda.kernels is not None, "fimo_fast was built without CUDA: set CUDACXX and install it again"


@pytest.fixture
def calls():
    before = _torch_cuda._C.cuda_calls()
    return lambda: {op: n - before[op] for op, n in _torch_cuda._C.cuda_calls().items() if n > before[op]}


def every_op(dtype):
    """{name: a function without arguments} of all ops on inputs of moderate size."""
    torch.manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, device="cuda").to(dtype)

    grads, a, delta = normal(37, DIM), normal(9, 33, 300), normal(9, 33, 200)
    index, rows = torch.randint(0, 900, (9, 33), device="cuda"), normal(9, 33, 64)
    queries, features = normal(20, 500), normal(5000, 500)
    found = {f"project {kind(s)} {s.sketch_dim}": lambda s=s: ops.project(grads, s) for s in SKETCHES}
    for s in (SRHT(200 * 300, 512, 1), Mask(200 * 300, 64, 2), TensorSketch(300, 200, 512, 3),
              Factored(SRHT(300, 32, 1), Rademacher(200, 16, 2))):  # fmt: skip
        found[f"outer_project {kind(s)}"] = lambda s=s: ops.outer_project(a, delta, s)
    for s in (SRHT(900 * 64, 512, 1), SJLT(900 * 64, 512, 1), Rademacher(900 * 64, 100, 1)):
        found[f"rows_project {kind(s)}"] = lambda s=s: ops.rows_project(index, rows, s)
    return found | {
        "outer_dot": lambda: ops.outer_dot(a, delta, a[:4], delta[:4]),
        "outer_norm2": lambda: ops.outer_norm2(a, delta),
        "scores": lambda: ops.scores(queries, features),
        "topk": lambda: torch.stack([x.double() for x in ops.topk(queries, features, 50)]),
    }


NAMES = list(every_op(torch.float32)) if torch.cuda.is_available() else ["project Rademacher 300"]


@pytest.mark.parametrize("dtype", TYPES, ids=kind)
@pytest.mark.parametrize("name", NAMES)
def test_the_same_bits_twice_without_waiting(name, dtype, calls):
    op = every_op(dtype)[name]
    first = op()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        second = op()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert_same_bits(second, first)
    assert sum(calls().values()) == 2


@pytest.mark.parametrize("dtype", TYPES, ids=kind)
@pytest.mark.parametrize("sketch", SKETCHES, ids=kind)
def test_sketches_are_those_of_the_cpu(sketch, dtype):
    grads = torch.randn(5, DIM).to(dtype)
    error = (ops.project(grads.cuda(), sketch).cpu() - ops.project(grads, sketch)).abs().max()
    assert error <= 4e-6 * grads.double().norm(dim=1).max()


@pytest.mark.parametrize("name", NAMES)
def test_cuda_graphs(name):
    op = every_op(torch.float32)[name]
    expected = op()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        op()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = op()
    result.zero_()
    for _ in range(2):
        graph.replay()
    assert_same_bits(result, expected)


@pytest.mark.parametrize("name", NAMES)
def test_compiled(name):
    op = every_op(torch.float32)[name]
    assert_same_bits(torch.compile(lambda: op() + 0, fullgraph=True)(), op())


def test_work_is_on_the_callers_stream():
    sketch, grads = SKETCHES[4], torch.randn(64, DIM, device="cuda")
    expected = ops.project(grads, sketch)
    torch.cuda.synchronize()
    late, side = torch.zeros_like(grads), torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(50_000_000)  # on any other stream the kernel would see zeros
        late.copy_(grads)
        result = ops.project(late, sketch)
    side.synchronize()
    assert_same_bits(result, expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two devices")
def test_tensors_run_where_they_are():
    grads = torch.randn(4, DIM)
    for device in ("cuda:1", "cuda:0"):
        result = ops.project(grads.to(device), SKETCHES[4])
        assert result.device == torch.device(device) and torch.cuda.current_device() == 0
        torch.testing.assert_close(result.cpu(), ops.project(grads, SKETCHES[4]), rtol=1e-4, atol=1e-3)


def test_more_than_two_to_the_31_elements():
    if torch.cuda.mem_get_info()[0] < 14 * 2**30:
        pytest.skip("needs 14 GiB")
    grads = torch.zeros(3, 2**30, dtype=torch.float32, device="cuda")
    grads[2, -5:] = 1.0
    for sketch in (SRHT(2**30, 256, 1), SJLT(2**30, 256, 1), Mask(2**30, 256, 1)):
        torch.testing.assert_close(ops.project(grads, sketch)[2, :], ops.project(grads[2:, :], sketch)[0])
        part = ops.project(grads[2:, -256:].cpu(), sketch, offset=2**30 - 256)
        torch.testing.assert_close(ops.project(grads, sketch)[2:].cpu(), part)


def test_methods_and_oracle():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    train, queries = ((torch.randn(n, 8), torch.randn(n, 1)) for n in (40, 6))

    def effects(device):
        problem = ff.Problem(model.to(device), ff.losses.squared_error)
        on_device = [tuple(x.to(device) for x in data) for data in (train, queries)]
        further = ff.FurtherTraining(problem, (torch.optim.SGD, {"lr": 0.01}), epochs=2, batch_size=10, seeds=2)
        methods = [GradDot(), GradCos(), TRAK(64, damping=0.1), FiniteHorizon(0.01, 8), ff.UnrolledDerivative(further)]
        oracle = further.run(*on_device, leave_out=range(5)).effects
        return [oracle.cpu(), *(method.attribute(problem, *on_device).cpu() for method in methods)]

    for ours, expected in zip(effects("cuda"), effects("cpu"), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-5)

"""The Python side of the CUDA path, over emulated kernels: bindings, dispatch, and whole computations."""

import warnings

import pytest
import torch
from loading import load_extension
from runners import build, missing

import fimo_fast as ff
from fimo_fast import ops
from fimo_fast.methods import GradCos, GradDot
from fimo_fast.ops import reference, torch_cuda, torch_kernels
from fimo_fast.ops.sketch_args import to_args
from fimo_fast.ops.torch_cuda import CudaKernels
from fimo_fast.sketch import SJLT, SRHT, Factored, Gaussian, Mask, Rademacher, TensorSketch
from fimo_fast.testing import assert_same_bits

pytestmark = pytest.mark.native
N, K = 300, 24
VECTOR_SKETCHES = [
    Rademacher(N, K, 1),
    Gaussian(N, K, 2),
    SJLT(N, K, 3, nonzeros=2),
    SRHT(N, K, 4),
    Mask(N, K, 5),
]


def kind(sketch):
    return type(sketch).__name__


@pytest.fixture(scope="session")
def module(request):
    if reason := missing("plain"):
        pytest.skip(reason)
    pybind11 = pytest.importorskip("pybind11")
    options = ("-DFIMO_MODULE=ON", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}")
    folder = build(request.config.cache.mkdir("cuda-plain"), "plain", *options)
    (path,) = folder.glob("_emulated*.so")
    return load_extension("_emulated", path)


def allocate(size):
    return torch.full((size,), 255, dtype=torch.uint8)  # NaN: workspaces hold anything


@pytest.fixture
def kernels(module, monkeypatch):
    """The emulated kernels in the place of a GPU's."""
    emulated = CudaKernels(module, lambda x: (allocate, 0))
    monkeypatch.setattr(torch_cuda, "kernels", emulated)
    return emulated


@pytest.fixture
def calls(module):
    """A function that says how often each op has run since the start of the test."""
    before = module.cuda_calls()
    return lambda: {op: count - before[op] for op, count in module.cuda_calls().items() if count > before[op]}


@pytest.mark.parametrize("sketch", VECTOR_SKETCHES, ids=kind)
def test_project(kernels, calls, sketch):
    grads = torch.randn(3, 2 * N)[:, ::2]  # strided: copied first
    result = torch_cuda.CUDA["project"](grads, *_flat(sketch), 0)
    torch.testing.assert_close(result, ops.project(grads, sketch))
    out = torch.randn(3, K)
    expected, version = out + result, out._version
    torch_cuda.CUDA["project_into"](grads, out, *_flat(sketch), 0)
    torch.testing.assert_close(out, expected)
    assert out._version > version
    assert calls() == {"project": 2}


def _flat(sketch):
    kinds, numbers = to_args(sketch)
    return kinds, *numbers


A, D = torch.randn(3, 5, 20, generator=torch.Generator().manual_seed(1)), torch.randn(3, 5, 15)


@pytest.mark.parametrize(
    "sketch",
    [*VECTOR_SKETCHES, Factored(SRHT(20, 4, 1), Rademacher(15, 6, 2)), TensorSketch(20, 15, 32, 3)],
    ids=kind,
)
def test_outer_project(kernels, calls, sketch):
    result = torch_cuda.CUDA["outer_project"](A, D, *to_args(sketch))
    torch.testing.assert_close(result, ops.outer_project(A, D, sketch), rtol=1e-4, atol=1e-4)
    out = torch.zeros_like(result)
    torch_cuda.CUDA["outer_project_into"](A, D, out, *to_args(sketch))
    assert_same_bits(out, result)
    assert calls() == {"outer_project": 2}


@pytest.mark.parametrize("sketch", VECTOR_SKETCHES, ids=kind)
def test_rows_project(kernels, calls, sketch):
    index, delta = torch.randint(0, 19, (3, 5), dtype=torch.int32), torch.randn(3, 5, 15)
    result = torch_cuda.CUDA["rows_project"](index, delta, *_flat(sketch), 10)
    torch.testing.assert_close(result, ops.rows_project(index, delta, sketch, 10), rtol=1e-4, atol=1e-4)
    assert calls() == {"rows_project": 1}


def test_rows_out_of_range_are_nan(kernels):
    index, delta = torch.tensor([[0, 1], [3, 20], [-1, 2]]), torch.randn(3, 2, 15)
    result = torch_cuda.CUDA["rows_project"](index, delta, *_flat(VECTOR_SKETCHES[3]), 0)
    assert result.isnan().all(1).tolist() == [False, True, True] and not result[0].isnan().any()


def test_inner_products(kernels, calls):
    torch.testing.assert_close(
        torch_cuda.CUDA["outer_dot"](A, D, A[:2], D[:2]), ops.outer_dot(A, D, A[:2], D[:2]), rtol=1e-4, atol=1e-3
    )
    torch.testing.assert_close(torch_cuda.CUDA["outer_norm2"](A, D), ops.outer_norm2(A, D), rtol=1e-4, atol=1e-3)
    queries, features = torch.randn(4, 33), torch.randn(50, 33)
    torch.testing.assert_close(torch_cuda.CUDA["scores"](queries, features), queries @ features.T)
    assert calls() == {"outer_dot": 1, "outer_norm2": 1, "scores": 1}


def test_topk_and_the_sort_beyond_its_limit(kernels, calls, monkeypatch):
    queries, features = (torch.randint(-3, 4, (n, 16)).float() for n in (5, 1100))  # ties
    for k in (1, 40, 1100):
        values, indices = torch_cuda.CUDA["topk"](queries, features, k)
        expected = reference.topk(queries, features, k)
        assert torch.equal(values, expected[0]) and torch.equal(indices, expected[1])
    assert calls() == {"topk": 2, "scores": 1}
    monkeypatch.setattr(torch_cuda, "_SCORES_AT_ONCE", 2 * 1100)
    some = torch_cuda.CUDA["topk"](queries, features, 1100)
    assert torch.equal(some[0], values) and torch.equal(some[1], indices)
    assert calls()["scores"] == 4
    assert torch_cuda.CUDA["topk"](queries[:0], features, 1100)[1].shape == (0, 1100)


def test_int8(kernels):
    (queries, query_scales), (features, feature_scales) = (ops.quantize(torch.randn(n, 40)) for n in (3, 70))
    scales = (query_scales, feature_scales)
    assert_same_bits(torch_cuda.CUDA["scores"](queries, features, *scales), ops.scores(queries, features, *scales))
    values, indices = torch_cuda.CUDA["topk"](queries, features, 9, *scales)
    expected = ops.topk(queries, features, 9, *scales)
    assert torch.equal(values, expected[0]) and torch.equal(indices, expected[1])


def test_float64_runs_the_reference_with_one_warning(kernels, calls, monkeypatch):
    monkeypatch.setattr(torch_cuda, "_warned", set())
    grads = torch.randn(2, N, dtype=torch.float64)
    with pytest.warns(UserWarning, match="project: no CUDA kernel for float64, running the plain torch reference"):
        result = torch_cuda.CUDA["project"](grads, *_flat(VECTOR_SKETCHES[0]), 0)
    torch.testing.assert_close(result, ops.project(grads, VECTOR_SKETCHES[0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch_cuda.CUDA["project"](grads, *_flat(VECTOR_SKETCHES[0]), 0)
    assert calls() == {}


@pytest.mark.parametrize(
    ("workspace", "message"),
    [
        (lambda size: torch.empty(size - 1, dtype=torch.uint8), "workspace: expected .* uint8, got"),
        (lambda size: torch.empty(size, dtype=torch.int8), "workspace: expected .* uint8, got .* int8"),
        (lambda size: torch.empty(size, 1, dtype=torch.uint8), "workspace: expected 1 dimensions, got 2"),
    ],
)
def test_workspaces_are_checked(module, workspace, message):
    grads = torch.randn(1, 2**17)
    sketch = SRHT(2**17, 64, 1)
    sizes = []
    module.cuda_project(
        grads, *_flat(sketch), 0, torch.zeros(1, 64), lambda size: sizes.append(size) or allocate(size), 0
    )
    assert sizes and sizes[0] > 0
    with pytest.raises(ValueError, match=message):
        module.cuda_project(grads, *_flat(sketch), 0, torch.zeros(1, 64), workspace, 0)


def test_arguments_are_checked_like_those_of_the_cpu(module):
    grads, sketch = torch.randn(2, N), VECTOR_SKETCHES[0]
    with pytest.raises(ValueError, match=r"out: expected shape \[2, 24\], got \[2, 23\]"):
        module.cuda_project(grads, *_flat(sketch), 0, torch.zeros(2, 23), allocate, 0)
    with pytest.raises(ValueError, match="grads: expected float32, bfloat16 or float16 on CUDA, got float64"):
        module.cuda_project(grads.double(), *_flat(sketch), 0, torch.zeros(2, K).double(), allocate, 0)
    with pytest.raises(ValueError, match="out: expected memory of its own"):
        module.cuda_project(grads, *_flat(sketch), 0, grads[:, :K], allocate, 0)
    with pytest.raises(ValueError, match="k: expected"):
        module.cuda_topk(grads, grads, 3, None, None, torch.zeros(2, 3), torch.zeros(2, 3).long(), allocate, 0)


# --- Whole computations ---------------------------------------------------------------------------


@pytest.fixture
def everything_emulated(module, monkeypatch):
    """All float32 ops on CPU tensors run the emulated kernels."""
    for op in torch_kernels.OPS:
        monkeypatch.setitem(torch_kernels.kernels.compiled, op, getattr(module, f"cuda_{op}"))
    monkeypatch.setattr(torch_kernels.kernels, "_where", lambda x: (allocate, 0))


@pytest.fixture
def problem():
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(6, 10), torch.nn.Tanh(), torch.nn.Linear(10, 3))
    train = torch.randn(12, 6), torch.randint(0, 3, (12,))
    queries = torch.randn(4, 6), torch.randint(0, 3, (4,))
    return ff.Problem(model, ff.losses.cross_entropy), train, queries


def test_gradients_and_methods(problem, calls, request):
    model, train, queries = problem
    dim = sum(p.numel() for p in model.model.parameters())
    sketch = SRHT(dim, 64, 1)
    measures = {
        "dots": lambda: ff.gradients.dots(model, train, queries),
        "norms": lambda: ff.gradients.norm2(model, train),
        "sketch": lambda: ff.gradients.sketch(model, train, sketch),
        "layers": lambda: ff.gradients.sketch(model, train, ff.gradients.LayerSketch.for_problem(model, 64, seed=1)),
        "cosines": lambda: GradCos().attribute(model, train, queries),
        "method": lambda: GradDot().attribute(model, train, queries),
    }
    expected = {name: measure() for name, measure in measures.items()}
    assert calls() == {}
    request.getfixturevalue("everything_emulated")
    for name, measure in measures.items():
        torch.testing.assert_close(
            measure(), expected[name], rtol=1e-4, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}"
        )
    assert calls().keys() >= {"project", "outer_project", "outer_dot", "outer_norm2"}

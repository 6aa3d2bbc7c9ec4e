"""What every op is for torch: a proper op, compiled, fake, and computed where a device has no kernel."""

import warnings

import pytest
import torch
from op_examples import ADDS, EXAMPLES, as_tuple

from fimo_fast import ops
from fimo_fast.ops import torch_cuda
from fimo_fast.ops.registry import OPS
from fimo_fast.testing import assert_same_bits, count_kernel_calls

every_example = pytest.mark.parametrize("name", EXAMPLES)


def torch_op(name):
    return getattr(torch.ops.fimo_fast, name).default


def same_bits(actual, expected):
    for ours, theirs in zip(as_tuple(actual), as_tuple(expected), strict=True):
        assert_same_bits(ours, theirs)


def test_every_op_has_an_example():
    assert {example.op for example in EXAMPLES.values()} == set(OPS) == set(ops.__all__) - {"quantize"}


@every_example
def test_is_a_proper_torch_op(name):
    example = EXAMPLES[name]
    torch.library.opcheck(torch_op(example.op), example.args)


@pytest.mark.parametrize("name", ADDS)
def test_adding_is_a_proper_torch_op(name):
    example = EXAMPLES[name]
    out = torch.zeros_like(example.run(*example.tensors))
    torch.library.opcheck(torch_op(f"{example.op}_"), example.adding(out))


@every_example
def test_the_op_has_the_bits_of_the_function(name):
    example = EXAMPLES[name]
    same_bits(torch_op(example.op)(*example.args), example.run(*example.tensors))


COMPILED = [
    *(name for name in EXAMPLES if not name.startswith(("outer_project", "rows_project"))),
    *(f"outer_project {sketch}" for sketch in ("srht", "factgrass", "tensorsketch", "srht, slice")),
    "rows_project srht",
]


@pytest.fixture
def fresh_dynamo():
    torch.compiler.reset()  # it counts how often a function has been compiled


@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.parametrize("name", COMPILED)
def test_compiles_without_graph_breaks(name):
    example = EXAMPLES[name]

    def step(*tensors):
        first, *indices = as_tuple(example.run(*tensors))
        return first + 1, *indices

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    same_bits(compiled(*example.tensors), step(*example.tensors))


@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.parametrize("name", [name for name in COMPILED if name in ADDS])
def test_compiles_where_it_adds_into_out(name):
    example = EXAMPLES[name]
    out = torch.zeros_like(example.run(*example.tensors))

    def step(out, *tensors):
        *index, numbers = tensors
        example.run(*index, numbers * 2, out=out)
        return out + 1

    result = torch.compile(step, fullgraph=True, backend="aot_eager")(out, *example.tensors)
    *index, numbers = example.tensors
    assert_same_bits(out, example.run(*index, numbers * 2))
    assert_same_bits(result, out + 1)


@every_example
def test_fake_tensors_have_the_right_shape_and_never_reach_the_kernel(name):
    example = EXAMPLES[name]
    inputs = example.cast(torch.bfloat16)
    expected = as_tuple(example.run(*inputs))
    with torch._subclasses.FakeTensorMode() as mode, count_kernel_calls() as calls:
        results = as_tuple(example.run(*map(mode.from_tensor, inputs)))
    assert [(x.shape, x.dtype) for x in results] == [(x.shape, x.dtype) for x in expected]
    assert calls[example.op] == 0


@every_example
def test_without_cuda_kernels_the_reference_runs_with_one_warning(name, monkeypatch):
    monkeypatch.setattr(torch_cuda, "_warned", set())
    monkeypatch.setattr(torch_cuda, "kernels", None)
    example = EXAMPLES[name]
    with pytest.warns(UserWarning, match=f"{example.op}: built without CUDA"):
        result = torch_cuda.CUDA[example.op](*example.args)
    torch.testing.assert_close(result, example.run(*example.tensors))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch_cuda.CUDA[example.op](*example.args)
        if name in ADDS:
            out = torch.ones_like(result)
            torch_cuda.CUDA[f"{example.op}_into"](*example.adding(out))
            torch.testing.assert_close(out, result + 1)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@every_example
def test_cuda_tensors_agree_with_the_cpu(name, dtype):
    inputs = EXAMPLES[name].cast(dtype)
    rounding = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {}
    found = as_tuple(EXAMPLES[name].run(*(x.cuda() for x in inputs)))
    for actual, expected in zip(found, as_tuple(EXAMPLES[name].run(*inputs)), strict=True):
        torch.testing.assert_close(actual.cpu(), expected, **rounding)

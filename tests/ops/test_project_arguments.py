"""project: the arrays it takes, and what it says of those that it does not."""

import ml_dtypes
import numpy as np
import pytest
import torch
from op_sketches import kind, vector_sketches

from fimo_fast.ops import project, sketch_matrices
from fimo_fast.sketch import SJLT, SRHT, Composition, Factored, Mask, Rademacher, TensorSketch
from fimo_fast.testing import assert_same_bits


@pytest.mark.parametrize("sketch", vector_sketches(300, 40), ids=kind)
def test_any_stride_is_read(isa, sketch):
    wide = torch.randn(6, 700)
    rows, columns = wide[::2, 100:400], wide[:3, 0:600:2]
    assert_same_bits(project(rows, sketch), project(rows.contiguous(), sketch))
    assert_same_bits(project(columns, sketch), project(columns.contiguous(), sketch))
    same = wide[:1, :300].expand(5, 300)
    assert_same_bits(project(same, sketch), project(same.contiguous(), sketch))
    out = torch.zeros(3, 50)
    project(rows, sketch, out=out[:, 3:43])
    assert_same_bits(out[:, 3:43].contiguous(), project(rows.contiguous(), sketch))
    assert not out[:, :3].any() and not out[:, 43:].any()


@pytest.mark.parametrize("sketch", vector_sketches(64, 16), ids=kind)
def test_nan_and_inf_reach_the_result(isa, sketch):
    for bad in (float("nan"), float("inf")):
        grads = torch.randn(3, 64)
        clean = project(grads, sketch)
        grads[1, 20] = bad
        result = project(grads, sketch)
        hit = sketch_matrices.sketch_matrix(sketch, 20, 21)[:, 0] != 0
        assert not result[1, hit].isfinite().any()
        assert_same_bits(result[1, ~hit], clean[1, ~hit])
        assert_same_bits(result[[0, 2]], clean[[0, 2]])


def test_denormals_survive(isa):
    grads = torch.full((1, 4), 2.0**-140)
    assert project(grads, Rademacher(4, 1)).item() % 2.0**-140 == 0
    assert project(grads, SJLT(4, 4, nonzeros=1)).abs().sum() > 0


@pytest.mark.parametrize("sketch", vector_sketches(30, 8), ids=kind)
def test_empty_inputs(sketch):
    assert project(torch.zeros(0, 30), sketch).shape == (0, 8)
    out = torch.randn(2, 8)
    before = out.clone()
    project(torch.zeros(2, 0), sketch, offset=30, out=out)
    assert_same_bits(out, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("sketch", vector_sketches(200, 24), ids=kind)
def test_numpy_arrays_give_numpy_arrays(sketch, dtype):
    grads = np.random.default_rng(0).normal(size=(4, 400)).astype(dtype)[:, ::2]
    result = project(grads, sketch)
    assert isinstance(result, np.ndarray)
    expected = project(torch.from_numpy(grads.copy()), sketch)
    assert_same_bits(torch.from_numpy(result), expected)
    out = np.zeros_like(result)
    assert project(grads, sketch, out=out) is out
    assert np.array_equal(out, result)
    swapped = grads.astype(grads.dtype.newbyteorder())
    assert np.array_equal(project(swapped, sketch), result)


GRADS = torch.zeros(2, 10)
SKETCH = Rademacher(10, 4)
GRASS = Composition(Mask(10, 6), SJLT(6, 4))
FACTORED = Factored(Rademacher(2, 2), Rademacher(5, 2, seed=1))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: project(GRADS, "srht"), TypeError, "sketch: .*got str"),
        (lambda: project(GRADS, TensorSketch(2, 5, 4)), TypeError, "sketch: .*got TensorSketch; outer_project applies"),
        (lambda: project(GRADS[:, :9], GRASS), ValueError, r"grads: .*\[batch, 10\].*\[2, 9\]"),
        (lambda: project(GRADS, Composition(FACTORED, SRHT(4, 2))), TypeError, "sketch: .*got Factored"),
        (lambda: project([[1.0]], SKETCH), TypeError, "grads: .*got list"),
        (lambda: project(GRADS.int(), SKETCH), TypeError, "grads: .*got torch.int32"),
        (lambda: project(GRADS[0], SKETCH), ValueError, r"grads: .*got \[10\]"),
        (lambda: project(GRADS[:, :9], SKETCH), ValueError, r"grads: .*\[batch, 10\].*\[2, 9\]"),
        (lambda: project(GRADS, SKETCH, offset=1), ValueError, "grads: .*at most .* 9 .*got 10"),
        (lambda: project(GRADS, SKETCH, offset=-1), ValueError, "offset: .*got -1"),
        (lambda: project(GRADS, SKETCH, offset=11), ValueError, "offset: .*got 11"),
        (lambda: project(GRADS, SKETCH, offset=0.0), TypeError, "offset: .*integer, got 0.0"),
        (lambda: project(GRADS.numpy(), SKETCH, offset=False), TypeError, "offset: .*integer, got False"),
        (lambda: project(GRADS, SKETCH, offset=""), TypeError, "offset: .*integer, got ''"),
        (lambda: project(GRADS, SKETCH, out=torch.zeros(2, 5)), ValueError, r"out: .*\[2, 4\]"),
        (lambda: project(GRADS, SKETCH, out=torch.zeros(2, 4).double()), TypeError, "out: .*float32"),
        (lambda: project(GRADS, SKETCH, out=np.zeros((2, 4))), TypeError, "out: .*Tensor.*ndarray"),
        (lambda: project(GRADS, SKETCH, out=torch.zeros(4, 2).T), ValueError, "out: .*unit stride"),
        (
            lambda: project(GRADS, SKETCH, out=torch.zeros(1, 4).expand(2, 4)),
            ValueError,
            "out: .*overlap",
        ),
        (lambda: project(GRADS, SKETCH, out=GRADS[:, :4]), ValueError, "out: .*shared with grads"),
        (
            lambda: project(GRADS.clone().requires_grad_(), SKETCH),
            RuntimeError,
            "grads: requires grad.*detach",
        ),
        (
            lambda: project(GRADS, SKETCH, out=torch.zeros(2, 4).requires_grad_()),
            RuntimeError,
            "out: requires grad",
        ),
    ],
)
def test_refusals_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_read_only_numpy_out_is_refused():
    out = np.zeros((2, 4), np.float32)
    out.flags.writeable = False
    with pytest.raises((ValueError, BufferError), match="read-only|readonly"):
        project(np.zeros((2, 10), np.float32), SKETCH, out=out)


def test_packed_numpy_out_is_refused():
    records = np.zeros(2, [("sketch", np.float32, 4), ("mark", np.int8)])
    with pytest.raises(ValueError, match=r"out: .*whole elements.*\[17, 4\]"):
        project(np.zeros((2, 10), np.float32), SKETCH, out=records["sketch"])


def test_numpy_integers_are_offsets():
    assert_same_bits(project(GRADS[:, :5], SKETCH, np.int64(3)), project(GRADS[:, :5], SKETCH, 3))


def test_numpy_bfloat16():
    x = np.random.default_rng(0).normal(size=(2, 10)).astype(ml_dtypes.bfloat16)
    read_only = x.copy()
    read_only.flags.writeable = False
    for array in (x, x[::-1], np.repeat(x, 2, axis=1)[:, ::2], read_only):
        expected = project(torch.from_numpy(array.astype(np.float32)).bfloat16(), SKETCH)
        out = np.zeros((2, 4), np.float32)
        for result in (project(array, SKETCH), project(array, SKETCH, out=out)):
            assert isinstance(result, np.ndarray)
            assert_same_bits(torch.from_numpy(result), expected)


def test_parameters_are_accepted_without_grad_mode():
    weight = torch.nn.Parameter(torch.randn(2, 10))
    with torch.no_grad():
        assert_same_bits(project(weight, SKETCH), project(weight.detach(), SKETCH))

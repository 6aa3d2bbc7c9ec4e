"""outer_project: the arrays it takes, and what it says of those that it does not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from op_sketches import OUTER, SLICED, outer_sketches

from fimo_fast.ops import outer_project, reference
from fimo_fast.ops.native import _C
from fimo_fast.ops.sketch_args import from_args, sketch_dim, to_args
from fimo_fast.sketch import SJLT, SRHT, Composition, Factored, Mask, TensorSketch, VectorSketch
from fimo_fast.testing import assert_same_bits, available_isas, force_isa, sum_tolerance


def factors(batch, tokens, n, m, dtype=torch.float32):
    return torch.randn(batch, tokens, n).to(dtype), torch.randn(batch, tokens, m).to(dtype)


@pytest.mark.parametrize("name", OUTER)
def test_layers_are_summed_in_one_out(isa, name):
    sketch = outer_sketches(12, 9)[name]
    a, delta = factors(4, 3, 12, 9)
    before = torch.randn(4, sketch.sketch_dim)
    wide = torch.zeros(4, sketch.sketch_dim + 5)
    out = wide[:, 2:-3]
    out.copy_(before)
    assert outer_project(a, delta, sketch, out=out) is out
    torch.testing.assert_close(out, before + outer_project(a, delta, sketch))
    assert not wide[:, :2].any() and not wide[:, -3:].any()


@pytest.mark.parametrize("name", OUTER)
def test_any_stride_is_read(isa, name):
    sketch = outer_sketches(15, 10)[name]
    a, delta = factors(6, 10, 40, 20)
    views = [
        (a[::2, 3:7, 5:20], delta[::2, 3:7, ::2]),  # uneven examples, strided last dimension
        (a[:, :1, 5:20].expand(6, 10, 15), delta[:, :, :10]),  # all tokens the same
        (a[:1, :, 5:20].expand(6, 10, 15), delta[:, :, :10]),  # all examples the same
    ]
    for a_view, delta_view in views:
        expected = outer_project(a_view.contiguous(), delta_view.contiguous(), sketch)
        assert_same_bits(outer_project(a_view, delta_view, sketch), expected)
    swapped = (x.transpose(0, 1).contiguous().transpose(0, 1) for x in views[0])
    assert_same_bits(outer_project(*swapped, sketch), outer_project(*views[0], sketch))


@pytest.mark.parametrize("name", OUTER)
def test_two_dimensions_mean_one_token(name):
    sketch = outer_sketches(15, 10)[name]
    a, delta = factors(6, 1, 15, 10)
    assert_same_bits(outer_project(a[:, 0], delta[:, 0], sketch), outer_project(a, delta, sketch))


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(0, 20), st.integers(0, 9), st.integers(1, 40), st.integers(1, 40)),
    name=st.sampled_from(OUTER),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    steps=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    isa=st.sampled_from(available_isas()),
)
def test_any_shape(size, name, dtype, steps, isa):
    batch, tokens, n, m = size
    a, delta = factors(batch * steps[0], tokens * steps[1], n + 3, m + 1, dtype)
    a, delta = a[:: steps[0], :: steps[1], 3:], delta[:: steps[0], :: steps[1], 1:]
    sketch = outer_sketches(n, m)[name]
    with force_isa(isa):
        actual = outer_project(a, delta, sketch)
    expected = reference.outer_project(a.double(), delta.double(), sketch)
    scale = a.double().norm() * delta.double().norm() * (n * m) ** 0.5 + 1e-300
    precision = torch.float32 if name == "gaussian" or "gaussian" in name else actual.dtype
    assert actual.shape == (batch, sketch.sketch_dim)
    assert ((actual - expected).abs() <= sum_tolerance(precision, n * m * max(tokens, 1)) * scale).all()


@pytest.mark.parametrize("name", OUTER)
def test_nan_stays_with_its_example(isa, name):
    sketch = outer_sketches(12, 9)[name]
    a, delta = factors(5, 3, 12, 9)
    clean = outer_project(a, delta, sketch)
    a[2] = float("nan")
    result = outer_project(a, delta, sketch)
    assert result[2].isnan().any()
    assert_same_bits(result[[0, 1, 3, 4]], clean[[0, 1, 3, 4]])


@pytest.mark.parametrize("name", OUTER)
def test_empty_inputs(name):
    sketch = outer_sketches(4, 5)[name]
    assert outer_project(*factors(0, 2, 4, 5), sketch).shape == (0, sketch.sketch_dim)
    assert_same_bits(outer_project(*factors(3, 0, 4, 5), sketch), torch.zeros(3, sketch.sketch_dim))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("name", OUTER)
def test_numpy_arrays_give_numpy_arrays(name, dtype):
    sketch = outer_sketches(6, 7)[name]
    a, delta = (x.numpy().astype(dtype) for x in factors(4, 3, 6, 7))
    result = outer_project(a, delta, sketch)
    assert isinstance(result, np.ndarray)
    assert_same_bits(torch.from_numpy(result), outer_project(torch.from_numpy(a), torch.from_numpy(delta), sketch))
    out = np.zeros_like(result)
    assert outer_project(a, delta, sketch, out=out) is out
    assert np.array_equal(out, result)
    assert np.array_equal(outer_project(a[:, 0], delta[:, 0], sketch), outer_project(a[:, :1], delta[:, :1], sketch))
    if name in SLICED:
        longer = outer_sketches(100, 1)[name]
        expected = outer_project(torch.from_numpy(a), torch.from_numpy(delta), longer, 37)
        assert_same_bits(torch.from_numpy(outer_project(a, delta, longer, np.int64(37))), expected)
        out = np.zeros((4, longer.sketch_dim), dtype=result.dtype)
        outer_project(a, delta, longer, 37, out)
        assert_same_bits(torch.from_numpy(out), expected)


A, D = factors(2, 3, 6, 7)
SKETCH = SRHT(42, 4)
PAIR = Factored(SRHT(6, 2), SRHT(7, 2, seed=1))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: outer_project(A, D, "srht"), TypeError, "sketch: .*got str"),
        (lambda: outer_project(A, D, VectorSketch), TypeError, "sketch: .*got type"),
        (lambda: outer_project(A, D, SRHT(41, 4)), ValueError, r"sketch: expected input_dim 7 \* 6 = 42.*got 41"),
        (lambda: outer_project(D, A, PAIR), ValueError, r"sketch: .*7 \(a\) and 6 \(delta\).*got 6 and 7"),
        (lambda: outer_project(D, A, TensorSketch(6, 7, 8)), ValueError, "sketch: .*got 6 and 7"),
        (lambda: outer_project(A, D, Composition(Mask(41, 8), SJLT(8, 4))), ValueError, "sketch: .*got 41"),
        (lambda: outer_project(A, D[:1], SKETCH), ValueError, r"delta: .*\[2, 3, \*\].*\[1, 3, 7\]"),
        (lambda: outer_project(A, D[:, 0], SKETCH), ValueError, "delta: .*same rank"),
        (lambda: outer_project(A, D.double(), SKETCH), TypeError, "delta: .*float32.*float64"),
        (lambda: outer_project(A.numpy(), D, SKETCH), TypeError, "delta: .*NumPy.*Tensor"),
        (lambda: outer_project(A[..., :0], D, SKETCH), ValueError, r"sketch: expected input_dim 7 \* 0 = 0"),
        (lambda: outer_project(A, D, SRHT(100, 4), 59), ValueError, r"sketch: .*offset \+ 7 \* 6 = 101.*got 100"),
        (lambda: outer_project(A, D, SRHT(100, 4), 101), ValueError, "offset: expected 0 to input_dim = 100, got 101"),
        (lambda: outer_project(A, D, SRHT(100, 4), -1), ValueError, "offset: expected 0 to .*got -1"),
        (lambda: outer_project(A, D, SRHT(100, 4), True), TypeError, "offset: expected an integer, got True"),
        (lambda: outer_project(A, D, SRHT(100, 4)), ValueError, "sketch: .*got 100; give offset"),
        (lambda: outer_project(A, D, PAIR, 0), ValueError, "offset: expected None for a Factored.*got 0"),
        (lambda: outer_project(A, D, TensorSketch(6, 7, 8), 0), ValueError, "offset: expected None for a TensorSketch"),
        (lambda: outer_project(A, D, Composition(PAIR, Mask(4, 2)), 0), ValueError, "offset: expected None for a Fac"),
        (lambda: outer_project(A, D, SKETCH, out=torch.zeros(2, 5)), ValueError, r"out: .*\[2, 4\]"),
        (lambda: outer_project(A, D, SKETCH, out=torch.zeros(2, 4).double()), TypeError, "out: .*float32"),
        (lambda: outer_project(A, D, SKETCH, out=np.zeros((2, 4))), TypeError, "out: .*Tensor like a.*ndarray"),
        (lambda: outer_project(A, D, SKETCH, out=torch.zeros(4, 2).T), ValueError, "out: .*unit stride"),
        (lambda: outer_project(A, D, SKETCH, out=A[:, 0, :4]), ValueError, "out: .*shared with a"),
        (lambda: outer_project(A, D, SKETCH, out=D[:, 0, :4]), ValueError, "out: .*shared with delta"),
        (lambda: outer_project(A.clone().requires_grad_(), D, SKETCH), RuntimeError, "a: requires grad"),
        (
            lambda: outer_project(A, D, SKETCH, out=torch.zeros(2, 4).requires_grad_()),
            RuntimeError,
            "out: requires grad",
        ),
    ],
)
def test_refusals_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("name", OUTER)
def test_flat_arguments_round_trip(name):
    sketch = outer_sketches(12, 9)[name]
    args = to_args(sketch)
    assert from_args(*args) == sketch
    assert sketch_dim(*args) == sketch.sketch_dim
    assert all(-(2**63) <= number < 2**63 for number in args[1])


@pytest.mark.parametrize(
    ("kinds", "numbers", "offset", "message"),
    [
        ("", [], None, "kinds: "),
        ("factored srht", [6, 2, 0, 0], None, "kinds: .*'factored srht'"),
        ("walsh", [42, 4, 0, 0], None, "kind: .*'walsh'"),
        ("srht", [42, 4, 0], None, "numbers: "),
        ("srht", [40, 4, 0, 0], None, r"sketch: expected input_dim 7 \* 6 .*got 40"),
        ("srht srht", [42, 4, 0, 0, 5, 2, 0, 0], None, "then: expected input_dim 4 .*got 5"),
        ("factored srht srht", [5, 2, 0, 0, 7, 2, 0, 0], None, "sketch: expected a.input_dim 6 .*got 5"),
        ("tensorsketch", [6, 7, 3, 0], None, "sketch_dim: expected a power of two .*got 3"),
        ("tensorsketch", [6, 6, 4, 0], None, "sketch: expected delta_dim 7 .*got 6"),
        ("srht", [100, 4, 0, 0], 59, r"sketch: .*offset \+ 7 \* 6 .*got 100 and offset 59"),
        ("srht", [100, 4, 0, 0], -1, "offset: expected 0 to input_dim = 100, got -1"),
        ("tensorsketch", [6, 7, 4, 0], 0, "offset: expected none for a sketch of the factors"),
    ],
)
def test_the_core_refuses_what_does_not_fit(kinds, numbers, offset, message):
    with pytest.raises(ValueError, match=message):
        _C.outer_project(A, D, kinds, numbers, offset, torch.zeros(2, 4), 1)

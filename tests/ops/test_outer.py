"""outer_dot and outer_norm2: against formed gradients, identities, and their contract."""

import numpy as np
import pytest
import torch

from fimo_fast.ops import outer_dot, outer_norm2, reference
from fimo_fast.ops.native import _C
from fimo_fast.testing import assert_same_bits, available_isas, count_kernel_calls, force_isa, sum_tolerance

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]

# batch, tokens, batch2, tokens2, n, m
SIZES = [
    (1, 1, 1, 1, 1, 1),
    (3, 1, 5, 1, 7, 97),
    (150, 1, 140, 1, 33, 10),
    (5, 7, 6, 3, 33, 17),
    (2, 200, 3, 150, 130, 90),  # tokens of one example over several tiles
    (4, 150, 2, 1, 600, 300),  # depth over several parts
    (40, 3, 2, 4, 70, 33),  # few columns
    (20, 8, 20, 8, 100, 90),  # norms of few tokens
    (9, 12, 40, 11, 8, 5),  # formed
    (17, 40, 30, 40, 9, 7),  # formed, more than few on both sides
    (30, 40, 3, 40, 9, 7),  # formed, few columns
    (3, 40, 3, 40, 20, 2),  # formed
]


def factors(batch, tokens, batch2, tokens2, n, m, dtype=torch.float32):
    shapes = [(batch, tokens, n), (batch, tokens, m), (batch2, tokens2, n), (batch2, tokens2, m)]
    return [torch.randn(shape).to(dtype) for shape in shapes]


def scale(a, delta, a2, delta2):
    """[B, B2]: the root of the sum of squares of what a pair's inner product adds up."""
    parts = [x.double().square().sum((1, 2)) for x in (a, delta, a2, delta2)]
    return (parts[0] * parts[1]).sqrt()[:, None] * (parts[2] * parts[3]).sqrt()


forms = _C.outer_dot_forms_gradients  # whether the gradients are formed


def test_sizes_cover_both_ways_of_computing():
    assert {forms(*size) for size in SIZES} == {True, False}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_dot_matches_formed_gradients(isa, size, dtype):
    inputs = factors(*size, dtype=dtype)
    with count_kernel_calls() as calls:
        actual = outer_dot(*inputs)
    assert calls["outer_dot"] == 1
    assert actual.dtype == reference.accumulator(dtype)
    expected = reference.outer_dot(*(x.double() for x in inputs))
    tolerance = sum_tolerance(actual.dtype, max(size)) * scale(*inputs)
    assert ((actual - expected).abs() <= tolerance).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_norm2_matches_formed_gradients(isa, size, dtype):
    a, delta, *_ = factors(*size, dtype=dtype)
    with count_kernel_calls() as calls:
        actual = outer_norm2(a, delta)
    assert calls["outer_norm2"] == 1
    assert actual.dtype == reference.accumulator(dtype)
    expected = reference.outer_norm2(a.double(), delta.double())
    tolerance = sum_tolerance(actual.dtype, max(size)) * scale(a, delta, a, delta).diagonal()
    assert ((actual - expected).abs() <= tolerance).all()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_is_symmetric_and_norms_are_its_diagonal(isa, size):
    a, delta, *_ = factors(*size, dtype=torch.float64)
    dots = outer_dot(a, delta, a, delta)
    torch.testing.assert_close(dots, dots.T)
    torch.testing.assert_close(dots.diagonal(), outer_norm2(a, delta))


def test_integers_are_exact(isa):
    for size in SIZES:
        inputs = [x.mul(2).round().clamp(-3, 3) for x in factors(*size, dtype=torch.float64)]
        # + 0.0: a zero may have either sign
        assert_same_bits(outer_dot(*inputs) + 0.0, reference.outer_dot(*inputs) + 0.0)
        assert_same_bits(outer_norm2(*inputs[:2]), reference.outer_norm2(*inputs[:2]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_threads_do_not_change_the_bits(isa, with_threads, size, dtype):
    inputs = factors(*size, dtype=dtype)
    one = with_threads(1, outer_dot, *inputs)
    norms = with_threads(1, outer_norm2, *inputs[:2])
    for threads in (2, 5):
        assert_same_bits(with_threads(threads, outer_dot, *inputs), one)
        assert_same_bits(with_threads(threads, outer_norm2, *inputs[:2]), norms)


@pytest.mark.parametrize(("tokens", "batch2"), [(1, 20), (1, 2), (5, 20), (5, 2), (150, 20)])
def test_results_do_not_depend_on_the_neighbours(isa, tokens, batch2):
    a, delta, a2, delta2 = factors(30, tokens, batch2, 3, 300, 280)
    assert not forms(30, tokens, batch2, 3, 300, 280)
    whole = outer_dot(a, delta, a2, delta2)
    rows, columns = torch.randperm(30), torch.randperm(batch2)
    shuffled = outer_dot(a[rows], delta[rows], a2[columns], delta2[columns])
    assert_same_bits(shuffled, whole[rows][:, columns])
    others = outer_dot(torch.cat([a[:1], torch.full_like(a[1:], torch.nan)]), delta, a2, delta2)
    assert_same_bits(others[:1], whole[:1])
    norms = outer_norm2(a, delta)
    for b in (0, 13, 29):
        assert_same_bits(outer_norm2(a[b : b + 1], delta[b : b + 1]), norms[b : b + 1])


def test_results_of_formed_gradients_do_not_depend_on_the_neighbours(isa):
    a, delta, a2, delta2 = factors(9, 12, 40, 11, 8, 5)
    assert forms(9, 12, 40, 11, 8, 5)
    whole = outer_dot(a, delta, a2, delta2)
    rows, columns = torch.randperm(9), torch.randperm(40)
    shuffled = outer_dot(a[rows], delta[rows], a2[columns], delta2[columns])
    assert_same_bits(shuffled, whole[rows][:, columns])


def test_instruction_sets_with_fma_give_the_same_bits():
    names = [name for name in available_isas() if name != "scalar"]
    results = []
    for name in names:
        with force_isa(name):
            results.append([outer_dot(*factors_) for factors_ in FIXED])
    for other in results[1:]:
        for x, y in zip(results[0], other, strict=True):
            assert_same_bits(x, y)


torch.manual_seed(1)
FIXED = [factors(*size) for size in SIZES]


def test_two_dimensions_mean_one_token(isa):
    inputs = factors(4, 1, 3, 1, 10, 6)
    assert_same_bits(outer_dot(*(x[:, 0] for x in inputs)), outer_dot(*inputs))
    assert_same_bits(outer_norm2(*(x[:, 0] for x in inputs[:2])), outer_norm2(*inputs[:2]))


def test_any_stride_is_read(isa):
    a, delta, a2, delta2 = factors(6, 10, 5, 8, 40, 20)
    views = [
        a[::2, 3:7, 5:15],  # examples that are not evenly spaced
        delta[::2, 3:7, ::2],  # strided in the last dimension
        a2[:, :1, 5:15].expand(5, 6, 10),  # all tokens the same
        delta2[:, 2:, :10],
    ]
    expected = outer_dot(*(x.contiguous() for x in views))
    assert_same_bits(outer_dot(*views), expected)
    swapped = [x.transpose(0, 1).contiguous().transpose(0, 1) for x in views]
    assert_same_bits(outer_dot(*swapped), expected)
    assert_same_bits(outer_norm2(*views[:2]), outer_norm2(*(x.contiguous() for x in views[:2])))


def test_nan_and_inf_stay_with_their_example(isa):
    for size in ((5, 3, 6, 2, 9, 7), (9, 12, 40, 11, 8, 5)):
        for bad in (float("nan"), float("inf")):
            a, delta, a2, delta2 = factors(*size)
            clean = outer_dot(a, delta, a2, delta2)
            a[2, 1, 3] = bad
            result = outer_dot(a, delta, a2, delta2)
            assert not result[2].isfinite().any()
            assert_same_bits(result[[0, 1, 3, 4]], clean[[0, 1, 3, 4]])
            norms = outer_norm2(a, delta)
            assert not norms[2].isfinite() and norms[[0, 1, 3, 4]].isfinite().all()


def test_norms_are_never_negative(isa):
    # The two tokens cancel: the true gradient is rounding noise, the Gram form subtracts large numbers.
    a = torch.randn(200, 1, 300).repeat(1, 2, 1)
    delta = torch.randn(200, 1, 300).repeat(1, 2, 1)
    delta[:, 1] *= -1
    assert (outer_norm2(a, delta) >= 0).all()


def test_empty_inputs():
    assert outer_dot(*factors(0, 2, 3, 2, 4, 5)).shape == (0, 3)
    assert outer_dot(*factors(3, 2, 0, 2, 4, 5)).shape == (3, 0)
    assert outer_norm2(*factors(0, 2, 1, 1, 4, 5)[:2]).shape == (0,)
    for size in ((2, 0, 3, 2, 4, 5), (2, 2, 3, 0, 4, 5), (2, 1, 3, 1, 0, 5), (2, 1, 3, 1, 4, 0)):
        assert_same_bits(outer_dot(*factors(*size)), torch.zeros(2, 3))
        if size[1] == 0 or 0 in size[4:]:
            assert_same_bits(outer_norm2(*factors(*size)[:2]), torch.zeros(2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_numpy_arrays_give_numpy_arrays(dtype):
    inputs = [x.numpy().astype(dtype) for x in factors(4, 3, 5, 2, 6, 7)]
    result = outer_dot(*inputs)
    assert isinstance(result, np.ndarray)
    assert_same_bits(torch.from_numpy(result), outer_dot(*map(torch.from_numpy, inputs)))
    norms = outer_norm2(*inputs[:2])
    assert_same_bits(torch.from_numpy(norms), outer_norm2(*map(torch.from_numpy, inputs[:2])))
    flat = outer_dot(*(x[:, 0] for x in inputs))
    assert np.array_equal(flat, outer_dot(*(x[:, :1] for x in inputs)))


A, D, A2, D2 = factors(2, 3, 4, 5, 6, 7)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: outer_dot(A, D[:1], A2, D2), ValueError, r"delta: .*\[2, 3, \*\].*\[1, 3, 7\]"),
        (lambda: outer_dot(A, D, A2, D2[:, :1]), ValueError, r"delta2: .*\[4, 5, \*\].*\[4, 1, 7\]"),
        (lambda: outer_dot(A, D, A2[..., :5], D2), ValueError, r"a2: .*6 like a, got \[4, 5, 5\]"),
        (lambda: outer_dot(A, D, A2, D2[..., :5]), ValueError, "delta2: .*7 like delta"),
        (lambda: outer_dot(A, D.double(), A2, D2), TypeError, "delta: .*float32.*float64"),
        (lambda: outer_dot(A, D[:, 0], A2, D2), ValueError, "delta: .*same rank"),
        (lambda: outer_dot(A[0, 0], D, A2, D2), ValueError, r"a: .*got \[6\]"),
        (lambda: outer_dot(A, D.numpy(), A2, D2), TypeError, "delta: .*torch tensor.*ndarray"),
        (lambda: outer_dot(A.numpy(), D, A2, D2), TypeError, "delta: .*NumPy.*Tensor"),
        (lambda: outer_dot(A.clone().requires_grad_(), D, A2, D2), RuntimeError, "a: requires grad"),
        (lambda: outer_norm2(A, D[:, :2]), ValueError, "delta: .*like a"),
        (lambda: outer_norm2(A, D.clone().requires_grad_()), RuntimeError, "delta: requires grad"),
        (lambda: outer_norm2(A.long(), D), TypeError, "a: .*got torch.int64"),
    ],
)
def test_refusals_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()

"""rows_project: the bits of `project` of the formed gradient of an embedding, and its contract."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from op_sketches import ROWS

from fimo_fast.ops import project, reference, rows_project, sketch_matrices
from fimo_fast.sketch import SRHT, Composition, Factored, Mask
from fimo_fast.testing import assert_same_bits, available_isas, count_kernel_calls, force_isa

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
# Batch, tokens, rows of the vocabulary, dim: repeated rows, rows longer than a block, one token, long SJLTs.
SIZES = [(1, 1, 1, 1), (3, 40, 13, 29), (5, 6, 50, 64), (2, 3, 4, 700), (1, 300, 40, 33), (2, 2, 3, 5000)]


def lookups(batch, tokens, vocabulary, dim, dtype=torch.float32):
    """Indices that repeat, and gradients of which some are zero."""
    delta = torch.randn(batch, tokens, dim).to(dtype)
    delta[torch.rand(batch, tokens) < 0.2] = 0
    return torch.randint(0, vocabulary, (batch, tokens)), delta


def formed(index, delta, vocabulary):
    """[B, V * d], summed in the order of the tokens."""
    gradient = torch.zeros(len(delta), vocabulary, delta.shape[2], dtype=reference.accumulator(delta.dtype))
    for b, row in enumerate(index.tolist()):
        for t, i in enumerate(row):
            gradient[b, i] += delta[b, t]
    return gradient.flatten(1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", ROWS)
def test_has_the_bits_of_project(isa, name, size, dtype):
    index, delta = lookups(*size, dtype=dtype)
    gradient = formed(index, delta, size[2])
    for offset in (0, 77, 2**31 - 3, 2**40 + 500):
        for spare in (0, 9):
            sketch = ROWS[name](offset + gradient.shape[1] + spare)
            with count_kernel_calls() as calls:
                actual = rows_project(index, delta, sketch, offset)
            assert calls["rows_project"] == 1
            assert actual.dtype == gradient.dtype
            assert_same_bits(actual, project(gradient, sketch, offset))


@pytest.mark.parametrize("name", ROWS)
def test_matches_the_reference(name):
    index, delta = lookups(4, 9, 11, 30, torch.float64)
    sketch = ROWS[name](500)
    expected = formed(index, delta, 11) @ sketch_matrices.sketch_matrix(sketch, 123, 123 + 330).T
    torch.testing.assert_close(reference.rows_project(index, delta, sketch, 123), expected)
    torch.testing.assert_close(rows_project(index, delta, sketch, 123), expected)


@pytest.mark.parametrize("name", ROWS)
def test_bits_depend_on_nothing_but_the_example(isa, with_threads, name):
    index, delta = lookups(7, 60, 300, 130)
    sketch = ROWS[name](300 * 130 + 50)
    expected = with_threads(1, rows_project, index, delta, sketch, 21)
    for threads in (2, 5):
        assert_same_bits(with_threads(threads, rows_project, index, delta, sketch, 21), expected)
        alone = with_threads(threads, rows_project, index[3:4], delta[3:4], sketch, 21)
        assert_same_bits(alone, expected[3:4])


@pytest.mark.parametrize("name", ROWS)
def test_instruction_sets_agree(name):
    index, delta = lookups(3, 20, 30, 77)
    results = []
    for isa in available_isas():
        with force_isa(isa):
            results.append(rows_project(index, delta, ROWS[name](30 * 77)))
    for result in results[1:]:
        assert_same_bits(result, results[0])


@pytest.mark.parametrize("name", ROWS)
def test_is_added_to_out(isa, name):
    index, delta = lookups(4, 6, 9, 10)
    sketch = ROWS[name](200)
    wide = torch.zeros(4, sketch.sketch_dim + 5)
    out = wide[:, 2:-3]
    before = torch.randn(out.shape)
    out.copy_(before)
    assert rows_project(index, delta, sketch, 100, out) is out
    torch.testing.assert_close(out, before + rows_project(index, delta, sketch, 100))
    assert not wide[:, :2].any() and not wide[:, -3:].any()


@pytest.mark.parametrize("name", ROWS)
def test_zero_tokens_change_nothing(name):
    index, delta = lookups(3, 5, 9, 10)
    sketch = ROWS[name](90)
    padded = torch.cat([delta, torch.zeros(3, 4, 10), -torch.zeros(3, 4, 10)], dim=1)
    more = torch.cat([index, torch.randint(0, 9, (3, 8))], dim=1)
    assert_same_bits(rows_project(more, padded, sketch), rows_project(index, delta, sketch))


@pytest.mark.parametrize("name", ROWS)
def test_nan_stays_with_its_example(isa, name):
    index, delta = lookups(5, 3, 9, 10)
    sketch = ROWS[name](90)
    clean = rows_project(index, delta, sketch)
    delta[2] = float("nan")
    result = rows_project(index, delta, sketch)
    assert result[2].isnan().any()
    assert_same_bits(result[[0, 1, 3, 4]], clean[[0, 1, 3, 4]])


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(0, 9), st.integers(0, 30), st.integers(1, 40), st.integers(0, 70)),
    name=st.sampled_from(list(ROWS)),
    offset=st.integers(0, 300),
    dtype=st.sampled_from(DTYPES),
    steps=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2)),
    isa=st.sampled_from(available_isas()),
)
def test_any_shape_and_stride(size, name, offset, dtype, steps, isa):
    batch, tokens, vocabulary, dim = size
    full = [count * step for count, step in zip((batch, tokens, dim), steps, strict=True)]
    index, delta = lookups(full[0], full[1], vocabulary, full[2] + 2, dtype)
    index = index[:: steps[0], :: steps[1]]
    delta = delta[:: steps[0], :: steps[1], 2 :: steps[2]]
    sketch = ROWS[name](offset + vocabulary * dim + 1)
    with force_isa(isa):
        actual = rows_project(index, delta, sketch, offset)
    assert_same_bits(actual, project(formed(index, delta, vocabulary), sketch, offset))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("name", ROWS)
def test_numpy_arrays_give_numpy_arrays(name, dtype):
    index, delta = lookups(4, 6, 9, 10, torch.float64)
    numpy_index, numpy_delta = index.numpy(), delta.numpy().astype(dtype)
    sketch = ROWS[name](200)
    expected = rows_project(index, torch.from_numpy(numpy_delta), sketch, 100)
    result = rows_project(numpy_index, numpy_delta, sketch, np.int64(100))
    assert type(result) is np.ndarray
    assert_same_bits(torch.from_numpy(result), expected)
    out = np.zeros_like(result)
    strided = np.repeat(numpy_delta, 2, axis=2)[:, :, ::2]
    assert rows_project(np.asfortranarray(numpy_index.astype(np.int32)), strided, sketch, 100, out) is out
    assert np.array_equal(out, result)


def test_int32_and_any_strides_of_indices():
    index, delta = lookups(4, 6, 9, 10)
    sketch = SRHT(90, 16)
    expected = rows_project(index, delta, sketch)
    for view in (index.int(), index.T.contiguous().T, index.repeat_interleave(3, 1)[:, ::3], index.int().T.clone().T):
        assert_same_bits(rows_project(view, delta, sketch), expected)
        assert_same_bits(rows_project(view, delta, sketch, out=torch.zeros(4, 16)), expected)
    same = index[:1].expand(4, 6)
    assert_same_bits(rows_project(same, delta, sketch), rows_project(same.contiguous(), delta, sketch))


I, D = torch.tensor([[0, 3, 3], [9, 0, 1]]), torch.randn(2, 3, 7)  # noqa: E741  (as in the formulas)
S = SRHT(70, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rows_project(I - 1, D, S), ValueError, "index: expected 0 or more.*got -1 at example 0, token 0"),
        (
            lambda: rows_project(I, D, S, 1),
            ValueError,
            r"index: .*less than 9 \(.*offset 1.*got 9 at example 1, token 0",
        ),
        (lambda: rows_project(I, D, SRHT(69, 4)), ValueError, "index: .*less than 9.*input_dim = 69.*got 9"),
        (lambda: rows_project(I + 2**62, D, S), ValueError, f"index: .*got {2**62}"),
        (lambda: rows_project(I.numpy() - 1, D.numpy(), S), ValueError, "index: expected 0 or more.*got -1"),
        (lambda: rows_project(I.float(), D, S), TypeError, "index: expected int64 or int32, got torch.float32"),
        (lambda: rows_project(I.bool(), D, S), TypeError, "index: expected int64 or int32, got torch.bool"),
        (lambda: rows_project(I.numpy().astype(np.uint8), D.numpy(), S), TypeError, "index: expected int64.*uint8"),
        (lambda: rows_project(I.numpy(), D, S), TypeError, "index: expected a torch tensor like delta, got ndarray"),
        (lambda: rows_project(I, D.numpy(), S), TypeError, "index: expected a NumPy array like delta, got Tensor"),
        (lambda: rows_project(I[:, :2], D, S), ValueError, r"index: expected shape \[2, 3\] like delta, got \[2, 2\]"),
        (lambda: rows_project(I[0], D[0], S), ValueError, r"delta: expected shape \[batch, tokens, dim\]"),
        (lambda: rows_project(I, D.int(), S), TypeError, "delta: expected float32.*int32"),
        (lambda: rows_project(I, D.clone().requires_grad_(), S), RuntimeError, "delta: requires grad"),
        (lambda: rows_project(I, D, S, -1), ValueError, "offset: expected 0 to input_dim = 70, got -1"),
        (lambda: rows_project(I, D, S, 71), ValueError, "offset: expected 0 to input_dim = 70, got 71"),
        (lambda: rows_project(I, D, S, 1.0), TypeError, "offset: expected an integer, got 1.0"),
        (lambda: rows_project(I, D, S, True), TypeError, "offset: expected an integer, got True"),
        (lambda: rows_project(I, D, "srht"), TypeError, "sketch: .*got str"),
        (lambda: rows_project(I, D, Factored(S, SRHT(70, 4, 1))), TypeError, "sketch: .*got Factored"),
        (lambda: rows_project(I, D, Composition(Mask(70, 9), SRHT(9, 2))), TypeError, "sketch: .*got Composition"),
        (lambda: rows_project(I, D, S, out=torch.zeros(2, 5)), ValueError, r"out: expected shape \[2, 4\]"),
        (lambda: rows_project(I, D, S, out=torch.zeros(2, 4).double()), TypeError, "out: expected torch.float32"),
        (lambda: rows_project(I, D, S, out=np.zeros((2, 4))), TypeError, "out: expected Tensor like delta"),
        (lambda: rows_project(I, D, S, out=D[:, 0, :4]), ValueError, "out: expected memory of its own.*delta"),
        (lambda: rows_project(I.to("meta"), D, S), ValueError, "index: expected device cpu like delta, got meta"),
    ],
)
def test_bad_arguments_raise(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_nothing_is_written_before_a_bad_index():
    out = torch.ones(2, 4)
    with pytest.raises(ValueError, match="example 1, token 2"):
        rows_project(torch.tensor([[0, 1, 2], [3, 4, 10]]), D, S, out=out)
    assert torch.equal(out, torch.ones(2, 4))
    # Of a token without a gradient, too: bad input is not what padding looks like.
    with pytest.raises(ValueError, match="got -100"):
        rows_project(torch.full((2, 3), -100), torch.zeros(2, 3, 7), S)


def test_reference_refuses_the_same_indices():
    for index, offset in ((I - 1, 0), (I, 1)):
        with pytest.raises(ValueError) as expected:
            rows_project(index, D, S, offset)
        with pytest.raises(ValueError) as actual:
            reference.rows_project(index, D, S, offset)
        assert str(actual.value) == str(expected.value)

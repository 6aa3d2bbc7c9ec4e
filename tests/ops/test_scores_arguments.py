"""scores and topk: the arrays they take, and what they say of those that they do not."""

import ml_dtypes
import numpy as np
import pytest
import torch

from fimo_fast.ops import scores, topk
from fimo_fast.testing import assert_same_bits, count_kernel_calls


def integers(*shape):
    """Small integers: sums are exact in every order, and ties are everywhere."""
    return torch.randint(-2, 3, shape).float()


def test_empty_sides():
    values, indices = topk(torch.zeros(0, 5), torch.zeros(10, 5), 3)
    assert values.shape == indices.shape == (0, 3)
    for m, n in ((0, 10), (10, 0), (0, 0)):
        assert scores(torch.zeros(m, 5), torch.zeros(n, 5)).shape == (m, n)
        codes = torch.zeros(m, 5, dtype=torch.int8), torch.zeros(n, 5, dtype=torch.int8)
        assert scores(*codes, torch.zeros(m), torch.zeros(n)).shape == (m, n)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int8])
def test_numpy_arrays_give_numpy_arrays(dtype):
    queries, features = integers(4, 6).numpy().astype(dtype), integers(50, 6).numpy().astype(dtype)
    scales = (np.ones(4, np.float32), np.arange(50, dtype=np.float32)) if dtype == np.int8 else ()
    torch_inputs = torch.from_numpy(queries), torch.from_numpy(features)
    torch_scales = [torch.from_numpy(s) for s in scales]
    with count_kernel_calls() as calls:
        every = scores(queries, features, *scales)
        values, indices = topk(queries, features, 3, *scales)
    assert calls["scores"] == 1 and calls["topk"] == 1
    assert all(isinstance(x, np.ndarray) for x in (every, values, indices))
    assert_same_bits(torch.from_numpy(every), scores(*torch_inputs, *torch_scales))
    expected = topk(*torch_inputs, 3, *torch_scales)
    assert_same_bits(torch.from_numpy(values), expected[0])
    assert_same_bits(torch.from_numpy(indices), expected[1])


Q, F = torch.zeros(2, 3), torch.zeros(5, 3)
Q8, F8, QS, FS = Q.to(torch.int8), F.to(torch.int8), torch.ones(2), torch.ones(5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: topk(Q, F, 0), ValueError, "k: .* 5, got 0"),
        (lambda: topk(Q, F, 6), ValueError, "k: .* 5, got 6"),
        (lambda: topk(Q, F[:0], 1), ValueError, "k: .* 0, got 1"),
        (lambda: topk(Q, F, True), TypeError, "k: .*integer, got True"),
        (lambda: topk(Q.numpy(), F.numpy(), 2.0), TypeError, "k: .*integer, got 2.0"),
        (lambda: topk(Q, F, None), TypeError, "k: .*integer, got None"),
        (lambda: topk(Q, F[:, :2], 1), ValueError, r"features: .*3 like queries.*\[5, 2\]"),
        (lambda: topk(Q, F.half(), 1), TypeError, "features: .*float32.*float16"),
        (lambda: topk(Q[0], F, 1), ValueError, r"queries: .*got \[3\]"),
        (lambda: topk(Q, F.clone().requires_grad_(), 1), RuntimeError, "features: requires grad"),
        (lambda: scores(Q, F[:, :2]), ValueError, r"features: .*3 like queries.*\[5, 2\]"),
        (lambda: scores(Q, F8), TypeError, "features: .*float32.*int8"),
        (lambda: scores(Q.int(), F.int()), TypeError, "queries: .*int8; got torch.int32"),
        (lambda: scores(Q, F.numpy()), TypeError, "features: .*torch"),
        (lambda: scores(Q8, F8), TypeError, "query_scales: .*int8 queries, got NoneType"),
        (lambda: scores(Q8[:0], F8[:0]), TypeError, "query_scales: .*int8 queries, got NoneType"),
        (lambda: scores(Q8, F8, QS), TypeError, "feature_scales: .*int8 features, got NoneType"),
        (lambda: scores(Q, F, QS, FS), TypeError, "query_scales: expected None for torch.float32"),
        (lambda: scores(Q8, F8, FS, FS), ValueError, r"query_scales: .*\[2\].*\[5\]"),
        (lambda: scores(Q8, F8, QS, FS.double()), TypeError, "feature_scales: .*float32.*float64"),
        (lambda: scores(Q8, F8, QS, FS.numpy()), TypeError, "feature_scales: .*torch.*ndarray"),
        (lambda: scores(Q8, F8, QS.clone().requires_grad_(), FS), RuntimeError, "query_scales: requires grad"),
        (lambda: topk(Q8, F8, 2, QS, FS[:, None]), ValueError, r"feature_scales: .*\[5\].*\[5, 1\]"),
    ],
)
def test_refusals_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_integers_of_numpy_count():
    assert_same_bits(topk(Q, F, np.int64(2))[1], topk(Q, F, 2)[1])


def test_numpy_bfloat16():
    x = np.random.default_rng(0).normal(size=(5, 7)).astype(ml_dtypes.bfloat16)
    wide = torch.from_numpy(x.astype(np.float32))
    assert_same_bits(torch.from_numpy(scores(x, x)), scores(wide.bfloat16(), wide.bfloat16()))

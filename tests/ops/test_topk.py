"""topk: against a stable sort of all scores, ties and NaN included, and its contract."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fimo_fast import reference
from fimo_fast.ops import topk
from fimo_fast.testing import assert_same_bits, count_kernel_calls

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]

# queries, features, dim, k: around the tiles (128 queries, 240 features) and the register tiles.
SIZES = [
    (1, 1, 1, 1),
    (1, 10, 5, 10),
    (5, 1000, 33, 7),
    (17, 2000, 40, 600),
    (130, 500, 300, 3),
    (3, 241, 0, 241),
    (33, 241, 8, 240),
]


def integers(*shape, dtype=torch.float32):
    """Small integers: sums are exact in every order, and ties are everywhere."""
    return torch.randint(-2, 3, shape).to(dtype)


def check(queries, features, k):
    with count_kernel_calls() as calls:
        values, indices = topk(queries, features, k)
    assert calls["topk"] == 1
    expected_values, expected_indices = reference.topk(queries, features, k)
    assert_same_bits(values + 0.0, expected_values + 0.0)  # + 0.0: a zero sum may have either sign
    assert_same_bits(indices, expected_indices)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_matches_a_stable_sort(isa, size, dtype):
    m, n, d, k = size
    check(integers(m, d, dtype=dtype), integers(n, d, dtype=dtype), k)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_threads_do_not_change_the_result(isa, with_threads, size):
    m, n, d, k = size
    queries, features = torch.randn(m, d), torch.randn(n, d)
    values, indices = with_threads(1, topk, queries, features, k)
    for threads in (2, 5):
        other_values, other_indices = with_threads(threads, topk, queries, features, k)
        assert_same_bits(other_values, values)
        assert_same_bits(other_indices, indices)


def test_values_are_the_scores_of_the_indices(isa):
    queries, features = torch.randn(40, 70), torch.randn(900, 70)
    values, indices = topk(queries, features, 25)
    scores = queries.double() @ features.double().T
    torch.testing.assert_close(values.double(), scores.gather(1, indices), rtol=1e-5, atol=1e-4)
    assert (values[:, 1:] <= values[:, :-1]).all()
    # Nothing left out beats the last one kept.
    left = scores.scatter(1, indices, -torch.inf).max(1).values
    assert (left <= values[:, -1] + 1e-4).all()


def test_results_do_not_depend_on_the_neighbours(isa):
    queries, features = torch.randn(140, 70), torch.randn(900, 70)
    values, indices = topk(queries, features, 5)
    for q in (0, 57, 139):
        alone = topk(queries[q : q + 1], features, 5)
        assert_same_bits(alone[0], values[q : q + 1])
        assert_same_bits(alone[1], indices[q : q + 1])


def test_nan_ranks_first_and_infinities_in_place(isa):
    features = torch.arange(600.0)[:, None]
    special = {3: "nan", 250: "inf", 400: "nan", 550: "-inf", 599: "nan"}
    for row, value in special.items():
        features[row] = float(value)
    queries = torch.ones(2, 1)
    for k in (1, 3, 5, 600):
        values, indices = topk(queries, features, k)
        expected = reference.topk(queries, features, k)
        assert_same_bits(values, expected[0])
        assert_same_bits(indices, expected[1])
    assert indices[0, :4].tolist() == [3, 400, 599, 250] and indices[0, -1] == 550


def test_minus_infinity_fills_lists(isa):
    check(torch.ones(1, 1), torch.full((300, 1), -torch.inf), 4)
    check(torch.ones(1, 1), torch.full((300, 1), torch.nan), 4)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_list_of_values(data):
    values = data.draw(
        st.lists(st.sampled_from([0.0, 1.0, -1.0, 2.5, np.nan, np.inf, -np.inf]), min_size=1, max_size=700)
    )
    k = data.draw(st.integers(1, len(values)))
    check(torch.ones(1, 1, dtype=torch.float64), torch.tensor(values, dtype=torch.float64)[:, None], k)


def test_any_stride_is_read(isa):
    wide_queries, wide_features = integers(8, 60), integers(500, 60)
    check(wide_queries[::2, 10:30], wide_features[::3, 10:30], 5)
    check(wide_queries[:, ::2], wide_features[:, ::2], 5)
    check(wide_queries[:1].expand(4, 60), wide_features[:1].expand(300, 60), 5)


def test_memory_stays_far_below_the_score_matrix():
    # 2000 x 300000 scores would be 2.4 GB; what the call adds to the peak is read from the process.
    import resource

    queries, features = torch.randn(2000, 2), torch.randn(300_000, 2)
    topk(queries[:1], features, 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    topk(queries, features, 4)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_empty_queries():
    values, indices = topk(torch.zeros(0, 5), torch.zeros(10, 5), 3)
    assert values.shape == indices.shape == (0, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_numpy_arrays_give_numpy_arrays(dtype):
    queries, features = integers(4, 6).numpy().astype(dtype), integers(50, 6).numpy().astype(dtype)
    values, indices = topk(queries, features, 3)
    assert isinstance(values, np.ndarray) and isinstance(indices, np.ndarray)
    expected = topk(torch.from_numpy(queries), torch.from_numpy(features), 3)
    assert_same_bits(torch.from_numpy(values), expected[0])
    assert_same_bits(torch.from_numpy(indices), expected[1])


Q, F = torch.zeros(2, 3), torch.zeros(5, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: topk(Q, F, 0), ValueError, "k: .* 5, got 0"),
        (lambda: topk(Q, F, 6), ValueError, "k: .* 5, got 6"),
        (lambda: topk(Q, F[:0], 1), ValueError, "k: .* 0, got 1"),
        (lambda: topk(Q, F[:, :2], 1), ValueError, r"features: .*3 like queries.*\[5, 2\]"),
        (lambda: topk(Q, F.half(), 1), TypeError, "features: .*float32.*float16"),
        (lambda: topk(Q[0], F, 1), ValueError, r"queries: .*got \[3\]"),
        (lambda: topk(Q, F.clone().requires_grad_(), 1), RuntimeError, "features: requires grad"),
    ],
)
def test_refusals_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_is_a_proper_torch_op():
    torch.library.opcheck(torch.ops.fimo_fast.topk.default, (torch.randn(2, 3), torch.randn(5, 3), 2))


def test_compiles_without_graph_breaks():
    queries, features = torch.randn(2, 3), torch.randn(50, 3)

    def step(queries, features):
        values, indices = topk(queries, features, 4)
        return values + 1, indices

    values, indices = torch.compile(step, fullgraph=True, backend="aot_eager")(queries, features)
    expected = topk(queries, features, 4)
    assert_same_bits(values, expected[0] + 1)
    assert_same_bits(indices, expected[1])

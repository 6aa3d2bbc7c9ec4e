"""scores and topk: against exact integers and a stable sort, int8, ties and NaN."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fimo_fast.ops import reference, scores, topk
from fimo_fast.testing import assert_same_bits, available_isas, count_kernel_calls, force_isa, sum_tolerance

FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
DTYPES = [*FLOATS, torch.int8]

# queries, features, dim, k: around the tiles (8 few, 128 queries, 240 features) and the register tiles.
SIZES = [
    (1, 1, 1, 1),
    (1, 10, 5, 10),
    (5, 1000, 33, 7),
    (7, 97, 1100, 9),  # few queries, depth over several parts
    (8, 245, 2100, 4),  # and too many for the first-level cache
    (9, 300, 7, 4),
    (17, 2000, 40, 600),
    (130, 500, 300, 3),
    (300, 7, 97, 5),  # few features
    (3, 241, 0, 241),
    (33, 241, 8, 240),
]


def integers(*shape, dtype=torch.float32):
    """Small integers: sums are exact in every order, and ties are everywhere."""
    return torch.randint(-2, 3, shape).to(dtype)


def scales_for(dtype, m, n):
    """Scales of queries and features for int8, a negative and a zero one among them; nothing otherwise."""
    if dtype != torch.int8:
        return ()
    scales = torch.randn(m), torch.randn(n)
    scales[1][n // 2 :: 3] = 0.0
    return scales


def check(queries, features, k, *scales):
    with count_kernel_calls() as calls:
        every = scores(queries, features, *scales)
        values, indices = topk(queries, features, k, *scales)
    assert calls["scores"] == 1 and calls["topk"] == 1
    # + 0.0: a zero sum may have either sign
    assert_same_bits(every + 0.0, reference.scores(queries, features, *scales) + 0.0)
    expected_values, expected_indices = reference.topk(queries, features, k, *scales)
    assert_same_bits(values + 0.0, expected_values + 0.0)
    assert_same_bits(indices, expected_indices)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_matches_a_stable_sort(isa, size, dtype):
    m, n, d, k = size
    check(integers(m, d, dtype=dtype), integers(n, d, dtype=dtype), k, *scales_for(dtype, m, n))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_width(isa, dtype):
    # Around the lanes and steps of every instruction set, in each of the three sizes.
    for width in (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65):
        for m, n, d in ((3, 11, width), (11, 12, width), (3, width, 19), (width, 13, 19), (12, width, 19)):
            scales = scales_for(dtype, m, n)
            queries, features = integers(m, d, dtype=dtype), integers(n, d, dtype=dtype)
            with count_kernel_calls() as calls:
                actual = scores(queries, features, *scales)
            assert calls["scores"] == 1
            assert_same_bits(actual + 0.0, reference.scores(queries, features, *scales) + 0.0)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_random_numbers_within_rounding(isa, size, dtype):
    m, n, d, _ = size
    queries, features = torch.randn(m, d).to(dtype), torch.randn(n, d).to(dtype)
    actual = scores(queries, features)
    assert actual.dtype == reference.accumulator(dtype)
    exact = queries.double() @ features.double().T
    root = (queries.double().square() @ features.double().square().T).sqrt()
    assert ((actual - exact).abs() <= sum_tolerance(actual.dtype, d) * root).all()


@pytest.mark.parametrize("shape", [(2, 5, 70_000), (11, 5, 70_000), (20, 30, 33_000)], ids=str)
def test_int8_is_exact_beyond_32_bits(isa, shape):
    m, n, d = shape
    queries = torch.full((m, d), -128, dtype=torch.int8)
    features = torch.full((n, d), -128, dtype=torch.int8)
    features[::2] = torch.randint(-128, 128, (1, d), dtype=torch.int8)
    exact = queries.double() @ features.double().T
    ones = torch.ones(m), torch.ones(n)
    assert exact.max() == 2.0**14 * d
    assert_same_bits(scores(queries, features, *ones), exact.float())
    scales = torch.rand(m), torch.rand(n)
    assert_same_bits(
        scores(queries, features, *scales), (exact * (scales[0].double()[:, None] * scales[1].double())).float()
    )


@pytest.mark.parametrize("rows", [2, 40])
def test_every_pair_of_int8_values(isa, rows):
    values = torch.arange(-128, 128, dtype=torch.int8)
    queries = values.repeat_interleave(256)[None].repeat(rows, 1)
    features = values.repeat(256)[None].repeat(40, 1)
    features += torch.arange(40, dtype=torch.int8)[:, None]  # wraps: other pairs in each row
    check(queries, features, 3, torch.ones(rows), torch.ones(40))


def test_scales_follow_ieee(isa):
    queries, features = torch.ones(3, 4, dtype=torch.int8), torch.ones(50, 4, dtype=torch.int8)
    features[7] = 0
    feature_scales = torch.ones(50)
    feature_scales[3], feature_scales[5], feature_scales[7] = torch.nan, torch.inf, torch.inf
    query_scales = torch.tensor([1.0, -1.0, 1e-45])
    check(queries, features, 50, query_scales, feature_scales)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_topk_has_the_bits_of_scores(isa, size, dtype):
    m, n, d, k = size
    queries, features = (torch.randn(rows, d).mul(20).to(dtype) for rows in (m, n))
    scales = scales_for(dtype, m, n)
    every = scores(queries, features, *scales)
    values, indices = topk(queries, features, k, *scales)
    assert_same_bits(values, every.gather(1, indices))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_instruction_sets_with_fma_give_the_same_bits(size, dtype):
    m, n, d, _ = size
    queries, features = torch.randn(m, d).to(dtype), torch.randn(n, d).to(dtype)
    results = []
    for name in available_isas():
        if name != "scalar":
            with force_isa(name):
                results.append(scores(queries, features))
    for other in results[1:]:
        assert_same_bits(other, results[0])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_threads_do_not_change_the_result(isa, with_threads, size, dtype):
    m, n, d, k = size
    queries, features = (torch.randn(rows, d).mul(20).to(dtype) for rows in (m, n))
    scales = scales_for(dtype, m, n)
    values, indices = with_threads(1, topk, queries, features, k, *scales)
    every = with_threads(1, scores, queries, features, *scales)
    for threads in (2, 5):
        assert_same_bits(with_threads(threads, scores, queries, features, *scales), every)
        other_values, other_indices = with_threads(threads, topk, queries, features, k, *scales)
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


@pytest.mark.parametrize(("m", "n"), [(8, 900), (140, 900), (900, 5)])
def test_results_do_not_depend_on_the_neighbours(isa, m, n):
    queries, features = torch.randn(m, 700), torch.randn(n, 700)
    every = scores(queries, features)
    order, other = torch.randperm(m), torch.randperm(n)
    assert_same_bits(scores(queries[order], features[other]), every[order][:, other])
    for q in (0, m // 2, m - 1):
        alone = scores(queries[q].expand(m, 700), torch.zeros(n, 700).index_copy(0, other[:3], features[other[:3]]))
        assert_same_bits(alone[0, other[:3]], every[q, other[:3]])


@pytest.mark.parametrize(("m", "n", "d"), [(3, 50, 13), (20, 50, 13), (20, 5, 13), (3, 300, 1100)])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_special_values_stay_in_their_row_and_column(isa, m, n, d, value):
    queries, features = integers(m, d), integers(n, d)
    clean = scores(queries, features)
    for at in (0, d // 2, d - 1):
        queries[1, at], features[2, at] = value, value
    actual = scores(queries, features)
    assert_same_bits(actual + 0.0, reference.scores(queries, features) + 0.0)
    mask = torch.ones(m, n, dtype=torch.bool)
    mask[1], mask[:, 2] = False, False
    assert_same_bits(actual[mask], clean[mask])
    assert not actual[1].isfinite().all() and not actual[:, 2].isfinite().all()


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


@settings(max_examples=80, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(DTYPES), name=st.sampled_from(available_isas()))
def test_any_shape_and_stride_is_read(data, dtype, name):
    m, n, d = (data.draw(st.integers(1, most)) for most in (20, 300, 80))
    first, step, gap = (data.draw(st.integers(low, 5)) for low in (0, 1, 0))
    queries, features = (
        integers(step * rows, first + d + gap, dtype=dtype)[::step, first : first + d] for rows in (m, n)
    )
    scales = tuple(s.repeat_interleave(step)[::step] for s in scales_for(dtype, m, n))
    with force_isa(name):
        check(queries, features, data.draw(st.integers(1, n)), *scales)


def test_strided_and_expanded_rows(isa):
    wide_queries, wide_features = integers(8, 60), integers(500, 60)
    check(wide_queries[:, ::2], wide_features[:, ::2], 5)
    check(wide_queries[:1].expand(4, 60), wide_features[:1].expand(300, 60), 5)
    assert_same_bits(scores(wide_queries.T, wide_queries.T), wide_queries.T.contiguous() @ wide_queries)


def test_memory_stays_far_below_the_score_matrix():
    # 2000 x 300000 scores would be 2.4 GB; what the call adds to the peak is read from the process.
    import resource

    queries, features = torch.randn(2000, 2), torch.randn(300_000, 2)
    topk(queries[:1], features, 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    topk(queries, features, 4)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB

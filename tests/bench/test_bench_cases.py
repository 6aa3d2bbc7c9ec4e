"""The cases: fewest bytes and operations by hand, checks that catch wrong kernels, baselines that do the same."""

import dataclasses

import numpy as np
import pytest
import torch
from bench_helpers import SMALL

from fimo_fast import bench, ops
from fimo_fast.bench.baselines import peers
from fimo_fast.bench.case import Unavailable, WrongResult, size_in_words
from fimo_fast.bench.operations import outer, outer_project, overhead, project, rows_project, scores
from fimo_fast.ops import reference

CPU = torch.device("cpu")
F32, F64, BF16, INT8 = torch.float32, torch.float64, torch.bfloat16, torch.int8


@pytest.mark.parametrize(
    ("case", "moved", "operations", "bound"),
    [
        # 3 x 5000 read, 3 x 96 written. Scale, sign-free additions of 7 Hadamard stages and of the blocks: 9 a number.
        (project.case("SRHT", 3, 5000, 96, F32), 4 * (15_000 + 288), 15_000 * 9, "read"),
        (project.case("SRHT", 3, 5000, 128, BF16), 2 * 15_000 + 4 * 384, 15_000 * 9, "read"),
        (project.case("SJLT-1", 3, 5000, 96, F64), 8 * (15_000 + 288), 15_000 * 2, "read"),
        (project.case("SJLT-4", 3, 5000, 96, F32), 4 * (15_000 + 288), 15_000 * 5, "read"),
        (project.case("Rademacher", 3, 5000, 96, F32), 4 * (15_000 + 288), 2 * 15_000 * 96, "sgemm"),
        # 5 x 3 tokens of 12 and 10 numbers, each by 2 x 4 operations to 4; sums of 3 products for 16 numbers.
        (outer_project.case("LoGra Rademacher", 5, 3, 12, 10, 16, F32), 4 * (330 + 80), 5 * (3 * 176 + 80), "read"),
        (outer_project.case("LoGra Rademacher", 5, 3, 64, 64, 256, F32), 4 * 3200, 5 * (3 * 4096 + 1280), "sgemm"),
        # Scale, two stages, the sum of blocks: 4 operations a number.
        (outer_project.case("LoGra SRHT", 5, 3, 12, 10, 16, BF16), 2 * 330 + 4 * 80, 5 * (3 * 88 + 80), "read"),
        # One number of 16 is kept: of every cache line of float32, of every second one of float64.
        (outer_project.case("LoGra Mask", 5, 1, 64, 64, 16, F32), 4 * (640 + 80), 5 * (8 + 16), "read"),
        (outer_project.case("LoGra Mask", 5, 1, 64, 64, 16, F64), 8 * (320 + 80), 5 * (8 + 16), "read"),
        # One number of every two rows of G is kept: a cache line of a and both of delta.
        (outer_project.case("Mask", 5, 3, 16, 32, 16, F32), 4 * (15 * 48 + 80), 5 * (5 * 16 + 16), "read"),
        # Both factors of a token: 22 signs and additions, two transforms of 4 stages; the transform of the sum.
        (outer_project.case("TensorSketch", 5, 2, 12, 10, 16, F32), 4 * (220 + 80), 5 * (2 * 172 + 48 + 80), "read"),
        # 8 numbers of each factor, two of each cache line; 64 products, each with a sign to one of 16.
        (outer_project.case("FactGraSS", 5, 1, 64, 64, 16, F32), 4 * (640 + 80), 5 * (16 + 64 + 128), "read"),
        # 5 x 9 indices and 12 numbers each; 4 stages, scale, the sum of blocks: 6 operations a number.
        (rows_project.case("SRHT", 5, 9, 20, 12, 16, F32), 8 * 45 + 4 * (540 + 80), 540 * 6, "read"),
        (rows_project.case("SJLT-1", 5, 9, 20, 12, 16, BF16), 8 * 45 + 2 * 540 + 4 * 80, 540 * 2, "read"),
        # One token: 40 x 40 pairs of inner products of lengths 6 and 5. Factors of both batches, [40, 40] written.
        (outer.dot_case("", 40, 1, 6, 5, F32), 4 * (2 * 40 * 11 + 1600), 2 * 1600 * 11, "sgemm"),
        # 30 tokens: factored 9 x 900 x 11 = 89,100 multiply-adds; formed (90 + 90 + 9) x 30 = 5,670.
        (outer.dot_case("", 3, 30, 6, 5, F32), 4 * (2 * 90 * 11 + 9), 2 * 5670, "sgemm"),
        # One token: norms of a and delta, then nothing that counts.
        (outer.norm_case("", 40, 1, 6, 5, F32), 4 * (40 * 11 + 40), 2 * 40 * 11, "read"),
        # 30 tokens: half a Gram matrix 3 x 465 x 11 = 15,345; formed 3 x 31 x 30 = 2,790 multiply-adds, 1.4 a byte.
        (outer.norm_case("", 3, 30, 6, 5, F32), 4 * (90 * 11 + 3), 2 * 2790, "read"),
        (outer.norm_case("", 3, 200, 64, 64, F32), 4 * (600 * 128 + 3), 2 * 3 * 201 * 4096, "sgemm"),
        # 53 vectors of 7 read; 3 x 20 values and 8-byte indices written.
        (scores.topk_case(3, 50, 7, F32), 4 * 53 * 7 + 60 * 12, 2 * 150 * 7, "read"),
        (scores.topk_case(70, 50, 7, BF16), 2 * 120 * 7 + 1400 * 12, 2 * 3500 * 7, "sgemm"),
        # int8 vectors have a scale each. All scores are written.
        (scores.topk_case(3, 50, 7, INT8), 53 * (7 + 4) + 60 * 12, 2 * 150 * 7, "read"),
        (scores.scores_case(3, 50, 7, INT8), 53 * (7 + 4) + 4 * 150, 2 * 150 * 7, "read"),
        (scores.scores_case(70, 50, 7, F64), 8 * 120 * 7 + 8 * 3500, 2 * 3500 * 7, "sgemm"),
        (overhead.case("project", "torch", F32), 0, 0, "call"),
    ],
    ids=str,
)
def test_floors(case, moved, operations, bound):
    assert (case.moved, case.operations, case.bound) == (moved, operations, bound)


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_kernels_pass_their_checks(case):
    case.checked(case.inputs(CPU))


def wrong(result):
    """The result with one number in the last row changed by a tenth of the largest, in the type it has."""
    if isinstance(result, tuple):
        return (wrong(result[0]), *result[1:])
    changed = result.copy() if isinstance(result, np.ndarray) else result.clone()
    last = changed[-1:].reshape(-1)
    last[-1] += 0.1 * abs(changed).max()
    return changed


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_checks_catch_a_wrong_number(case, monkeypatch):
    inputs = case.inputs(CPU)
    if case.operation == "project":
        monkeypatch.setattr(project, "project", lambda grads, sketch: wrong(ops.project(grads, sketch)))
        changed = case
    else:
        changed = dataclasses.replace(case, kernel=lambda *given: wrong(case.kernel(*given)))
    with pytest.raises(WrongResult, match=case.operation):
        changed.checked(inputs)


def test_a_sketch_that_forgets_the_end_of_its_input_is_caught(monkeypatch):
    monkeypatch.setattr(project, "project", lambda grads, sketch: ops.project(grads[:, :-8], sketch, 0))
    case = project.case("SJLT-1", 3, 5000, 96, F32)
    with pytest.raises(WrongResult, match="relative error"):
        case.checked(case.inputs(CPU))


def test_a_timed_result_of_wrong_size_is_caught():
    # The windows are computed by calls of their own; the norms see the result that is timed.
    case = project.case("SRHT", 3, 5000, 96, F32)
    inputs = case.inputs(CPU)
    result = case.kernel(*inputs)
    case.check(inputs, result)
    with pytest.raises(AssertionError, match="squared norms"):
        case.check(inputs, 2 * result)


def test_equal_features_may_come_in_any_order():
    case = scores.topk_case(2, 30, 7, F32)
    queries, features = case.inputs(CPU)
    features[1] = features[0]
    values, indices = case.kernel(queries, features)
    indices[indices == 0] = 1
    case.check((queries, features), (values, indices))


@pytest.mark.parametrize("kind", outer_project.KINDS)
def test_sketches_of_outer_products_are_checked_against_the_definition(kind):
    a, delta = torch.randn(4, 3, 12, dtype=F64), torch.randn(4, 3, 10, dtype=F64)
    sketch = outer_project.KINDS[kind](12, 10, 16)
    expected = reference.outer_project(a, delta, sketch)
    torch.testing.assert_close(outer_project.expected_sketches(a, delta, sketch), expected)


@pytest.mark.parametrize("case", [c for c in SMALL if c.operation not in ("project", "overhead")], ids=str)
def test_torch_baselines_compute_the_same(case):
    inputs = case.inputs(CPU)
    for name, baseline in case.baselines.items():
        if baseline.kind == "torch" and not (case.dtype == BF16 and name in ("torch matmul", "torch matmul, topk")):
            case.check(inputs, baseline.prepare(inputs)())


@pytest.mark.parametrize("dtype", [F32, BF16])
@pytest.mark.parametrize("kind", [kind for kind in project.KINDS if kind != "GraSS"])  # two calls of others
def test_torch_sketches_keep_inner_products(kind, dtype):
    # Their own random numbers, so equality is statistical: the error of a cosine is about 1/sqrt(sketch_dim) = 0.04.
    sketch_dim = 500
    case = project.case(kind, 2, 3000, sketch_dim, dtype)
    (grads,) = case.inputs(CPU)
    grads[1] = 0.6 * grads[0] + 0.8 * grads[1]
    (baseline,) = (r for r in case.baselines.values() if r.kind == "torch")
    assert baseline.share == 1
    x, y = baseline.prepare((grads,))().double() / (sketch_dim**0.5 if kind in ("Rademacher", "Gaussian") else 1)
    a, b = grads.double()
    assert x.shape == (sketch_dim,)
    assert (x @ x / (a @ a)).item() == pytest.approx(1, abs=0.3)
    assert (x @ y / (x.norm() * y.norm()) - a @ b / (a.norm() * b.norm())).abs() < 0.2


def test_quantized_inputs_are_those_of_quantize(monkeypatch):
    monkeypatch.setattr(scores, "_ROWS", 16)
    torch.manual_seed(5)
    codes, scales = scores._quantized(50, 7, CPU)
    torch.manual_seed(5)
    made = [ops.quantize(torch.randn(rows, 7)) for rows in (16, 16, 16, 2)]
    assert torch.equal(codes, torch.cat([c for c, _ in made])) and torch.equal(scales, torch.cat([s for _, s in made]))


def test_integer_products_that_torch_refuses_are_reported(monkeypatch):
    def refuse(*_):
        raise RuntimeError("int8 is not implemented\nwhere")

    monkeypatch.setattr(torch, "_int_mm", refuse)
    case = scores.scores_case(3, 50, 7, INT8)
    with pytest.raises(Unavailable, match="^torch._int_mm: int8 is not implemented$"):
        case.baselines["torch _int_mm"].prepare(case.inputs(CPU))


def test_dense_baselines_do_the_share_they_say():
    case = project.case("Rademacher", 2, 160_000, 64, F32)
    torch_baseline = case.baselines["torch signs and product"]
    assert torch_baseline.share == case.baselines["stored matrix product"].share == 16_384 / 160_000
    assert case.baselines["TRAK BasicProjector"].share == 1  # 64 outputs are less than two of its blocks
    assert project.case("Rademacher", 2, 160, 2048, F32).baselines["dattri BasicProjector"].share == 200 / 2048


def test_missing_libraries_are_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    case = scores.topk_case(3, 50, 7, F32)
    with pytest.raises(Unavailable, match="faiss"):
        case.baselines["FAISS IndexFlatIP"].prepare(case.inputs(CPU))
    with pytest.raises(Unavailable, match="nowhere is not installed"):
        peers.imported("fimo_fast_nowhere.inside", "nowhere")


def test_every_operation_has_cases_of_its_dtypes():
    for name, operation in bench.OPERATIONS.items():
        assert {c.dtype for c in bench.cases(name)} == set(operation.default)
        assert all(c.operation == name for c in bench.cases(name))
        assert {c.dtype for c in bench.cases(name, (BF16,))} == {BF16}
        assert list(bench.cases(name, (torch.int64,))) == []
        assert len(list(bench.cases(name, full=True))) >= len(list(bench.cases(name)))
        labels = [str(c) for full in (False, True) for c in bench.cases(name, operation.supported, full)]
        assert len(set(labels)) >= len(labels) // 2
    assert {c.sizes["sketch_dim"] for c in bench.cases("project", full=True)} == {512, 2048, 8192}


def test_numbers_in_names():
    assert [size_in_words(n) for n in (512, 9000, 20_000, 20_001, 10**6, 1_500_000)] == [
        "512", "9000", "20k", "20001", "1M", "1500k",
    ]  # fmt: skip

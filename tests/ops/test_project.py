"""project: against the dense matrix of the definition, and to the bit against a sequential sum."""

import zlib
from fractions import Fraction

import numpy as np
import pytest
import torch
from op_sketches import kind, vector_sketches

from fimo_fast.ops import project, reference, sketch_matrices
from fimo_fast.sketch import SJLT, SRHT, Composition, Gaussian, Mask, Rademacher
from fimo_fast.testing import assert_same_bits, available_isas, count_kernel_calls, force_isa, sum_tolerance

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


# Lengths around the lanes, tiles and blocks of the kernels; sketch sizes with and without subsampling.
SIZES = [
    (1, 1),
    (7, 3),
    (97, 8),
    (257, 33),
    (1000, 128),
    (777, 129),
    pytest.param((4100, 1000), marks=pytest.mark.slow),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_matches_the_dense_matrix(isa, size, dtype):
    for batch in (1, 5, 17):
        grads = torch.randn(batch, size[0]).to(dtype)
        for sketch in vector_sketches(*size):
            with count_kernel_calls() as calls:
                actual = project(grads, sketch)
            assert calls["project"] == 1
            assert actual.dtype == reference.accumulator(dtype)
            expected = reference.project(grads.double(), sketch)
            error = (actual - expected).abs().max() / grads.double().norm(dim=1).max()
            assert error <= sum_tolerance(actual.dtype, size[0]), sketch


def fused(a, b, c):
    """a * b + c with one rounding, elementwise."""
    if a.dtype == np.float64:
        terms = zip(a.tolist(), b.tolist(), c.tolist(), strict=True)
        return np.array([float(Fraction(p) * Fraction(q) + Fraction(r)) for p, q, r in terms])
    # The product is exact in float64. The sum is rounded twice, which matters in one of 2^29 cases.
    return (a.astype(np.float64) * b + c).astype(np.float32)


def sequential(grads, sketch):
    """The definition's order of additions, in NumPy scalars of the input's type."""
    x = grads.numpy()
    if isinstance(sketch, Mask):
        coordinates, lengths = sketch_matrices.mask_coordinates(sketch)
        return x[:, coordinates] * np.sqrt(np.array(lengths, np.float64)).astype(x.dtype)
    nonzeros = sketch.nonzeros if isinstance(sketch, SJLT) else sketch.sketch_dim
    x = x * x.dtype.type(1 / np.sqrt(np.float64(nonzeros)))
    out = np.zeros((len(x), sketch.sketch_dim), x.dtype)
    if isinstance(sketch, Gaussian):
        entries = sketch_matrices._gaussian_entries(sketch, torch.arange(sketch.input_dim)).numpy().astype(x.dtype)
        for row in range(len(x)):
            for j in range(sketch.input_dim):
                out[row] = fused(np.full(sketch.sketch_dim, x[row, j]), entries[:, j], out[row])
        return out
    if not isinstance(sketch, SRHT):
        signs = np.sign(sketch_matrices.sketch_matrix(sketch, 0, sketch.input_dim).numpy())
        for j in range(sketch.input_dim):
            for c in np.flatnonzero(signs[:, j]):
                out[:, c] += x[:, j] if signs[c, j] > 0 else -x[:, j]
        return out
    length, rows = sketch.block, sketch_matrices.srht_rows(sketch)
    for block in range(0, sketch.input_dim, length):
        matrix = sketch_matrices.sketch_matrix(sketch, block, block + length).numpy()
        y = np.zeros((len(x), length), x.dtype)
        y[:, : x[:, block : block + length].shape[1]] = x[:, block : block + length]
        # Row and column zero of a Hadamard matrix are +1: they show the signs on either side.
        first = [(-1) ** bin(row & j).count("1") for row in rows[:1] for j in range(length)]
        signs_in = np.sign(matrix[0]) * first  # times the sign of output 0
        signs_out = np.sign(matrix[:, 0]) * np.sign(matrix[0, 0])  # relative to output 0
        y *= (signs_in * np.sign(matrix[0, 0])).astype(x.dtype)
        h = 1
        while h < length:
            for i in range(0, length, 2 * h):
                a, b = y[:, i : i + h].copy(), y[:, i + h : i + 2 * h].copy()
                y[:, i : i + h], y[:, i + h : i + 2 * h] = a + b, a - b
            h *= 2
        # Both relative signs were divided by the same factor, which flips y exactly or not at all.
        out += y[:, rows] * (signs_out * np.sign(matrix[0, 0])).astype(x.dtype)
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "sketch",
    [*vector_sketches(150, 20), *vector_sketches(300, 64), SJLT(300, 64, nonzeros=1), SJLT(300, 64, nonzeros=4)],
    ids=repr,
)
def test_bits_are_those_of_the_definition(isa, sketch, dtype):
    grads = torch.randn(3, sketch.input_dim, dtype=dtype) * torch.logspace(-6, 6, sketch.input_dim)
    grads = grads.to(dtype)
    assert_same_bits(project(grads, sketch), torch.from_numpy(sequential(grads, sketch)))


@pytest.mark.parametrize(
    ("sketch", "pinned"),
    [
        (Rademacher(1000, 100, seed=3), 0x097BEBF3),
        (SJLT(1000, 100, nonzeros=3, seed=3), 0x9B5CBC60),
        (SRHT(1000, 100, seed=3), 0x33ECE2EA),
        (SRHT(5000, 2048, seed=2**64 - 1), 0xACEA6193),
        (Gaussian(1000, 100, seed=3), 0x11079190),
        (Mask(1000, 100, seed=3), 0xA078E3B2),
    ],
    ids=repr,
)
def test_bits_are_pinned(isa, sketch, pinned):
    # Stored features outlive versions of this library: these numbers may never change.
    numbers = torch.arange(3 * sketch.input_dim, dtype=torch.float64)
    grads = ((numbers * 7919 % 1000) / 8 - 61).float().reshape(3, -1) / 3
    assert zlib.crc32(project(grads, sketch).numpy().tobytes()) == pinned


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "sketch",
    [
        *vector_sketches(3000, 300),
        SRHT(5000, 4096),
        SRHT(9000, 8000),  # blocks longer than the part that is transformed in cache
        SRHT(140000, 70000),
        SRHT(70000, 300),  # more than one run of blocks
        SJLT(150000, 300, nonzeros=1),  # more than two chunks of nonzeros, which threads generate for each other
        SJLT(90000, 300, nonzeros=4),
        SJLT(2000, 40000, nonzeros=2),  # sums too large for groups of rows
    ],
    ids=repr,
)
def test_bits_depend_on_nothing_but_the_vector(with_threads, sketch, dtype):
    grads = torch.randn(21, sketch.input_dim).to(dtype)
    with force_isa("scalar"):
        expected = with_threads(1, project, grads, sketch)
    for name in available_isas():
        with force_isa(name):
            for threads in (1, 2, 5):
                assert_same_bits(with_threads(threads, project, grads, sketch), expected)
            rows = [project(grads[i : i + n], sketch) for i, n in ((0, 1), (1, 4), (5, 16))]
            assert_same_bits(torch.cat(rows), expected)


@pytest.mark.parametrize("sketch", vector_sketches(5000, 300), ids=kind)
def test_slices_add_up_to_the_bits_of_the_whole(isa, sketch):
    grads = torch.randn(6, 5000)
    step = 2 * 512 if sketch.kind == "srht" else 777
    out = torch.zeros(6, 300)
    for begin in range(0, 5000, step):
        part = grads[:, begin : begin + step]
        assert project(part, sketch, offset=begin, out=out) is out
    assert_same_bits(out, project(grads, sketch))


COMPOSITIONS = [
    Composition(Mask(5000, 700, seed=1), SJLT(700, 300, seed=1)),
    Composition(SJLT(5000, 1024, seed=1, nonzeros=1), SRHT(1024, 300, seed=1)),
    Composition(Composition(Mask(5000, 900), SJLT(900, 512, nonzeros=2)), Gaussian(512, 300)),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sketch", COMPOSITIONS, ids=repr)
def test_compositions_apply_one_sketch_after_the_other(isa, sketch, dtype):
    grads = torch.randn(5, 5000).to(dtype)
    result = project(grads, sketch)
    assert_same_bits(result, project(project(grads, sketch.first), sketch.second))
    expected = reference.project(grads.double(), sketch)
    error = (result - expected).abs().max() / grads.double().norm(dim=1).max()
    assert error <= 4 * sum_tolerance(result.dtype, 5000)
    out = torch.ones_like(result)
    for begin in range(0, 5000, 777):
        project(grads[:, begin : begin + 777], sketch, begin, out)
    torch.testing.assert_close(out, result + 1, rtol=1e-4, atol=1e-4)


def test_slices_of_a_masked_sjlt_add_up_to_the_bits_of_the_whole(isa):
    sketch, grads = COMPOSITIONS[0], torch.randn(6, 5000)
    out = torch.zeros(6, 300)
    for begin in range(0, 5000, 777):
        project(grads[:, begin : begin + 777], sketch, begin, out)
    assert_same_bits(out, project(grads, sketch))


def test_a_tall_batch_is_cut_into_blocks_of_rows(with_threads):
    grads = torch.randn(1100, 300)
    for sketch in vector_sketches(300, 64):
        expected = torch.cat([project(part, sketch) for part in grads.split(97)])
        for threads in (1, 2):
            assert_same_bits(with_threads(threads, project, grads, sketch), expected)


def test_srht_slices_cut_anywhere_agree_up_to_rounding(isa):
    sketch = SRHT(5000, 300)
    grads = torch.randn(4, 5000)
    parts = [project(grads[:, b:e], sketch, offset=b) for b, e in ((0, 777), (777, 1500), (1500, 5000))]
    torch.testing.assert_close(sum(parts), project(grads, sketch), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sketch", vector_sketches(2**48, 100), ids=kind)
@pytest.mark.parametrize("offset", [2**32 - 150, 2**40 + 12345, 2**48 - 300])
def test_coordinates_are_64_bit(isa, sketch, offset):
    grads = torch.randn(2, 300)
    expected = reference.project(grads.double(), sketch, offset)
    torch.testing.assert_close(project(grads, sketch, offset).double(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("sketch", vector_sketches(2**48, 2**10), ids=kind)
def test_coordinates_around_the_carry_of_the_counter(isa, sketch):
    # The Philox index of SJLT and SRHT is a multiple or a fraction of the coordinate.
    for index in (2**32, 2**32 // 3 * 4, 2**32 * 128, 2**33):
        offset = index - index % 1024 - 1024
        grads = torch.randn(1, 2048)
        expected = reference.project(grads.double(), sketch, offset)
        actual = project(grads, sketch, offset).double()
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    "sketch", [s for s in vector_sketches(500, 40) if s.kind not in ("gaussian", "mask")], ids=kind
)
def test_columns_have_unit_norm(sketch):
    columns = project(torch.eye(500, dtype=torch.float64), sketch)
    torch.testing.assert_close(columns.square().sum(1), torch.ones(500, dtype=torch.float64))


@pytest.mark.parametrize("make", [Rademacher, SJLT, SRHT])
def test_inner_products_are_unbiased(make):
    x, y = torch.randn(2, 600, dtype=torch.float64)
    both = torch.stack([x, y])
    products = torch.stack([torch.prod(project(both, make(600, 48, seed=seed)), 0).sum() for seed in range(3000)])
    # Var <Sx, Sy> is about (|x|^2 |y|^2 + <x, y>^2) / sketch_dim for all three.
    standard_error = products.std() / 3000**0.5
    assert standard_error < 1.5 * x.norm() * y.norm() / (48 * 3000) ** 0.5
    assert (products.mean() - x @ y).abs() < 4 * standard_error


@pytest.mark.parametrize("sketch", vector_sketches(300, 16), ids=kind)
def test_is_linear(isa, sketch):
    x, y = torch.randn(2, 4, 300, dtype=torch.float64)
    torch.testing.assert_close(project(2 * x - 3 * y, sketch), 2 * project(x, sketch) - 3 * project(y, sketch))

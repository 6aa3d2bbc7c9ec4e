"""outer_project: against the dense matrix on formed gradients, and to the bit where that is promised."""

import functools
import zlib

import pytest
import torch
from op_sketches import OUTER, SLICED, outer_sketches

from fimo_fast.ops import outer_project, project, reference, sketch_matrices
from fimo_fast.sketch import SJLT, SRHT, Composition, Factored, Gaussian, Mask, Rademacher, TensorSketch
from fimo_fast.testing import assert_same_bits, available_isas, count_kernel_calls, force_isa, sum_tolerance

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
# Batch, tokens, n, m: one token and many, examples in one group and in several, tokens over several parts of 256.
SIZES = [(1, 1, 1, 1), (7, 1, 7, 97), (5, 3, 33, 8), (2, 300, 20, 9), (1, 1100, 9, 5), (67, 1, 97, 31), (3, 7, 4, 200)]


def factors(batch, tokens, n, m, dtype=torch.float32):
    return torch.randn(batch, tokens, n).to(dtype), torch.randn(batch, tokens, m).to(dtype)


@functools.cache
def matrix(sketch):
    return sketch_matrices.sketch_matrix(sketch, 0, sketch.input_dim)


def formed(a, delta):
    return torch.einsum("btm,btn->bmn", delta, a).flatten(1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", OUTER)
def test_matches_the_dense_matrix(isa, name, size, dtype):
    a, delta = factors(*size, dtype=dtype)
    sketch = outer_sketches(*size[2:])[name]
    with count_kernel_calls() as calls:
        actual = outer_project(a, delta, sketch)
    assert calls["outer_project"] == 1
    assert actual.dtype == reference.accumulator(dtype)
    expected = formed(a.double(), delta.double()) @ matrix(sketch).T
    scale = (a.double().square().sum((1, 2)) * delta.double().square().sum((1, 2))).sqrt()
    # The largest gain of a direction bounds what rounding errors of the gradient grow to.
    gain = max(1.0, torch.linalg.matrix_norm(matrix(sketch), 2).item())
    # The entries of a Gaussian are float32 numbers.
    precision = torch.float32 if "gaussian" in name else actual.dtype
    tolerance = sum_tolerance(precision, max(size[1], size[2] * size[3])) * gain * scale
    assert ((actual - expected).abs() <= tolerance[:, None]).all()


@pytest.mark.parametrize("name", OUTER)
def test_reference_is_the_definition(name):
    a, delta = factors(3, 4, 6, 5, dtype=torch.float64)
    sketch = outer_sketches(6, 5)[name]
    expected = formed(a, delta) @ matrix(sketch).T
    torch.testing.assert_close(reference.outer_project(a, delta, sketch), expected)


def test_reference_takes_factors_of_one_row_or_column():
    a, delta = torch.randn(3, 1), torch.randn(3, 1)
    sketch = Factored(SRHT(1, 2), Gaussian(1, 3, seed=1))
    torch.testing.assert_close(reference.outer_project(a, delta, sketch), outer_project(a, delta, sketch))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [(67, 1, 97, 31), (5, 3, 400, 300), (1, 600, 33, 20)], ids=str)
@pytest.mark.parametrize("name", ["rademacher", "gaussian", "sjlt", "srht"])
def test_sketches_of_vectors_have_the_bits_of_the_formed_gradient(isa, name, size, dtype):
    # Small integers add up without rounding: every way to form the gradient gives the same bits.
    a, delta = (torch.randint(-3, 4, x.shape).to(dtype) for x in factors(*size))
    sketch = outer_sketches(*size[2:], k=60)[name]
    gradient = formed(a.double(), delta.double()).to(reference.accumulator(dtype))
    assert_same_bits(outer_project(a, delta, sketch), project(gradient, sketch))


def test_tiles_are_cut_at_the_blocks_of_an_srht(isa):
    # Several tiles, whose borders are inside rows.
    n, m = 601, 1103
    a, delta = (torch.randint(-3, 4, x.shape).float() for x in factors(2, 1, n, m))
    for k in (3000, 40000):
        sketch = SRHT(n * m, k, seed=1)
        assert_same_bits(outer_project(a, delta, sketch), project(formed(a, delta), sketch))


def sliced(name, input_dim, n, m):
    """A sketch of more than one layer, and where in its input a layer may lie: in the way of a block, and of a mask."""
    sketch = outer_sketches(input_dim, 1, k=60)[name]
    offsets = [0, 1, 333, input_dim - m * n]
    if name in ("mask", "grass"):
        mask = sketch if name == "mask" else sketch.first
        kept = [j for j in sketch_matrices.mask_coordinates(mask)[0] if m * n < j <= input_dim - m * n]
        # The slice's first entry is kept, the last one is, and the one after it.
        offsets += [kept[7], kept[9] + 1 - m * n, kept[11] - m * n]
    return sketch, offsets


@pytest.mark.parametrize("input_dim", [5000, 2**31 + 5000, 2**40 + 5000], ids=str)
@pytest.mark.parametrize("name", SLICED)
def test_an_offset_is_that_of_project(isa, name, input_dim):
    a, delta = (torch.randint(-3, 4, x.shape).float() for x in factors(3, 2, 37, 29))
    gradient = formed(a, delta)
    sketch, offsets = sliced(name, input_dim, 37, 29)
    out = torch.randint(-9, 9, (3, sketch.sketch_dim)).float()
    for offset in offsets:
        assert_same_bits(outer_project(a, delta, sketch, offset), project(gradient, sketch, offset))
        expected = project(gradient, sketch, offset, out.clone())
        actual = outer_project(a, delta, sketch, offset, out.clone())
        torch.testing.assert_close(actual, expected)  # compositions: out joins the sum at another place
        if not isinstance(sketch, Composition):
            assert_same_bits(actual, expected)


def test_tiles_of_a_slice_are_cut_at_the_blocks_of_an_srht(isa):
    n, m = 601, 1103
    a, delta = (torch.randint(-3, 4, x.shape).float() for x in factors(2, 1, n, m))
    for k in (3000, 40000):
        sketch = SRHT(2 * n * m, k, seed=1)
        for offset in (3, sketch.block - 1, 5 * sketch.block):
            assert_same_bits(outer_project(a, delta, sketch, offset), project(formed(a, delta), sketch, offset))


@pytest.mark.parametrize("name", SLICED)
def test_layers_add_up_to_the_sketch_of_the_model(isa, with_threads, name):
    layers = [factors(5, 3, 20, 30), factors(5, 2, 7, 9), factors(5, 40, 31, 33)]
    model = torch.cat([formed(a, delta) for a, delta in layers], dim=1)
    sketch = outer_sketches(model.shape[1], 1, k=60)[name]

    def run(batch):
        out, offset = torch.zeros(5, sketch.sketch_dim)[batch], 0
        for a, delta in layers:
            outer_project(a[batch], delta[batch], sketch, offset=offset, out=out)
            offset += a.shape[-1] * delta.shape[-1]
        return out

    alone = with_threads(1, run, slice(None))
    torch.testing.assert_close(alone, project(model, sketch), atol=1e-4, rtol=1e-4)
    assert_same_bits(with_threads(5, run, slice(None)), alone)
    assert_same_bits(run(slice(2, 3)), alone[2:3])


@pytest.mark.parametrize("name", SLICED)
def test_reference_takes_an_offset(name):
    a, delta = factors(3, 2, 6, 5, dtype=torch.float64)
    sketch = outer_sketches(100, 1)[name]
    expected = formed(a, delta) @ matrix(sketch)[:, 37:67].T
    torch.testing.assert_close(reference.outer_project(a, delta, sketch, 37), expected)
    torch.testing.assert_close(outer_project(a, delta, sketch, 37), expected)


@pytest.mark.parametrize("name", OUTER)
@pytest.mark.parametrize("size", [(67, 1, 97, 31), (5, 3, 33, 8), (3, 600, 40, 30), (1, 1100, 9, 5)], ids=str)
def test_bits_depend_on_nothing_but_the_example(isa, with_threads, name, size):
    a, delta = factors(*size)
    sketch = outer_sketches(*size[2:])[name]
    expected = with_threads(1, outer_project, a, delta, sketch)
    for threads in (2, 5):
        assert_same_bits(with_threads(threads, outer_project, a, delta, sketch), expected)
        for b in {0, size[0] // 2, size[0] - 1}:
            alone = outer_project(a[b : b + 1], delta[b : b + 1], sketch)
            assert_same_bits(alone, expected[b : b + 1])


ISA_FREE = ["mask", "tensorsketch", "grass", "tensorsketch, srht"]  # no matrix product in them


@pytest.mark.parametrize("name", OUTER)
@pytest.mark.parametrize("tokens", [1, 3, 300])
def test_bits_and_instruction_sets(name, tokens):
    a, delta = factors(5, tokens, 97, 31)
    sketch = outer_sketches(97, 31)[name]
    results = {}
    for isa in available_isas():
        with force_isa(isa):
            results[isa] = outer_project(a, delta, sketch)
    if tokens > 1 and name not in ISA_FREE:
        del results["scalar"]  # sums of products without fused multiply-adds
    for other in results.values():
        assert_same_bits(other, next(iter(results.values())))


@pytest.mark.parametrize(
    ("sketch", "tokens", "pinned"),
    [
        (Mask(7000, 100, seed=3), 2, 0x73C8E5BC),
        (TensorSketch(100, 70, 256, seed=2**64 - 1), 2, 0x200799AE),
        (Composition(Mask(7000, 100, seed=3), SJLT(100, 30, seed=4)), 2, 0xCAC3163E),
        (Factored(SRHT(100, 20, seed=5), Rademacher(70, 10, seed=6)), 1, 0x228134C1),
    ],
    ids=["mask", "tensorsketch", "grass", "factored"],
)
def test_bits_are_pinned(isa, sketch, tokens, pinned):
    # Stored features outlive versions of this library: these numbers may never change.
    numbers = torch.arange(3 * 2 * 150, dtype=torch.float64)
    a, delta = (((numbers * step % 1000) / 8 - 61).float().reshape(3, 2, 150) / 3 for step in (7919, 104729))
    result = outer_project(a[:, :tokens, :100], delta[:, :tokens, :70], sketch)
    assert zlib.crc32(result.numpy().tobytes()) == pinned


@pytest.mark.parametrize("size", [(1, 2), (3, 16), (16, 8), (257, 2048), (20000, 131072)], ids=str)
def test_transforms_of_all_lengths(isa, size):
    n, k = size
    for dtype in (torch.float32, torch.float64):
        a, delta = factors(2, 2, n, 3, dtype=dtype)
        sketch = TensorSketch(n, 3, k, seed=7)
        parts = [project(x.flatten(0, 1), s).reshape(2, 2, k) for x, s in zip((a, delta), sketch.factors, strict=True)]
        # Bucket c of the sum gets every pair with XOR c.
        expected = torch.zeros(2, k, dtype=dtype)
        places = torch.arange(k)
        for b, t, c in (parts[1] != 0).nonzero().tolist():
            expected[b, places ^ c] += parts[0][b, t] * parts[1][b, t, c]
        error = (outer_project(a, delta, sketch) - expected).abs().max()
        assert error <= sum_tolerance(dtype, k) * expected.norm(dim=1).max()


@pytest.mark.parametrize("name", OUTER)
def test_is_bilinear(isa, name):
    sketch = outer_sketches(12, 9)[name]
    (a, delta), (a2, _) = factors(4, 3, 12, 9, torch.float64), factors(4, 3, 12, 9, torch.float64)
    both = outer_project(2 * a - 3 * a2, delta, sketch)
    torch.testing.assert_close(both, 2 * outer_project(a, delta, sketch) - 3 * outer_project(a2, delta, sketch))
    # Tokens add up.
    tokens = sum(outer_project(a[:, t], delta[:, t], sketch) for t in range(3))
    torch.testing.assert_close(outer_project(a, delta, sketch), tokens)

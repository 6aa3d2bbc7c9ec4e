"""outer_project: against the dense matrix on formed gradients, to the bit where that is promised, and its contract."""

import functools
import warnings
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fimo_fast.ops import outer_project, project, reference, torch_cuda, torch_kernels
from fimo_fast.ops.sketch_args import from_args, sketch_dim, to_args
from fimo_fast.sketch import SJLT, SRHT, Composition, Factored, Gaussian, Mask, Rademacher, TensorSketch, VectorSketch
from fimo_fast.testing import assert_same_bits, available_isas, count_kernel_calls, force_isa, sum_tolerance

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
SEED = 2**64 - 59


def sketches(n, m, k=16):
    """Every way to sketch the outer product of m and n numbers."""
    d, ka, km = m * n, min(n, 5), min(m, 6)
    factors = Factored(Mask(n, ka, SEED), Mask(m, km, SEED - 1))
    return {
        "rademacher": Rademacher(d, k, SEED),
        "gaussian": Gaussian(d, k, SEED),
        "sjlt": SJLT(d, k, SEED, nonzeros=min(3, k)),
        "srht": SRHT(d, k + 3, SEED),
        "mask": Mask(d, min(d, k), SEED),
        "factored rademacher": Factored(Rademacher(n, ka, SEED), Rademacher(m, km, 1)),
        "factored gaussian": Factored(Gaussian(n, ka, SEED), Gaussian(m, km, 1)),
        "factored srht, sjlt": Factored(SRHT(n, ka, SEED), SJLT(m, km, 1, nonzeros=1)),
        "factored masks": factors,
        "tensorsketch": TensorSketch(n, m, 64, SEED),
        "grass": Composition(Mask(d, min(d, k), 1), SJLT(min(d, k), 5, 2, nonzeros=2)),
        "factgrass": Composition(factors, SJLT(ka * km, 7, 3, nonzeros=1)),
        "three stages": Composition(Composition(SJLT(d, k, 1, nonzeros=1), SRHT(k, 9, 2)), Rademacher(9, 4, 3)),
        "tensorsketch, srht": Composition(TensorSketch(n, m, 64, SEED), SRHT(64, 16, 4)),
    }


NAMES = list(sketches(2, 2))

# Batch, tokens, n, m: one token and many, examples in one group and in several, tokens over several parts of 256.
SIZES = [(1, 1, 1, 1), (7, 1, 7, 97), (5, 3, 33, 8), (2, 300, 20, 9), (1, 1100, 9, 5), (67, 1, 97, 31), (3, 7, 4, 200)]


def factors(batch, tokens, n, m, dtype=torch.float32):
    return torch.randn(batch, tokens, n).to(dtype), torch.randn(batch, tokens, m).to(dtype)


@functools.cache
def matrix(sketch):
    return reference.sketch_matrix(sketch, 0, sketch.input_dim)


def formed(a, delta):
    return torch.einsum("btm,btn->bmn", delta, a).flatten(1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_matches_the_dense_matrix(isa, name, size, dtype):
    a, delta = factors(*size, dtype=dtype)
    sketch = sketches(*size[2:])[name]
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


@pytest.mark.parametrize("name", NAMES)
def test_reference_is_the_definition(name):
    a, delta = factors(3, 4, 6, 5, dtype=torch.float64)
    sketch = sketches(6, 5)[name]
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
    sketch = sketches(*size[2:], k=60)[name]
    gradient = formed(a.double(), delta.double()).to(reference.accumulator(dtype))
    assert_same_bits(outer_project(a, delta, sketch), project(gradient, sketch))


def test_tiles_are_cut_at_the_blocks_of_an_srht(isa):
    # Several tiles, whose borders are inside rows.
    n, m = 601, 1103
    a, delta = (torch.randint(-3, 4, x.shape).float() for x in factors(2, 1, n, m))
    for k in (3000, 40000):
        sketch = SRHT(n * m, k, seed=1)
        assert_same_bits(outer_project(a, delta, sketch), project(formed(a, delta), sketch))


SLICED = ["rademacher", "gaussian", "sjlt", "srht", "mask", "grass", "three stages"]


def sliced(name, input_dim, n, m):
    """A sketch of more than one layer, and where in its input a layer may lie: in the way of a block, and of a mask."""
    sketch = sketches(input_dim, 1, k=60)[name]
    offsets = [0, 1, 333, input_dim - m * n]
    if name in ("mask", "grass"):
        mask = sketch if name == "mask" else sketch.first
        kept = [j for j in reference.mask_coordinates(mask)[0] if m * n < j <= input_dim - m * n]
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
    sketch = sketches(model.shape[1], 1, k=60)[name]

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
    sketch = sketches(100, 1)[name]
    expected = formed(a, delta) @ matrix(sketch)[:, 37:67].T
    torch.testing.assert_close(reference.outer_project(a, delta, sketch, 37), expected)
    torch.testing.assert_close(outer_project(a, delta, sketch, 37), expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(67, 1, 97, 31), (5, 3, 33, 8), (3, 600, 40, 30), (1, 1100, 9, 5)], ids=str)
def test_bits_depend_on_nothing_but_the_example(isa, with_threads, name, size):
    a, delta = factors(*size)
    sketch = sketches(*size[2:])[name]
    expected = with_threads(1, outer_project, a, delta, sketch)
    for threads in (2, 5):
        assert_same_bits(with_threads(threads, outer_project, a, delta, sketch), expected)
        for b in {0, size[0] // 2, size[0] - 1}:
            alone = outer_project(a[b : b + 1], delta[b : b + 1], sketch)
            assert_same_bits(alone, expected[b : b + 1])


ISA_FREE = ["mask", "tensorsketch", "grass", "tensorsketch, srht"]  # no matrix product in them


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tokens", [1, 3, 300])
def test_bits_and_instruction_sets(name, tokens):
    a, delta = factors(5, tokens, 97, 31)
    sketch = sketches(97, 31)[name]
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


@pytest.mark.parametrize("name", NAMES)
def test_is_bilinear(isa, name):
    sketch = sketches(12, 9)[name]
    (a, delta), (a2, _) = factors(4, 3, 12, 9, torch.float64), factors(4, 3, 12, 9, torch.float64)
    both = outer_project(2 * a - 3 * a2, delta, sketch)
    torch.testing.assert_close(both, 2 * outer_project(a, delta, sketch) - 3 * outer_project(a2, delta, sketch))
    # Tokens add up.
    tokens = sum(outer_project(a[:, t], delta[:, t], sketch) for t in range(3))
    torch.testing.assert_close(outer_project(a, delta, sketch), tokens)


@pytest.mark.parametrize("name", NAMES)
def test_layers_are_summed_in_one_out(isa, name):
    sketch = sketches(12, 9)[name]
    a, delta = factors(4, 3, 12, 9)
    before = torch.randn(4, sketch.sketch_dim)
    wide = torch.zeros(4, sketch.sketch_dim + 5)
    out = wide[:, 2:-3]
    out.copy_(before)
    assert outer_project(a, delta, sketch, out=out) is out
    torch.testing.assert_close(out, before + outer_project(a, delta, sketch))
    assert not wide[:, :2].any() and not wide[:, -3:].any()


@pytest.mark.parametrize("name", NAMES)
def test_any_stride_is_read(isa, name):
    sketch = sketches(15, 10)[name]
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


@pytest.mark.parametrize("name", NAMES)
def test_two_dimensions_mean_one_token(name):
    sketch = sketches(15, 10)[name]
    a, delta = factors(6, 1, 15, 10)
    assert_same_bits(outer_project(a[:, 0], delta[:, 0], sketch), outer_project(a, delta, sketch))


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(0, 20), st.integers(0, 9), st.integers(1, 40), st.integers(1, 40)),
    name=st.sampled_from(NAMES),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    steps=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    isa=st.sampled_from(available_isas()),
)
def test_any_shape(size, name, dtype, steps, isa):
    batch, tokens, n, m = size
    a, delta = factors(batch * steps[0], tokens * steps[1], n + 3, m + 1, dtype)
    a, delta = a[:: steps[0], :: steps[1], 3:], delta[:: steps[0], :: steps[1], 1:]
    sketch = sketches(n, m)[name]
    with force_isa(isa):
        actual = outer_project(a, delta, sketch)
    expected = reference.outer_project(a.double(), delta.double(), sketch)
    scale = a.double().norm() * delta.double().norm() * (n * m) ** 0.5 + 1e-300
    precision = torch.float32 if name == "gaussian" or "gaussian" in name else actual.dtype
    assert actual.shape == (batch, sketch.sketch_dim)
    assert ((actual - expected).abs() <= sum_tolerance(precision, n * m * max(tokens, 1)) * scale).all()


@pytest.mark.parametrize("name", NAMES)
def test_nan_stays_with_its_example(isa, name):
    sketch = sketches(12, 9)[name]
    a, delta = factors(5, 3, 12, 9)
    clean = outer_project(a, delta, sketch)
    a[2] = float("nan")
    result = outer_project(a, delta, sketch)
    assert result[2].isnan().any()
    assert_same_bits(result[[0, 1, 3, 4]], clean[[0, 1, 3, 4]])


@pytest.mark.parametrize("name", NAMES)
def test_empty_inputs(name):
    sketch = sketches(4, 5)[name]
    assert outer_project(*factors(0, 2, 4, 5), sketch).shape == (0, sketch.sketch_dim)
    assert_same_bits(outer_project(*factors(3, 0, 4, 5), sketch), torch.zeros(3, sketch.sketch_dim))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("name", NAMES)
def test_numpy_arrays_give_numpy_arrays(name, dtype):
    sketch = sketches(6, 7)[name]
    a, delta = (x.numpy().astype(dtype) for x in factors(4, 3, 6, 7))
    result = outer_project(a, delta, sketch)
    assert isinstance(result, np.ndarray)
    assert_same_bits(torch.from_numpy(result), outer_project(torch.from_numpy(a), torch.from_numpy(delta), sketch))
    out = np.zeros_like(result)
    assert outer_project(a, delta, sketch, out=out) is out
    assert np.array_equal(out, result)
    assert np.array_equal(outer_project(a[:, 0], delta[:, 0], sketch), outer_project(a[:, :1], delta[:, :1], sketch))
    if name in SLICED:
        longer = sketches(100, 1)[name]
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


@pytest.mark.parametrize("name", NAMES)
def test_flat_arguments_round_trip(name):
    sketch = sketches(12, 9)[name]
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
        torch_kernels._C.outer_project(A, D, kinds, numbers, offset, torch.zeros(2, 4), 1)


@pytest.mark.parametrize("name", NAMES)
def test_is_a_proper_torch_op(name):
    sketch = sketches(6, 7)[name]
    args = to_args(sketch)
    torch.library.opcheck(torch.ops.fimo_fast.outer_project.default, (A, D, *args))
    out = torch.zeros(2, sketch.sketch_dim)
    torch.library.opcheck(torch.ops.fimo_fast.outer_project_.default, (A, D, out, *args))
    if name in SLICED:
        args = (*to_args(sketches(100, 1)[name]), 37)
        out = torch.zeros(2, sketch_dim(*args[:2]))
        torch.library.opcheck(torch.ops.fimo_fast.outer_project.default, (A, D, *args))
        torch.library.opcheck(torch.ops.fimo_fast.outer_project_.default, (A, D, out, *args))


@pytest.mark.parametrize("name", ["srht", "factgrass", "tensorsketch"])
def test_compiles_without_graph_breaks(name):
    sketch = sketches(6, 7)[name]
    out = torch.zeros(2, sketch.sketch_dim)

    def step(a, delta, out):
        outer_project(a * 2, delta, sketch, out=out)
        return outer_project(a, delta, sketch) + 1, outer_project(a, delta, SRHT(100, 8), offset=37)

    compiled, of_slice = torch.compile(step, fullgraph=True, backend="aot_eager")(A, D, out)
    assert_same_bits(compiled, outer_project(A, D, sketch) + 1)
    assert_same_bits(of_slice, outer_project(A, D, SRHT(100, 8), offset=37))
    assert_same_bits(out, outer_project(A * 2, D, sketch))


def test_fake_tensors_have_the_right_shape_and_never_reach_the_kernel():
    with torch._subclasses.FakeTensorMode(), count_kernel_calls() as calls:
        result = outer_project(torch.empty(3, 5, 6, dtype=torch.bfloat16), torch.empty(3, 5, 7).bfloat16(), PAIR)
        assert result.shape == (3, 4) and result.dtype == torch.float32
    assert calls["outer_project"] == 0


def test_without_cuda_kernels_the_reference_runs_with_one_warning(monkeypatch):
    monkeypatch.setattr(torch_cuda, "_warned", set())
    monkeypatch.setattr(torch_cuda, "kernels", None)
    args = to_args(PAIR)
    with pytest.warns(UserWarning, match="outer_project: built without CUDA"):
        result = torch_cuda.CUDA["outer_project"](A, D, *args)
    torch.testing.assert_close(result, outer_project(A, D, PAIR))
    out = torch.ones(2, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch_cuda.CUDA["outer_project_into"](A, D, out, *args)
    torch.testing.assert_close(out, result + 1)
    longer = SRHT(100, 4)
    result = torch_cuda.CUDA["outer_project"](A, D, *to_args(longer), 37)
    torch.testing.assert_close(result, outer_project(A, D, longer, 37))
    out = torch.ones(2, 4)
    torch_cuda.CUDA["outer_project_into"](A, D, out, *to_args(longer), 37)
    torch.testing.assert_close(out, result + 1)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_cuda_tensors_agree_with_the_cpu(name):
    sketch = sketches(12, 9)[name]
    a, delta = factors(4, 3, 12, 9, torch.float64)
    torch.testing.assert_close(outer_project(a.cuda(), delta.cuda(), sketch).cpu(), outer_project(a, delta, sketch))

"""The ops on a GPU: what no emulator shows. Skipped without one; docs/cuda_testing.md names the command that runs all.

rehearsal.py runs these tests on the CPU, so that they themselves are right when there is a GPU.
"""

import warnings

import numpy as np
import pytest
import torch

from fimo_fast import ops
from fimo_fast.ops import reference, sketch_matrices, torch_cuda
from fimo_fast.sketch import SJLT, SRHT, Gaussian, Mask, Rademacher, TensorSketch
from fimo_fast.testing import assert_same_bits
from gpu.calls import (
    ADDS,
    CALLS,
    ON_A_GPU,
    WIDTH,
    assert_right,
    every_call,
    inputs,
    on_gpu,
    results,
    same_bits,
    wide,
)

pytestmark = ON_A_GPU
TYPES = [torch.float32, torch.bfloat16, torch.float16]
GIB = 2**30


def dtype_name(dtype):
    return str(dtype).removeprefix("torch.")


every_type = pytest.mark.parametrize("dtype", TYPES, ids=dtype_name)


# --- Results --------------------------------------------------------------------------------------


@every_type
@every_call
def test_right_and_by_one_call_of_its_kernels(name, dtype, calls):
    tensors = inputs(name, dtype)
    found = CALLS[name].run(*tensors)
    assert calls() == {CALLS[name].op: 1}
    assert all(x.device == tensors[0].device for x in results(found))
    assert_right(name, found, tensors)


@every_type
@every_call
def test_the_same_bits_twice_and_nothing_waits(name, dtype):
    tensors = inputs(name, dtype)
    first = CALLS[name].run(*tensors)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        second = CALLS[name].run(*tensors)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    same_bits(second, first)


@every_type
@pytest.mark.parametrize("name", ADDS)
def test_sketches_are_added_into_out(name, dtype):
    call, tensors = CALLS[name], inputs(name, dtype)
    alone = call.run(*tensors)
    start = torch.randn_like(alone)
    out = torch.full((len(alone), alone.shape[1] + 3), 7.0, device="cuda")[:, 1:-2]  # rows apart, storage not aligned
    out.copy_(start)
    version = out._version
    assert call.run(*tensors, out=out) is out and out._version > version
    scale = float(call.scale(*map(wide, tensors)) + start.abs().max())
    assert (out - (start + alone)).abs().max() <= 4e-6 * scale
    whole = out._base if out._base is not None else out
    assert (whole[:, 0] == 7).all() and (whole[:, -2:] == 7).all()


@every_type
@every_call
@pytest.mark.parametrize("layout", ["strided", "rows apart", "not aligned", "transposed"])
def test_layouts(name, dtype, layout):
    tensors = inputs(name, dtype)

    def laid_out(x):
        if not x.is_floating_point():
            return torch.stack([x, x - 1], -1)[..., 0]
        if layout == "strided":
            return torch.stack([x, x - 1], -1)[..., 0]
        if layout == "rows apart":
            return torch.nn.functional.pad(x, (0, 8), value=float("nan"))[..., : x.shape[-1]]
        if layout == "not aligned":
            return torch.nn.functional.pad(x, (1, 2), value=float("nan"))[..., 1 : 1 + x.shape[-1]]
        return x.transpose(0, -1).contiguous().transpose(0, -1)

    changed = tuple(map(laid_out, tensors))
    assert all(torch.equal(x, y) for x, y in zip(changed, tensors, strict=True))
    assert_right(name, CALLS[name].run(*changed), tensors)


@every_type
@every_call
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_where_it_is(name, dtype, value):
    """In one row of the first floating-point input: the same results are not finite as on the CPU."""
    if CALLS[name].op == "topk":
        pytest.skip("test_topk_of_ties_and_nan")
    tensors = CALLS[name].tensors(dtype, 0)
    first = next(i for i, x in enumerate(tensors) if x.is_floating_point())
    tensors[first][1, ..., 5] = value
    found = CALLS[name].run(*on_gpu(tensors)).cpu()
    expected = CALLS[name].run(*tensors)
    assert not expected.isfinite().all() or "Mask" in name or "Composition" in name
    assert torch.equal(found.isfinite(), expected.isfinite())
    if value != value:
        assert torch.equal(found.isnan(), expected.isnan())


@pytest.mark.parametrize("k", [1, 50, 1024, 1025, 3000])
@every_type
def test_topk_of_ties_and_nan(k, dtype):
    generator = torch.Generator().manual_seed(k)
    queries, features = (torch.randint(-3, 4, (n, 40), generator=generator).to(dtype) for n in (5, 3000))
    features[::700] = float("nan")
    values, indices = ops.topk(queries.cuda(), features.cuda(), k)
    exact, order = ops.topk(queries, features, k)
    assert torch.equal(indices.cpu(), order)
    assert_same_bits(values.cpu(), exact)


def test_int8_is_exact():
    (queries, query_scales), (features, feature_scales) = (
        ops.quantize(torch.randn(n, 700, generator=torch.Generator().manual_seed(n))) for n in (40, 5000)
    )
    given, scales = on_gpu((queries, features)), on_gpu((query_scales, feature_scales))
    assert_same_bits(ops.scores(*given, *scales).cpu(), ops.scores(queries, features, query_scales, feature_scales))
    found = ops.topk(*given, 99, *scales)
    same_bits(tuple(x.cpu() for x in found), ops.topk(queries, features, 99, query_scales, feature_scales))


def test_quantize_is_that_of_the_cpu():
    x = torch.randn(50, 700)
    same_bits(tuple(part.cpu() for part in ops.quantize(x.cuda())), ops.quantize(x))


def test_float64_runs_the_reference_with_one_warning(monkeypatch, calls):
    monkeypatch.setattr(torch_cuda, "_warned", set())
    grads, sketch = torch.randn(3, 500, dtype=torch.float64), SRHT(500, 40, 1)
    with pytest.warns(UserWarning, match="project: no CUDA kernel for float64, running the plain torch reference"):
        found = ops.project(grads.cuda(), sketch)
    torch.testing.assert_close(found.cpu(), ops.project(grads, sketch))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ops.project(grads.cuda(), sketch)
    assert calls() == {}


@pytest.mark.parametrize(
    "sketch", [Rademacher(64, 5), Gaussian(64, 5), SJLT(64, 5), SRHT(64, 5), Mask(64, 5)], ids=repr
)
def test_nothing_gives_zeros(sketch):
    for rows, dim in ((0, 64), (3, 0), (0, 0)):
        found = ops.project(torch.zeros(rows, dim, device="cuda"), sketch, offset=0)
        assert found.shape == (rows, 5) and not found.any()
    for batch, tokens in ((0, 4), (3, 0)):
        a, delta = (torch.zeros(batch, tokens, 8, device="cuda") for _ in range(2))
        index = torch.zeros(batch, tokens, dtype=torch.int64, device="cuda")
        for some in (ops.outer_project(a, delta, sketch), ops.rows_project(index, delta, sketch)):
            assert some.shape == (batch, 5) and not some.any()


def test_nothing_of_the_other_ops():
    a, delta = torch.randn(3, 4, 8, device="cuda"), torch.randn(3, 4, 5, device="cuda")
    assert ops.outer_dot(a[:0], delta[:0], a, delta).shape == (0, 3)
    assert ops.outer_dot(a, delta, a[:0], delta[:0]).shape == (3, 0)
    assert not ops.outer_dot(a[:, :0], delta[:, :0], a, delta).any()
    assert ops.outer_norm2(a[:0], delta[:0]).shape == (0,) and not ops.outer_norm2(a[:, :0], delta[:, :0]).any()
    queries = torch.randn(4, 8, device="cuda")
    assert ops.scores(queries[:0], queries).shape == (0, 4) and ops.scores(queries, queries[:0]).shape == (4, 0)
    assert not ops.scores(queries[:, :0], queries[:, :0]).any()
    values, indices = ops.topk(queries[:0], queries, 2)
    assert values.shape == indices.shape == (0, 2)


# --- Memory ---------------------------------------------------------------------------------------


@every_call
def test_the_workspace_is_not_overrun_and_what_it_holds_does_not_matter(name, monkeypatch):
    tensors = inputs(name)
    expected = CALLS[name].run(*tensors)
    guard, workspaces = 4096, []

    def where(x):
        def allocate(size):
            memory = torch.full((size + guard,), 255, dtype=torch.uint8, device=x.device)  # NaN in every type
            memory[size:] = 0xA5
            workspaces.append((memory, size))
            return memory[:size]

        return allocate, torch.cuda.current_stream(x.device).cuda_stream

    monkeypatch.setattr(torch_cuda, "kernels", torch_cuda.CudaKernels(where=where))
    same_bits(CALLS[name].run(*tensors), expected)
    for memory, size in workspaces:
        assert (memory[size:] == 0xA5).all(), f"{name}: bytes behind a workspace of {size} were written"


def needs(gib):
    free = torch.cuda.mem_get_info()[0] / GIB
    if free < gib:
        pytest.skip(f"needs {gib} GiB of the device's memory, {free:.1f} are free")


def test_inputs_of_more_than_two_to_the_31_elements():
    needs(16)
    grads = torch.zeros(3, 2**30, device="cuda")
    grads[2, -5:] = 1.0
    for sketch in (SRHT(2**30, 256, 1), SJLT(2**30, 256, 1), Mask(2**30, 256, 1), Rademacher(2**30, 16, 1)):
        found = ops.project(grads, sketch)
        part = ops.project(grads[2:, -256:].cpu(), sketch, offset=2**30 - 256)
        torch.testing.assert_close(found[2:].cpu(), part, rtol=1e-5, atol=1e-5)
        assert not found[:2].any()


def test_results_of_more_than_two_to_the_31_elements():
    needs(20)
    features = torch.zeros(2**28 + 3, 8, dtype=torch.bfloat16, device="cuda")
    features[-1], features[0] = 1.0, 0.5
    queries = torch.ones(8, 8, dtype=torch.bfloat16, device="cuda")
    found = ops.scores(queries, features)
    assert (found[:, -1] == 8).all() and (found[:, 0] == 4).all() and int(found.count_nonzero()) == 16
    del found
    values, indices = ops.topk(queries, features, 2)
    assert (indices == torch.tensor([2**28 + 2, 0], device="cuda")).all() and (values[:, 0] == 8).all()


def test_offsets_beyond_two_to_the_32():
    grads = torch.randn(2, 1000)
    for sketch in (SRHT(2**34, 256, 1), SJLT(2**34, 256, 1), Rademacher(2**34, 64, 1), Gaussian(2**34, 64, 1)):
        found = ops.project(grads.cuda(), sketch, offset=2**33 + 77)
        torch.testing.assert_close(found.cpu(), ops.project(grads, sketch, offset=2**33 + 77), rtol=1e-4, atol=1e-4)


# --- Errors ---------------------------------------------------------------------------------------


def test_devices_are_not_mixed():
    x, sketch = torch.randn(3, 4, 8), SRHT(64, 5)
    there = x.cuda()
    for wrong, name in (
        (lambda: ops.outer_project(there, x, sketch), "delta"),
        (lambda: ops.outer_dot(there, there, x, there), "a2"),
        (lambda: ops.scores(there[0], x[0]), "features"),
        (lambda: ops.topk(there[0], x[0], 2), "features"),
        (lambda: ops.project(there.view(3, -1), SRHT(32, 5), out=torch.zeros(3, 5)), "out"),
        (lambda: ops.rows_project(torch.zeros(3, 4, dtype=torch.int64), there, sketch), "index"),
    ):
        with pytest.raises(ValueError, match=f"{name}: expected device cuda:0"):
            wrong()
    with pytest.raises(TypeError, match="features: expected a torch tensor"):
        ops.scores(there[0], np.zeros((4, 8), np.float32))


def test_gradients_are_not_dropped():
    grads = torch.randn(2, 64, device="cuda", requires_grad=True)
    with pytest.raises(RuntimeError, match="grads: requires grad"):
        ops.project(grads, SRHT(64, 5))


@every_type
def test_rows_out_of_range_are_nan(dtype):
    index = torch.tensor([[0, 1], [3, 20], [-1, 2], [2**40, 0]], device="cuda")
    delta = torch.randn(4, 2, WIDTH, device="cuda").to(dtype)
    for sketch in (SRHT(20 * WIDTH, 24, 1), SJLT(20 * WIDTH, 24, 1), Mask(20 * WIDTH, 24, 1)):
        found = ops.rows_project(index, delta, sketch)
        assert found.isnan().all(1).tolist() == [False, True, True, True] and not found[0].isnan().any()


def test_the_reference_runs_on_the_device():
    """What float64 runs there, on CUDA's own integers."""
    grads = torch.randn(2, 300)
    for sketch in (Rademacher(300, 24), Gaussian(300, 24), SJLT(300, 24, nonzeros=2), SRHT(300, 24), Mask(300, 24)):
        torch.testing.assert_close(
            reference.project(grads.cuda(), sketch).cpu(), reference.project(grads, sketch), rtol=1e-4, atol=1e-5
        )
    sketch = TensorSketch(20, 15, 32)
    matrices = [
        sketch_matrices.sketch_matrix(sketch, 0, 300, torch.float32, device).cpu() for device in ("cuda", "cpu")
    ]
    assert torch.equal(*matrices)

"""Cases of `outer_project`: sketches of per-example gradients of a linear layer, from their factors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from ...ops import outer_project, reference, sketch_matrices
from ...sketch import SJLT, SRHT, Composition, Factored, Mask, Rademacher, Sketch, TensorSketch, VectorSketch
from ..baselines import torch_outer
from ..case import BALANCE, LINE, Baseline, Bound, Case, Inputs
from . import project

Make = Callable[[int, int, int], Sketch]


def _factored(factor: type[VectorSketch]) -> Make:
    """(n, m, k) to sketches of both factors, of √k numbers each."""
    return lambda n, m, k: Factored(a=factor(n, math.isqrt(k), seed=1), delta=factor(m, math.isqrt(k), seed=2))


def _factgrass(n: int, m: int, k: int) -> Composition:
    """Masks of both factors that keep 4k entries of the outer product, where it has as many; then an SJLT."""
    kept = math.isqrt(4 * k)
    masks = Factored(a=Mask(n, min(n, kept), seed=1), delta=Mask(m, min(m, kept), seed=2))
    return Composition(masks, SJLT(masks.sketch_dim, k, nonzeros=1))


# A new kind is one line here: (n, m, sketch_dim) to the sketch. LoGra is Choe et al.'s name for one sketch a factor.
KINDS: dict[str, Make] = {
    "LoGra Rademacher": _factored(Rademacher),
    "LoGra SRHT": _factored(SRHT),
    "LoGra Mask": _factored(Mask),
    "Mask": lambda n, m, k: Mask(n * m, k),
    "TensorSketch": TensorSketch,
    "FactGraSS": _factgrass,
}

# batch, tokens, n, m, sketch_dim; one token a row is a layer of an MLP. Results larger than the allocator keeps (32 MiB
# in glibc) come from the system in every call, and its page faults take longer than the sketch: in the last size only.
TOKENS = [(64, 64, 768, 768, 4096)]
TOKENS_FULL = [(8, 512, 768, 768, 4096), (32, 128, 2048, 2048, 4096)]
SINGLE = [(4096, 1, 1024, 1024, 1024), (1024, 1, 4096, 4096, 4096)]
SINGLE_FULL = [(4096, 1, 1024, 1024, 4096)]

_DENSE = ("LoGra Rademacher", "LoGra SRHT")  # mix all numbers of a token, which is what long examples are used with
_CHECKED = 8  # examples, spread over the batch


def cases(dtypes: tuple[torch.dtype, ...], full: bool = False) -> Iterator[Case]:
    """Examples of many tokens with dense factors, and of one token with the others."""
    for sizes, kinds in (
        (TOKENS + TOKENS_FULL * full, _DENSE),
        (SINGLE + SINGLE_FULL * full, [kind for kind in KINDS if kind not in _DENSE]),
    ):
        for size in sizes:
            for kind in kinds:
                for dtype in dtypes:
                    yield case(kind, *size, dtype)


def case(kind: str, batch: int, tokens: int, n: int, m: int, sketch_dim: int, dtype: torch.dtype) -> Case:
    """Sketches [batch, sketch_dim] of the gradients [m, n] of ``batch`` examples of ``tokens`` tokens."""
    sketch = KINDS[kind](n, m, sketch_dim)
    wide = reference.accumulator(dtype).itemsize
    result = batch * sketch.sketch_dim * wide
    moved = batch * tokens * _bytes_read(sketch, n, m, dtype) + result
    operations = batch * _operations(sketch, tokens)
    bound: Bound = "sgemm" if operations > BALANCE * moved else "read"
    inputs_bytes = batch * tokens * (n + m) * dtype.itemsize
    # The largest that torch has between factors and result: numbers of the first stage, or of a transform.
    between = batch * tokens * (sketch.first if isinstance(sketch, Composition) else sketch).sketch_dim * wide
    # Factors of some examples and, for a TensorSketch, one gradient with buckets and signs.
    checking = (min(batch, _CHECKED) * tokens * (n + m) + 4 * n * m) * 8
    return Case(
        operation="outer_project",
        name=f"{kind} {batch} x {tokens} x ({n}, {m}) to {sketch_dim}",
        dtype=dtype,
        sizes={"batch": batch, "tokens": tokens, "n": n, "m": m, "sketch_dim": sketch_dim},
        moved=moved,
        operations=operations,
        bound=bound,
        memory=2 * inputs_bytes + 2 * result + (0 if isinstance(sketch, Factored) else 3 * between) + checking,
        inputs=lambda device: tuple(torch.randn(batch, tokens, dim, dtype=dtype, device=device) for dim in (n, m)),
        kernel=partial(_outer_project, sketch=sketch),
        check=partial(_check, sketch=sketch),
        baselines={
            "torch": Baseline("torch", partial(torch_outer.whole_sketch, sketch=sketch)),
            **(
                {"factor products alone": Baseline("gemm", partial(torch_outer.factor_products, sketch=sketch))}
                if isinstance(sketch, Factored) and kind in _DENSE
                else {}
            ),
        },
    )


def _outer_project(a: Tensor, delta: Tensor, sketch: Sketch) -> Tensor:
    return outer_project(a, delta, sketch)


def _operations(sketch: Sketch, tokens: int) -> int:
    """Additions and multiplications for one example; the first token of a sum is not added to anything."""
    summed = (2 * tokens - 1) * sketch.sketch_dim
    if isinstance(sketch, Composition):
        return _operations(sketch.first, tokens) + _vector_operations(sketch.second)
    if isinstance(sketch, Factored):
        return tokens * (_vector_operations(sketch.a) + _vector_operations(sketch.delta)) + summed
    if isinstance(sketch, TensorSketch):
        # Transforms of both factors of every token and of the sum, which is scaled.
        k = sketch.sketch_dim
        transform = k * (k.bit_length() - 1)
        factors = sum(map(_vector_operations, sketch.factors)) + 2 * transform
        return tokens * factors + summed + k + transform
    assert isinstance(sketch, Mask)
    return summed + sketch.sketch_dim


def _vector_operations(sketch: VectorSketch) -> int:
    """The same for a sketch of one vector, counted where `project` is."""
    name = f"SJLT-{sketch.nonzeros}" if isinstance(sketch, SJLT) else type(sketch).__name__
    return project.KINDS[name].count(sketch.input_dim, sketch.sketch_dim)


def _bytes_read(sketch: Sketch, n: int, m: int, dtype: torch.dtype) -> int:
    """Of one token: all of both factors, or the cache lines in which masks keep a number."""
    if isinstance(sketch, Composition):
        return _bytes_read(sketch.first, n, m, dtype)
    if isinstance(sketch, Mask):
        rows, columns = torch_outer.kept(sketch, n)
        return _lines(columns, n, dtype) + _lines(rows, m, dtype)
    if isinstance(sketch, Factored) and isinstance(sketch.a, Mask) and isinstance(sketch.delta, Mask):
        return sum(
            _lines(torch.tensor(sketch_matrices.mask_coordinates(mask)[0]), mask.input_dim, dtype)
            for mask in (sketch.a, sketch.delta)
        )
    return (n + m) * dtype.itemsize


def _lines(kept: Tensor, dim: int, dtype: torch.dtype) -> int:
    """Bytes of the cache lines of a row of ``dim`` numbers, starting one, in which a number is kept."""
    return min(dim * dtype.itemsize, LINE * len(torch.unique(kept * dtype.itemsize // LINE)))


def _check(inputs: Inputs, result: Tensor, sketch: Sketch) -> None:
    rows = torch.linspace(0, len(result) - 1, min(len(result), _CHECKED)).round().long()
    a, delta = (x[rows].double().cpu() for x in inputs)
    expected = expected_sketches(a, delta, sketch)
    scale = expected.abs().max().item()
    torch.testing.assert_close(result[rows].double().cpu(), expected, rtol=0, atol=1e-5 * scale)


def expected_sketches(a: Tensor, delta: Tensor, sketch: Sketch) -> Tensor:
    """`reference.outer_project` by the definitions in docs/numerics.md, without a column for each entry of a gradient.

    Args:
        a: float64 [B, T, n].
        delta: float64 [B, T, m].
        sketch: one of those that `KINDS` makes.

    Returns:
        float64 [B, sketch_dim].
    """
    if isinstance(sketch, Composition):
        return reference.project(expected_sketches(a, delta, sketch.first), sketch.second)
    if isinstance(sketch, Factored):
        u, v = (
            reference.project(x.flatten(0, 1), part).view(*x.shape[:2], -1)
            for x, part in ((a, sketch.a), (delta, sketch.delta))
        )
        return torch.einsum("btm,btn->bmn", v, u).flatten(1)
    if isinstance(sketch, Mask):
        rows, columns = torch_outer.kept(sketch, a.shape[-1])
        lengths = torch.tensor(sketch_matrices.mask_coordinates(sketch)[1])
        return (delta[:, :, rows] * a[:, :, columns]).sum(1) * lengths.double().sqrt()
    assert isinstance(sketch, TensorSketch)
    (bucket_a, sign_a), (bucket_delta, sign_delta) = (torch_outer.buckets(factor) for factor in sketch.factors)
    bucket = (bucket_delta[:, None] ^ bucket_a).flatten()
    sketches = a.new_zeros(len(a), sketch.sketch_dim)
    for one, activations, grads in zip(sketches, a * sign_a, delta * sign_delta, strict=True):
        one.index_add_(0, bucket, (grads.T @ activations).flatten())
    return sketches

"""Baselines of `outer_project`: sketches of outer products in plain torch.

Unlike those of `torch_sketches`, they use the random numbers of `fimo_fast.sketch`, stored outside the timed call. So
their results are those of the kernel up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...ops import reference, sketch_matrices
from ...sketch import SJLT, Composition, Factored, Mask, Sketch, TensorSketch, VectorSketch
from ..case import Call, Inputs
from ..peak import product_type
from .torch_sketches import hadamard

Apply = Callable[[Tensor, Tensor], Tensor]


def whole_sketch(inputs: Inputs, sketch: Sketch) -> Call:
    """The whole sketch, from factors of any type; sums in the type of the kernel's."""
    a, delta = inputs
    apply = _prepared(sketch, a)
    dtype = reference.accumulator(a.dtype)
    return lambda: apply(a.to(dtype), delta.to(dtype))


def factor_products(inputs: Inputs, sketch: Factored) -> Call:
    """Only the products of both factors with stored matrices, without the sum over tokens."""
    dtype = product_type(inputs[0].dtype, inputs[0].device)
    a, delta = (x.flatten(0, 1).to(dtype) for x in inputs)
    to_a, to_delta = (_matrix(part, a).to(dtype) for part in (sketch.a, sketch.delta))
    return lambda: (a @ to_a, delta @ to_delta)


def _prepared(sketch: Sketch, like: Tensor) -> Apply:
    """(a [B, T, n], delta [B, T, m]) to [B, sketch_dim]."""
    if isinstance(sketch, Composition):
        assert isinstance(sketch.second, SJLT) and sketch.second.nonzeros == 1
        first, second = _prepared(sketch.first, like), _count_sketch(sketch.second, like)
        return lambda a, delta: second(first(a, delta))
    if isinstance(sketch, Factored):
        to_u, to_v = (_linear(part, like) for part in (sketch.a, sketch.delta))
        return lambda a, delta: torch.bmm(to_v(delta).mT, to_u(a)).flatten(1)
    if isinstance(sketch, TensorSketch):
        return _tensor_sketch(sketch, like)
    assert isinstance(sketch, Mask)
    return _mask(sketch, like)


def _linear(sketch: VectorSketch, like: Tensor) -> Callable[[Tensor], Tensor]:
    """[B, T, dim] to [B, T, sketch_dim]: kept numbers of a mask, a product with the stored matrix for the others."""
    if isinstance(sketch, Mask):
        coordinates, lengths = (torch.tensor(x, device=like.device) for x in sketch_matrices.mask_coordinates(sketch))
        scales = lengths.to(reference.accumulator(like.dtype)).sqrt()
        return lambda x: x.index_select(2, coordinates) * scales
    matrix = _matrix(sketch, like)
    return lambda x: x @ matrix


def _matrix(sketch: VectorSketch, like: Tensor) -> Tensor:
    """[dim, sketch_dim], row-major."""
    dtype = reference.accumulator(like.dtype)
    return sketch_matrices.sketch_matrix(sketch, 0, sketch.input_dim, dtype, like.device).T.contiguous()


def kept(sketch: Mask, n: int) -> tuple[Tensor, Tensor]:
    """Rows and columns of the entries of G, [m, n], that a mask of its m·n entries keeps."""
    coordinates = torch.tensor(sketch_matrices.mask_coordinates(sketch)[0])
    return coordinates // n, coordinates % n


def _mask(sketch: Mask, like: Tensor) -> Apply:
    rows, columns = (x.to(like.device) for x in kept(sketch, like.shape[-1]))
    lengths = torch.tensor(sketch_matrices.mask_coordinates(sketch)[1], device=like.device)
    scales = lengths.to(reference.accumulator(like.dtype)).sqrt()

    def apply(a: Tensor, delta: Tensor) -> Tensor:
        return delta.index_select(2, rows).mul_(a.index_select(2, columns)).sum(1).mul_(scales)

    return apply


def buckets(sketch: SJLT) -> tuple[Tensor, Tensor]:
    """Bucket and sign of every coordinate of an SJLT with one nonzero: int64 and float64, [input_dim]."""
    found = [
        (part.abs().argmax(0), part.sum(0))
        for begin in range(0, sketch.input_dim, 1024)
        for part in [sketch_matrices.sketch_matrix(sketch, begin, min(begin + 1024, sketch.input_dim))]
    ]
    bucket, sign = zip(*found, strict=True)
    return torch.cat(bucket), torch.cat(sign)


def _count_sketch(sketch: SJLT, like: Tensor) -> Callable[[Tensor], Tensor]:
    """[rows, dim] to [rows, sketch_dim] by ``scatter_add_``."""
    bucket, sign = (x.to(like.device) for x in buckets(sketch))
    sign = sign.to(reference.accumulator(like.dtype))

    def apply(x: Tensor) -> Tensor:
        return x.new_zeros(len(x), sketch.sketch_dim).scatter_add_(1, bucket.expand(len(x), -1), x * sign)

    return apply


def _tensor_sketch(sketch: TensorSketch, like: Tensor) -> Apply:
    """The transform as two products with Hadamard matrices, H_k = H_outer (x) H_inner, as in `torch_sketches.srht`."""
    to_u, to_v = (_count_sketch(factor, like) for factor in sketch.factors)
    k = sketch.sketch_dim
    inner = 1 << ((k.bit_length() - 1) // 2)
    dtype = reference.accumulator(like.dtype)
    h_inner, h_outer = (hadamard(size).to(like.device, dtype) for size in (inner, k // inner))

    def transform(x: Tensor) -> Tensor:
        return (h_outer @ (x.view(len(x), k // inner, inner) @ h_inner)).view(len(x), k)

    def apply(a: Tensor, delta: Tensor) -> Tensor:
        products = transform(to_u(a.flatten(0, 1))).mul_(transform(to_v(delta.flatten(0, 1))))
        return transform(products.view(len(a), -1, k).sum(1)).mul_(1 / k)

    return apply

"""Baselines of `project`: sketches in plain torch, as fast as we could write them.

They draw their own random numbers, outside the timed call where a user would store them. The entries therefore differ
from those of `fimo_fast.sketch`; the amount of work does not.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...ops.dtypes import accumulator
from ...sketch import SJLT, SRHT, Mask, VectorSketch
from ..case import Baseline, Call, Inputs
from ..peak import product_type

_COLUMNS = 1024  # of the dense matrix at a time: its part and the product's stay in the cache
_SLICE = 16 * _COLUMNS  # of the input that is timed; the cost is proportional
_ROWS_NUMBERS = 2**28  # on CUDA, of the rows that are transformed at a time


def _signs(*shape: int, like: Tensor) -> Tensor:
    return torch.randint(0, 2, shape, device=like.device).to(accumulator(like.dtype)) * 2 - 1


def sjlt(inputs: Inputs, sketch: SJLT) -> Call:
    """``scatter_add_``, as many rows at a time as there are threads: more rows leave the cache between its passes."""
    (grads,) = inputs
    dtype = accumulator(grads.dtype)
    block = sketch.sketch_dim // sketch.nonzeros
    buckets = [
        torch.randint(block, (sketch.input_dim,), device=grads.device) + block * r for r in range(sketch.nonzeros)
    ]
    signs = [_signs(sketch.input_dim, like=grads) * sketch.nonzeros**-0.5 for _ in buckets]
    rows = torch.get_num_threads() if grads.device.type == "cpu" else len(grads)

    def call() -> Tensor:
        out = torch.zeros(len(grads), sketch.sketch_dim, dtype=dtype, device=grads.device)
        for begin in range(0, len(grads), rows):
            part = grads[begin : begin + rows].to(dtype)
            for bucket, sign in zip(buckets, signs, strict=True):
                out[begin : begin + rows].scatter_add_(1, bucket.expand(len(part), -1), part * sign)
        return out

    return call


def srht(inputs: Inputs, sketch: SRHT) -> Call:
    """The transform of a block as two matrix products, H_ab = H_a (x) H_b: in torch far faster than butterflies.

    On the CPU one row at a time, which stays in the cache. On CUDA many rows, which fill the device.
    """
    (grads,) = inputs
    dtype, dim = accumulator(grads.dtype), sketch.input_dim
    blocks = -(-dim // sketch.block)
    signs_in = _signs(blocks * sketch.block, like=grads)
    signs_out = _signs(blocks, sketch.block, like=grads) * sketch.sketch_dim**-0.5
    kept = torch.randperm(sketch.block, device=grads.device)[: sketch.sketch_dim].sort().values
    inner = 1 << ((sketch.block.bit_length() - 1) // 2)
    outer = sketch.block // inner
    h_inner, h_outer = (hadamard(size).to(grads.device, dtype) for size in (inner, outer))
    step = _rows_at_once(grads.device, len(signs_in))

    def call() -> Tensor:
        out = torch.empty(len(grads), sketch.sketch_dim, dtype=dtype, device=grads.device)
        for rows, target in zip(grads.split(step), out.split(step), strict=True):
            x = torch.nn.functional.pad(rows.to(dtype), (0, len(signs_in) - dim)) * signs_in
            x = (x.view(-1, inner) @ h_inner).view(-1, outer, inner).transpose(1, 2)
            x = x.reshape(-1, outer) @ h_outer
            torch.index_select((x.view(len(rows), blocks, -1) * signs_out).sum(1), 1, kept, out=target)
        return out

    return call


def _rows_at_once(device: torch.device, numbers: int) -> int:
    """Rows of so many numbers that are transformed together."""
    return 1 if device.type == "cpu" else max(1, _ROWS_NUMBERS // numbers)


def mask(inputs: Inputs, sketch: Mask) -> Call:
    """``index_select`` and a product with the scales."""
    (grads,) = inputs
    kept = torch.randperm(sketch.input_dim, device=grads.device)[: sketch.sketch_dim].sort().values
    scale = (sketch.input_dim / sketch.sketch_dim) ** 0.5
    return lambda: grads.index_select(1, kept).to(accumulator(grads.dtype)).mul_(scale)


def hadamard(size: int) -> Tensor:
    """The matrix of the Walsh-Hadamard transform, [size, size], entries ±1."""
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


def fill_signs(matrix: Tensor) -> Tensor:
    """±1 from the bits of random bytes: nine times as fast as ``bernoulli_``."""
    rows, columns = matrix.shape
    words = torch.randint(-(2**63), 2**63 - 1, (rows, -(-columns // 64)), device=matrix.device)
    shifts = torch.arange(8, dtype=torch.uint8, device=matrix.device)
    bits = (words.view(torch.uint8)[..., None] >> shifts) & 1
    return matrix.copy_(bits.view(rows, -1)[:, :columns]).mul_(2).sub_(1)


def fill_normal(matrix: Tensor) -> Tensor:
    """Standard normal numbers."""
    return matrix.normal_()


def generated(sketch: VectorSketch, fill: Callable[[Tensor], Tensor]) -> Baseline:
    """A dense sketch whose matrix is made anew, a part at a time, because all of it does not fit into memory."""

    def prepare(inputs: Inputs) -> Call:
        (grads,) = inputs
        shape = min(sketch.input_dim, _COLUMNS), sketch.sketch_dim
        return _products(grads, torch.empty(shape, dtype=accumulator(grads.dtype), device=grads.device), fill)

    return Baseline("torch", prepare, _share(sketch))


def stored(sketch: VectorSketch) -> Baseline:
    """The products of a dense sketch alone: one part of its matrix, already there, used for every part of the input."""

    def prepare(inputs: Inputs) -> Call:
        (grads,) = inputs
        shape, dtype = (min(sketch.input_dim, _COLUMNS), sketch.sketch_dim), product_type(grads.dtype, grads.device)
        return _products(grads, torch.randn(shape, dtype=dtype, device=grads.device), lambda part: part)

    return Baseline("gemm", prepare, _share(sketch))


def _share(sketch: VectorSketch) -> float:
    """Of the input that `_products` multiplies."""
    return min(sketch.input_dim, _SLICE) / sketch.input_dim


def _products(grads: Tensor, matrix: Tensor, fill: Callable[[Tensor], Tensor]) -> Call:
    """The first numbers of each row times ``fill(matrix)``, as many numbers at a time as the matrix has rows."""
    width = min(grads.shape[1], _SLICE)

    def call() -> Tensor:
        out = torch.zeros(len(grads), matrix.shape[1], dtype=matrix.dtype, device=grads.device)
        for begin in range(0, width, len(matrix)):
            part = grads[:, begin : min(begin + len(matrix), width)].to(matrix.dtype)
            out.addmm_(part, fill(matrix[: part.shape[1]]))
        return out

    return call

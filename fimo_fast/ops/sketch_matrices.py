"""Every sketch as a dense matrix, from its definition (docs/numerics.md), with an own implementation of Philox.

A part of the specification in `reference`: obviously right, in torch integers, whatever it costs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..sketch import SJLT, SRHT, Composition, Factored, Gaussian, Mask, Sketch, TensorSketch, VectorSketch

__all__ = ["mask_coordinates", "philox", "sketch_matrix", "srht_rows"]

(
    STREAM_RADEMACHER,
    STREAM_SJLT,
    STREAM_SRHT_IN,
    STREAM_SRHT_OUT,
    STREAM_SRHT_ROWS,
    STREAM_GAUSSIAN,
    STREAM_MASK,
) = range(7)

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def philox(index: Tensor, part: Tensor | int, stream: int, seed: int) -> Tensor:
    """The random words of counters (index low, index high, part, stream) under a 64-bit key.

    Args:
        index: int64 [n], not negative.
        part: int64 [n] or an int, below 2^32.
        stream: one of the STREAM constants.
        seed: 0 to 2^64 - 1.

    Returns:
        int64 [n, 4], each word in [0, 2^32).
    """
    c = [index & _MASK, index >> 32, torch.zeros_like(index) + part, torch.full_like(index, stream)]
    key = [seed & _MASK, seed >> 32]
    for _ in range(10):
        # Products of 32-bit numbers may pass 2^63; the wrapped int64 still has the right bits.
        product0 = c[0] * _MULTIPLIERS[0]
        product1 = c[2] * _MULTIPLIERS[1]
        c = [
            ((product1 >> 32) & _MASK) ^ c[1] ^ key[0],
            product1 & _MASK,
            ((product0 >> 32) & _MASK) ^ c[3] ^ key[1],
            product0 & _MASK,
        ]
        key = [(key[0] + _WEYL[0]) & _MASK, (key[1] + _WEYL[1]) & _MASK]
    return torch.stack(c, dim=-1)


def _bits(words: Tensor) -> Tensor:
    """int64 [n, 4] words to [n, 128] bits; bit b is bit b % 32 of word b // 32."""
    shifts = torch.arange(32, device=words.device)
    return ((words[:, :, None] >> shifts) & 1).flatten(1)


def _signs(bits: Tensor) -> Tensor:
    """0 to +1, 1 to -1."""
    return 1 - 2 * bits


def _rademacher_entries(sketch: VectorSketch, j: Tensor) -> Tensor:
    parts = [
        _signs(_bits(philox(j, part, STREAM_RADEMACHER, sketch.seed)))
        for part in range((sketch.sketch_dim + 127) // 128)
    ]
    return torch.cat(parts, dim=1)[:, : sketch.sketch_dim].T


# Box-Muller by polynomials, lowest power first: -2 ln(1 + f) / f on [sqrt(1/2) - 1, sqrt(2) - 1] in f, relative error
# 1.1e-6; sin(pi x / 2) / x and (cos(pi x / 2) - 1) / x^2 on [0, 1] in x^2, absolute errors 6e-7 and 6e-8.
_MINUS_2_LOG = (-2.000002, 1.0000223, -0.66629016, 0.49819487, -0.40992656, 0.3733571, -0.23792227)
_SINE = (1.570791, -0.64589286, 0.07943434, -0.004333095)
_COSINE = (-1.2336988, 0.2536532, -0.020813966, 0.0008596901)
_MINUS_2_LN_2 = -1.3862944
_SQRT_HALF_BITS = 0x3F3504F3
_ONE_BITS = 0x3F800000


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    """Horner's rule in float32, every product and sum rounded."""
    result = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = result * x + coefficient
    return result


def normal_pairs(words: Tensor) -> tuple[Tensor, Tensor]:
    """Two standard normal float32 numbers from each word, int64 in [0, 2^32); see docs/numerics.md."""
    y = (2 * (words >> 16) + 1).float()
    bits = y.view(torch.int32) + (_ONE_BITS - _SQRT_HALF_BITS)
    exponent = ((bits >> 23) - (127 + 17)).float()
    f = ((bits & 0x007FFFFF) + _SQRT_HALF_BITS).view(torch.float32) - 1
    # Torch's float32 square root may be off by a bit; by way of float64 it is rounded correctly.
    radius = (exponent * _MINUS_2_LN_2 + _polynomial(_MINUS_2_LOG, f) * f).double().sqrt().float()
    x = (2 * ((words & 0xFFFF) >> 2) + 1).float() * 2.0**-15
    z = x * x
    cosine = _polynomial(_COSINE, z) * z + 1
    sine = _polynomial(_SINE, z) * x
    return radius * cosine * _signs(words & 1), radius * sine * _signs(words >> 1 & 1)


def _gaussian_entries(sketch: Gaussian, j: Tensor) -> Tensor:
    tiles = []
    for tile in range((sketch.sketch_dim + 127) // 128):
        # Column c of a tile: part c % 16, word c // 32, the cosine where c // 16 is even.
        part = 16 * tile + torch.arange(16, device=j.device)
        words = philox(j.repeat_interleave(16), part.repeat(len(j)), STREAM_GAUSSIAN, sketch.seed)
        pairs = torch.stack(normal_pairs(words), dim=-1)  # [j * part, word, 2]
        tiles.append(pairs.reshape(len(j), 16, 8).transpose(1, 2).reshape(len(j), 128))
    return torch.cat(tiles, dim=1)[:, : sketch.sketch_dim].T


def mask_coordinates(sketch: Mask) -> tuple[list[int], list[int]]:
    """The coordinate that each output keeps, and the length of its stratum."""
    words = philox(torch.arange(sketch.sketch_dim), 0, STREAM_MASK, sketch.seed).tolist()
    d, k = sketch.input_dim, sketch.sketch_dim
    starts = [c * d // k for c in range(k + 1)]
    lengths = [end - start for start, end in zip(starts, starts[1:], strict=False)]
    coordinates = [
        start + ((low | high << 32) * length >> 64)
        for start, length, (low, high, *_) in zip(starts, lengths, words, strict=False)
    ]
    return coordinates, lengths


def _mask_matrix(sketch: Mask, start: int, stop: int, dtype: torch.dtype) -> Tensor:
    matrix = torch.zeros(sketch.sketch_dim, stop - start, dtype=dtype)
    for c, (coordinate, length) in enumerate(zip(*mask_coordinates(sketch), strict=True)):
        if start <= coordinate < stop:
            matrix[c, coordinate - start] = length**0.5
    return matrix


def _tensor_sketch_matrix(sketch: TensorSketch, j: Tensor, dtype: torch.dtype) -> Tensor:
    a, delta = (sketch_matrix(factor, 0, factor.input_dim, torch.float64) for factor in sketch.factors)
    column_a, column_delta = j % sketch.a_dim, j // sketch.a_dim
    bucket = a.abs().argmax(0)[column_a] ^ delta.abs().argmax(0)[column_delta]
    matrix = torch.zeros(sketch.sketch_dim, len(j), dtype=dtype)
    matrix[bucket, torch.arange(len(j))] = (a.sum(0)[column_a] * delta.sum(0)[column_delta]).to(dtype)
    return matrix


def _sjlt_entries(sketch: SJLT, j: Tensor) -> Tensor:
    entries = torch.zeros(sketch.sketch_dim, len(j), dtype=torch.int64, device=j.device)
    columns = torch.arange(len(j), device=j.device)
    for r in range(sketch.nonzeros):
        q = j * sketch.nonzeros + r
        word = philox(q // 4, 0, STREAM_SJLT, sketch.seed).gather(1, (q % 4)[:, None])[:, 0]
        begin = r * sketch.sketch_dim // sketch.nonzeros
        end = (r + 1) * sketch.sketch_dim // sketch.nonzeros
        bucket = begin + (((word >> 1) * (end - begin)) >> 31)
        entries[bucket, columns] = _signs(word & 1)
    return entries


def srht_rows(sketch: SRHT) -> list[int]:
    """The rows of the L x L transform that the sketch keeps, increasing."""
    rows = list(range(sketch.block))
    if sketch.block == sketch.sketch_dim:
        return rows
    words = philox(torch.arange(sketch.sketch_dim), 0, STREAM_SRHT_ROWS, sketch.seed).tolist()
    for i, (low, high, _, _) in enumerate(words):
        pick = i + (((low | high << 32) * (sketch.block - i)) >> 64)
        rows[i], rows[pick] = rows[pick], rows[i]
    return sorted(rows[: sketch.sketch_dim])


def _srht_entries(sketch: SRHT, j: Tensor) -> Tensor:
    block, c = j // sketch.block, torch.arange(sketch.sketch_dim, device=j.device)
    sign_in = _signs(_bits(philox(j // 128, 0, STREAM_SRHT_IN, sketch.seed)).gather(1, (j % 128)[:, None])[:, 0])
    # Hadamard entry (-1)^popcount(row & column), the parity folded down to one bit.
    parity = torch.tensor(srht_rows(sketch), device=j.device)[:, None] & (j % sketch.block)
    for shift in (32, 16, 8, 4, 2, 1):
        parity = parity ^ (parity >> shift)
    blocks, which = torch.unique(block, return_inverse=True)
    parts = (sketch.sketch_dim + 127) // 128
    words = philox(
        (blocks[:, None] * parts + torch.arange(parts, device=j.device)).flatten(),
        0,
        STREAM_SRHT_OUT,
        sketch.seed,
    )
    sign_out = _signs(_bits(words)).reshape(len(blocks), -1)[:, c]
    return sign_out[which].T * _signs(parity & 1) * sign_in


def sketch_matrix(
    sketch: Sketch,
    start: int,
    stop: int,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Columns [start, stop) of S as a dense matrix [sketch_dim, stop - start]."""
    if isinstance(sketch, Composition):
        second = sketch_matrix(sketch.second, 0, sketch.second.input_dim, dtype, device)
        return second @ sketch_matrix(sketch.first, start, stop, dtype, device)
    if isinstance(sketch, Factored):
        parts = (sketch_matrix(part, 0, part.input_dim, dtype, device) for part in (sketch.delta, sketch.a))
        # Copies: kron fails on transposed matrices, and contiguous() leaves those of one row or column as they are.
        return torch.kron(*(part.clone(memory_format=torch.contiguous_format) for part in parts))[:, start:stop]
    if isinstance(sketch, Mask):
        return _mask_matrix(sketch, start, stop, dtype).to(device)
    j = torch.arange(start, stop, dtype=torch.int64, device=device)
    if isinstance(sketch, TensorSketch):
        return _tensor_sketch_matrix(sketch, j.cpu(), dtype).to(device)
    if isinstance(sketch, SJLT):
        return _sjlt_entries(sketch, j).to(dtype) * sketch.nonzeros**-0.5
    if isinstance(sketch, SRHT):
        entries = _srht_entries(sketch, j)
    elif isinstance(sketch, Gaussian):
        entries = _gaussian_entries(sketch, j)
    else:
        entries = _rademacher_entries(sketch, j)
    return entries.to(dtype) * sketch.sketch_dim**-0.5

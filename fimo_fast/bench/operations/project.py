"""Cases of `project`: sketches of a batch of long gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...ops import project, reference
from ...sketch import SJLT, SRHT, Composition, Gaussian, Mask, Rademacher, VectorSketch
from ...testing import sum_tolerance
from ..baselines import peers, torch_sketches
from ..case import LINE, Baseline, Bound, Case, Inputs, size_in_words


@dataclass(frozen=True)
class Kind:
    """A kind of sketch with its options.

    Attributes:
        make: the sketch from input_dim and sketch_dim.
        count: additions and multiplications for one vector, from the same.
        bound: which floor applies.
        baselines: from the sketch to what a user would write in torch and what other libraries have.
        read: numbers of one vector that must be read, from the same and their bytes; all, unless it says otherwise.
    """

    make: Callable[[int, int], VectorSketch | Composition]
    count: Callable[[int, int], int]
    bound: Bound
    baselines: Callable[[Any], Mapping[str, Baseline]]
    read: Callable[[int, int, int], int] = lambda dim, k, size: dim


def _sparse_baselines(sketch: SJLT) -> Mapping[str, Baseline]:
    stored = sketch.input_dim * sketch.nonzeros * (8 + 4)  # buckets and signs
    torch_way = Baseline("torch", partial(torch_sketches.sjlt, sketch=sketch), memory=stored)
    # dattri has one nonzero a column.
    peer = {"dattri CudaProjector": peers.dattri_cuda_projector(sketch, "sjlt")} if sketch.nonzeros == 1 else {}
    return {"torch scatter_add": torch_way, **peer}


def _srht_baselines(sketch: SRHT) -> Mapping[str, Baseline]:
    return {"torch Hadamard products": Baseline("torch", partial(torch_sketches.srht, sketch=sketch))}


def _dense_baselines(
    sketch: VectorSketch, name: str, fill: Callable[[Tensor], Tensor], peer_kind: str
) -> Mapping[str, Baseline]:
    return {
        name: torch_sketches.generated(sketch, fill),
        "stored matrix product": torch_sketches.stored(sketch),
        "TRAK BasicProjector": peers.trak_projector(sketch, peer_kind),
        "dattri BasicProjector": peers.dattri_projector(sketch, peer_kind),
        "TRAK CudaProjector": peers.trak_cuda_projector(sketch, peer_kind),
        "dattri CudaProjector": peers.dattri_cuda_projector(sketch, peer_kind),
    }


_rademacher_baselines = partial(
    _dense_baselines, name="torch signs and product", fill=torch_sketches.fill_signs, peer_kind="rademacher"
)
_gaussian_baselines = partial(
    _dense_baselines, name="torch normal numbers and product", fill=torch_sketches.fill_normal, peer_kind="normal"
)


def _mask_baselines(sketch: Mask) -> Mapping[str, Baseline]:
    return {
        "torch index_select": Baseline("torch", partial(torch_sketches.mask, sketch=sketch)),
        "dattri random_mask": peers.dattri_projector(sketch, "random_mask"),
    }


def _grass(dim: int, k: int) -> Composition:
    kept = min(4 * k, dim)
    return Composition(Mask(dim, kept), SJLT(kept, k, nonzeros=1))


def _lines(dim: int, kept: int, itemsize: int) -> int:
    return min(dim, LINE // itemsize * kept)


# A new kind is one line here.
KINDS = {
    "SRHT": Kind(SRHT, lambda dim, k: dim * (2 + (k - 1).bit_length()), "read", _srht_baselines),
    "SJLT-1": Kind(partial(SJLT, nonzeros=1), lambda dim, k: 2 * dim, "read", _sparse_baselines),
    "SJLT-4": Kind(partial(SJLT, nonzeros=4), lambda dim, k: 5 * dim, "read", _sparse_baselines),
    "Rademacher": Kind(Rademacher, lambda dim, k: 2 * dim * k, "sgemm", _rademacher_baselines),
    "Gaussian": Kind(Gaussian, lambda dim, k: 2 * dim * k, "sgemm", _gaussian_baselines),
    "Mask": Kind(Mask, lambda dim, k: k, "read", _mask_baselines, _lines),
    "GraSS": Kind(
        _grass, lambda dim, k: 12 * k, "read", lambda sketch: {}, lambda dim, k, size: _lines(dim, 4 * k, size)
    ),
}

# batch, dim, sketch_dim
DEFAULT = [(32, 1_000_000, 2048)]
LARGE = [(256, 1_000_000, 2048)]  # by default only for kinds that are bound by reading: dense ones take seconds
FULL = [(b, dim, k) for dim in (1_000_000, 10_000_000) for b in (32, 256) for k in (512, 2048, 8192)]

_CHECKED_ROWS = 32
_WINDOW_ENTRIES = 2**21  # of the dense matrix of each checked window


def cases(dtypes: tuple[torch.dtype, ...], full: bool = False) -> Iterator[Case]:
    """The cases, in the order of the table."""
    for size in FULL if full else DEFAULT + LARGE:
        for name, kind in KINDS.items():
            if size in LARGE and kind.bound != "read" and not full:
                continue
            for dtype in dtypes:
                yield case(name, *size, dtype)


def case(name: str, batch: int, dim: int, sketch_dim: int, dtype: torch.dtype) -> Case:
    """One case: sketches [batch, sketch_dim] of [batch, dim]."""
    kind = KINDS[name]
    sketch = kind.make(dim, sketch_dim)
    accumulator = reference.accumulator(dtype)
    results = batch * sketch_dim * accumulator.itemsize
    read = batch * dim * dtype.itemsize
    return Case(
        operation="project",
        name=f"{name} {batch} x {size_in_words(dim)} to {sketch_dim}",
        dtype=dtype,
        sizes={"batch": batch, "dim": dim, "sketch_dim": sketch_dim},
        moved=batch * kind.read(dim, sketch_dim, dtype.itemsize) * dtype.itemsize + results,
        operations=batch * kind.count(dim, sketch_dim),
        bound=kind.bound,
        memory=read + 2 * results + min(batch, _CHECKED_ROWS) * dim * dtype.itemsize + _WINDOW_ENTRIES * 8 * 16,
        inputs=lambda device: (torch.randn(batch, dim, dtype=dtype, device=device),),
        kernel=partial(_project, sketch=sketch),
        check=partial(_check, sketch=sketch),
        baselines=kind.baselines(sketch),
    )


def _project(grads: Tensor, sketch: VectorSketch | Composition) -> Tensor:
    return project(grads, sketch)


def _check(inputs: Inputs, result: Tensor, sketch: VectorSketch | Composition) -> None:
    """Full-length rows that are zero outside three windows against the reference, and the norms of the timed result."""
    (grads,) = inputs
    rows = grads[:_CHECKED_ROWS]
    width = max(1, min(sketch.input_dim, _WINDOW_ENTRIES // sketch.sketch_dim))
    windows = sorted({0, (sketch.input_dim - width) // 2, sketch.input_dim - width})
    sparse = torch.zeros_like(rows)
    expected = rows.new_zeros(len(rows), sketch.sketch_dim, dtype=torch.float64)
    for begin in windows:
        # Short inputs: windows may overlap, and each coordinate counts once.
        part = rows[:, begin : begin + width] * (sparse[:, begin : begin + width] == 0)
        sparse[:, begin : begin + width] += part
        expected = reference.project(part.double(), sketch, begin, expected)
    tolerance = sum_tolerance(result.dtype, width * len(windows))
    error = (_project(sparse, sketch).double() - expected).norm(dim=1) / _squared_norms(sparse).sqrt()
    assert (error < tolerance).all(), f"relative error {error.max():.2g}, tolerance {tolerance:.2g}"
    # The squared norm is kept up to sqrt(2/k) a row; rows of random numbers are nearly independent.
    ratio = (result.double().square().sum(1) / _squared_norms(grads)).mean().item()
    spread = 8 * math.sqrt(2 / (sketch.sketch_dim * len(grads)))
    assert abs(ratio - 1) < spread, f"squared norms changed by the factor {ratio:.4g}, expected 1 within {spread:.2g}"


def _squared_norms(grads: Tensor) -> Tensor:
    # Row by row: in float64 all of them would take more memory than the inputs.
    return torch.stack([row.double().square().sum() for row in grads])

"""The sketches that are compared, of whole gradients and of those of linear layers from their factors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from fimo_fast.sketch import SJLT, SRHT, Composition, Factored, Gaussian, Mask, Rademacher, Sketch, TensorSketch


@dataclass(frozen=True)
class Kind:
    """One sort of sketch.

    Attributes:
        name: for people.
        make: (input_dim, sketch_dim, seed) → a sketch of vectors; for a layer (n, m, sketch_dim, seed).
        nested: the sketch for a smaller sketch_dim is the first rows of a larger one's, but for the scale
            (docs/numerics.md: an entry depends on its row, its column and the seed only).
    """

    name: str
    make: Callable[..., Sketch]
    nested: bool = False


def _mask_sjlt(dim: int, k: int, seed: int) -> Sketch:
    first = Mask(dim, min(8 * k, dim), seed)
    return Composition(first, SJLT(first.sketch_dim, k, seed, nonzeros=1))


def _sjlt_srht(dim: int, k: int, seed: int) -> Sketch:
    return Composition(SJLT(dim, 4 * k, seed, nonzeros=1), SRHT(4 * k, k, seed))


VECTOR = (
    Kind("SRHT", SRHT),
    Kind("SJLT, 1 nonzero", lambda dim, k, seed: SJLT(dim, k, seed, nonzeros=1)),
    Kind("SJLT, 4 nonzeros", lambda dim, k, seed: SJLT(dim, k, seed, nonzeros=4)),
    Kind("SJLT to 4k, SRHT", _sjlt_srht),
    Kind("Rademacher", Rademacher, nested=True),
    Kind("Gaussian", Gaussian, nested=True),
    Kind("Mask of 8k, SJLT", _mask_sjlt),
    Kind("Mask", Mask),
)

OTHER = 2**63  # flipped in the seed of the second factor


def _logra(factor: Callable[..., Sketch]) -> Callable[..., Sketch]:
    """Sketches of the inputs and of the output gradients, of the root of the size each."""

    def make(n: int, m: int, k: int, seed: int) -> Sketch:
        return Factored(a=factor(n, math.isqrt(k), seed), delta=factor(m, math.isqrt(k), seed ^ OTHER))

    return make


def _factgrass(n: int, m: int, k: int, seed: int) -> Sketch:
    """Masks of both factors that keep 8k entries of the outer product, where it has as many."""
    kept = math.isqrt(8 * k)
    masks = Factored(a=Mask(n, min(n, kept), seed), delta=Mask(m, min(m, kept), seed ^ OTHER))
    return Composition(masks, SJLT(masks.sketch_dim, k, seed, nonzeros=1))


LAYER = (
    Kind("SRHT of the gradient", lambda n, m, k, seed: SRHT(n * m, k, seed)),
    Kind("SJLT of the gradient", lambda n, m, k, seed: SJLT(n * m, k, seed, nonzeros=1)),
    Kind("SRHT of both factors", _logra(SRHT)),
    Kind("Rademacher of both factors", _logra(Rademacher)),
    Kind("TensorSketch", TensorSketch),
    Kind("Masks of both factors, SJLT", _factgrass),
)

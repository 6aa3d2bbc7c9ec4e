"""Sketches made of sketches: one after the other, and one for each factor of an outer product."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from ..utils.integers import integer
from .vector import MAX_INPUT_DIM, MAX_SKETCH_DIM, SJLT, VectorSketch

__all__ = ["Composition", "Factored", "TensorSketch"]


def _random_parts(sketch: Any) -> set[tuple[type[Any], int]]:
    """The kinds and seeds of the sketches of vectors in ``sketch``: where both agree, so do the random numbers."""
    if isinstance(sketch, VectorSketch):
        return {(type(sketch), sketch.seed)}
    parts = {
        Composition: lambda: (sketch.first, sketch.second),
        Factored: lambda: (sketch.a, sketch.delta),
        TensorSketch: lambda: sketch.factors,
    }[type(sketch)]()
    return set().union(*map(_random_parts, parts))


def _independent(names: tuple[str, str], first: Any, second: VectorSketch) -> None:
    """Refuses two parts with the same random numbers: their product would be biased."""
    if _random_parts(second) <= _random_parts(first):
        raise ValueError(
            f"{names[1]}: expected another seed than {names[0]}'s, for their random numbers to be independent; "
            f"both are {second.kind} with seed {second.seed}"
        )


@dataclass(frozen=True)
class Composition:
    """``second`` applied to the output of ``first``: the matrix product S2 S1.

    `Mask` then `SJLT` is GraSS; `SJLT` then `SRHT` reads the input once and mixes a much shorter
    vector. With `Factored` as the first stage (FactGraSS: masks of both factors, then an `SJLT`),
    only `fimo_fast.ops.outer_project` applies it.

    Args:
        first: any sketch.
        second: a sketch of vectors whose input_dim is the first one's sketch_dim.

    Raises:
        TypeError: ``first`` or ``second`` is not a sketch of the right sort.
        ValueError: the sizes do not match, or ``second`` uses random numbers of a part of ``first``.
    """

    first: VectorSketch | Factored | TensorSketch | Composition
    second: VectorSketch

    kind: ClassVar[str] = "composition"

    def __post_init__(self) -> None:
        """Checks that the two fit together."""
        if not isinstance(self.first, (VectorSketch, Factored, TensorSketch, Composition)):
            raise TypeError(f"first: expected a sketch, got {type(self.first).__name__}")
        if not isinstance(self.second, VectorSketch):
            raise TypeError(f"second: expected a sketch of vectors, got {type(self.second).__name__}")
        if self.second.input_dim != self.first.sketch_dim:
            raise ValueError(
                f"second: expected input_dim {self.first.sketch_dim} like first.sketch_dim, got {self.second.input_dim}"
            )
        _independent(("first", "second"), self.first, self.second)

    @property
    def input_dim(self) -> int:
        """Length of the vectors."""
        return self.first.input_dim

    @property
    def sketch_dim(self) -> int:
        """Length of their sketches."""
        return self.second.sketch_dim

    @property
    def spec(self) -> dict[str, Any]:
        """A JSON-able description; ``fimo_fast.sketch.from_spec`` is its inverse."""
        return {"kind": self.kind, "first": self.first.spec, "second": self.second.spec}


@dataclass(frozen=True)
class Factored:
    """One sketch for each factor of an outer product: the Kronecker product S_delta ⊗ S_a (LoGra).

    The gradient of a linear layer is sum_t delta_t a_t^T; its sketch is
    sum_t (S_delta delta_t)(S_a a_t)^T, [delta.sketch_dim, a.sketch_dim], flattened row by row. See
    Choe et al., "What is your data worth to GPT?", 2024.

    Args:
        a: a sketch of the layer's inputs.
        delta: a sketch of the gradients of its outputs.

    Raises:
        TypeError: a factor is not a sketch of vectors.
        ValueError: the product is too large, or both use the same random numbers.
    """

    a: VectorSketch
    delta: VectorSketch

    kind: ClassVar[str] = "factored"

    def __post_init__(self) -> None:
        """Checks the factors and the sizes of their product."""
        for name in ("a", "delta"):
            if not isinstance(getattr(self, name), VectorSketch):
                raise TypeError(f"{name}: expected a sketch of vectors, got {type(getattr(self, name)).__name__}")
        integer("delta.input_dim * a.input_dim", self.input_dim, 1, MAX_INPUT_DIM, "2^48")
        integer("delta.sketch_dim * a.sketch_dim", self.sketch_dim, 1, MAX_SKETCH_DIM, "2^30")
        _independent(("a", "delta"), self.a, self.delta)

    @property
    def a_dim(self) -> int:
        """Length of the layer's inputs."""
        return self.a.input_dim

    @property
    def delta_dim(self) -> int:
        """Length of the gradients of its outputs."""
        return self.delta.input_dim

    @property
    def input_dim(self) -> int:
        """Entries of the outer product."""
        return self.delta_dim * self.a_dim

    @property
    def sketch_dim(self) -> int:
        """Length of the sketches."""
        return self.delta.sketch_dim * self.a.sketch_dim

    @property
    def spec(self) -> dict[str, Any]:
        """A JSON-able description; ``fimo_fast.sketch.from_spec`` is its inverse."""
        return {"kind": self.kind, "a": self.a.spec, "delta": self.delta.spec}


@dataclass(frozen=True)
class TensorSketch:
    """CountSketch of an outer product, computed from the factors' CountSketches.

    Entry (i, j) of the outer product goes to bucket h_delta(i) XOR h_a(j) with sign
    s_delta(i) s_a(j), so the sketch is the dyadic convolution of the factors' sketches: a product
    of Walsh-Hadamard transforms. Pham and Pagh ("Fast and scalable polynomial kernels via explicit
    feature maps", KDD 2013) add buckets modulo sketch_dim and use Fourier transforms; any group
    serves their proof, and this one needs real additions only.

    Args:
        a_dim: length of the layer's inputs.
        delta_dim: length of the gradients of its outputs; at most 2^48 together.
        sketch_dim: a power of two up to 2^30.
        seed: 0 to 2^64 - 1.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: an argument is out of range, or sketch_dim is no power of two.
    """

    a_dim: int
    delta_dim: int
    sketch_dim: int
    seed: int = 0

    kind: ClassVar[str] = "tensorsketch"

    def __post_init__(self) -> None:
        """Checks the fields and makes them plain integers."""
        set_field = object.__setattr__
        for name in ("a_dim", "delta_dim"):
            set_field(self, name, integer(name, getattr(self, name), 1, MAX_INPUT_DIM, "2^48"))
        integer("a_dim * delta_dim", self.input_dim, 1, MAX_INPUT_DIM, "2^48")
        set_field(self, "sketch_dim", integer("sketch_dim", self.sketch_dim, 1, MAX_SKETCH_DIM, "2^30"))
        if self.sketch_dim & (self.sketch_dim - 1):
            raise ValueError(f"sketch_dim: expected a power of two, got {self.sketch_dim}")
        set_field(self, "seed", integer("seed", self.seed, 0, 2**64 - 1, "2^64 - 1"))

    @property
    def input_dim(self) -> int:
        """Entries of the outer product."""
        return self.a_dim * self.delta_dim

    @property
    def factors(self) -> tuple[SJLT, SJLT]:
        """The CountSketches of a and of delta; the seed of the second has its top bit flipped."""
        return (
            SJLT(self.a_dim, self.sketch_dim, self.seed, nonzeros=1),
            SJLT(self.delta_dim, self.sketch_dim, self.seed ^ 2**63, nonzeros=1),
        )

    @property
    def spec(self) -> dict[str, Any]:
        """A JSON-able description; ``fimo_fast.sketch.from_spec`` is its inverse."""
        return {"kind": self.kind, **asdict(self)}

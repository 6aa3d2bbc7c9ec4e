"""Sketches of vectors. Each maps slices of a vector at any offset, so that a long one is never put together."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from ..utils.integers import integer

__all__ = ["SJLT", "SRHT", "Gaussian", "Mask", "Rademacher", "VectorSketch"]

MAX_INPUT_DIM = 2**48
MAX_SKETCH_DIM = 2**30
MAX_NONZEROS = 65535


@dataclass(frozen=True)
class VectorSketch:
    """The fields and the checks that all sketches of vectors share; not a sketch by itself."""

    input_dim: int
    sketch_dim: int
    seed: int = 0

    kind: ClassVar[str]
    nonzeros: ClassVar[int] = 0  # an option of `SJLT` only; the kernels take it with every kind

    def __post_init__(self) -> None:
        """Checks the fields and makes them plain integers."""
        set_field = object.__setattr__  # the class is frozen for everyone else
        set_field(self, "input_dim", integer("input_dim", self.input_dim, 1, MAX_INPUT_DIM, "2^48"))
        set_field(self, "sketch_dim", integer("sketch_dim", self.sketch_dim, 1, MAX_SKETCH_DIM, "2^30"))
        set_field(self, "seed", integer("seed", self.seed, 0, 2**64 - 1, "2^64 - 1"))

    @property
    def spec(self) -> dict[str, Any]:
        """A JSON-able description; ``fimo_fast.sketch.from_spec`` is its inverse."""
        return {"kind": self.kind, **asdict(self)}

    @property
    def native(self) -> tuple[str, int, int, int, int]:
        """What the kernels take: kind, input_dim, sketch_dim, seed, nonzeros."""
        return (self.kind, self.input_dim, self.sketch_dim, self.seed, self.nonzeros)


@dataclass(frozen=True)
class Rademacher(VectorSketch):
    """Dense random signs: every entry of S is ±1/sqrt(sketch_dim).

    Args:
        input_dim: length of the vectors, 1 to 2^48.
        sketch_dim: length of their sketches, 1 to 2^30.
        seed: 0 to 2^64 - 1.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: an argument is out of range.
    """

    kind: ClassVar[str] = "rademacher"


@dataclass(frozen=True)
class Gaussian(VectorSketch):
    """Dense normal entries: every entry of S is N(0, 1)/sqrt(sketch_dim).

    The normal numbers come from the Box-Muller transform of 32 random bits for two of them, so they
    stay within ±4.86; their bits are part of the definition.

    Args:
        input_dim: length of the vectors, 1 to 2^48.
        sketch_dim: length of their sketches, 1 to 2^30.
        seed: 0 to 2^64 - 1.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: an argument is out of range.
    """

    kind: ClassVar[str] = "gaussian"


@dataclass(frozen=True)
class SJLT(VectorSketch):
    """Sparse Johnson-Lindenstrauss transform: few entries ±1/sqrt(nonzeros) in every column of S.

    The output is cut into ``nonzeros`` consecutive blocks of nearly equal length, with one entry in
    each (Kane and Nelson, "Sparser Johnson-Lindenstrauss transforms", JACM 2014, block
    construction). With one nonzero this is the CountSketch.

    Args:
        input_dim: length of the vectors, 1 to 2^48.
        sketch_dim: length of their sketches, 1 to 2^30.
        seed: 0 to 2^64 - 1.
        nonzeros: entries of a column, 1 to min(sketch_dim, 65535).

    Raises:
        TypeError: an argument is not an integer.
        ValueError: an argument is out of range.
    """

    nonzeros: int = 4  # type: ignore[misc]  # a field here, a constant elsewhere

    kind: ClassVar[str] = "sjlt"

    def __post_init__(self) -> None:
        """Checks the option after the shared fields."""
        super().__post_init__()
        most = min(self.sketch_dim, MAX_NONZEROS)
        nonzeros = integer("nonzeros", self.nonzeros, 1, most, f"{most} (at most sketch_dim)")
        object.__setattr__(self, "nonzeros", nonzeros)


@dataclass(frozen=True)
class SRHT(VectorSketch):
    """Subsampled randomised Hadamard transform in block form.

    The input is cut into blocks of L, the smallest power of two that is at least sketch_dim. Each
    block gets random signs, a Walsh-Hadamard transform, the same sketch_dim of its L rows (all, if
    sketch_dim is a power of two) and random signs again; the blocks' results are added. Every entry
    of S is ±1/sqrt(sketch_dim), as in `Rademacher`, at the cost of D log2 L.

    Args:
        input_dim: length of the vectors, 1 to 2^48.
        sketch_dim: length of their sketches, 1 to 2^30.
        seed: 0 to 2^64 - 1.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: an argument is out of range.
    """

    kind: ClassVar[str] = "srht"

    @property
    def block(self) -> int:
        """L, the length of a block: slices cut at its multiples add up to the bits of the whole."""
        return 1 << (self.sketch_dim - 1).bit_length()


@dataclass(frozen=True)
class Mask(VectorSketch):
    """A random sample of the coordinates, one from each of sketch_dim equal strata.

    Output c is coordinate j of the stratum [floor(c D / k), floor((c + 1) D / k)), j uniform in it,
    times the root of the stratum's length. Reads k of D numbers: the first stage of GraSS (Hu et
    al., "GraSS: Scalable data attribution with gradient sparsification and sparse projection", 2025).
    Its error is large where a few coordinates carry most of the inner product.

    Args:
        input_dim: length of the vectors, 1 to 2^48.
        sketch_dim: how many coordinates are kept, 1 to min(input_dim, 2^30).
        seed: 0 to 2^64 - 1.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: an argument is out of range.
    """

    kind: ClassVar[str] = "mask"

    def __post_init__(self) -> None:
        """Checks that there are as many coordinates as strata."""
        super().__post_init__()
        if self.sketch_dim > self.input_dim:
            raise ValueError(f"sketch_dim: expected at most input_dim = {self.input_dim}, got {self.sketch_dim}")

    def outputs(self, start: int, stop: int) -> range:
        """The outputs whose strata meet the coordinates [start, stop)."""
        if start >= stop:
            return range(0)
        d, k = self.input_dim, self.sketch_dim
        # c holds j exactly if c d < (j + 1) k and (c + 1) d >= (j + 1) k.
        return range(-(-(start + 1) * k // d) - 1, -(-stop * k // d))

"""Sketches: fixed random linear maps S: R^input_dim -> R^sketch_dim with E<Sx, Sy> = <x, y>.

A sketch is a small frozen value, not an array: its entries are computed from Philox4x32-10 whenever
they are needed, so the same value gives the same map on every machine, whatever the batch, the
threads or the instruction set. `project` in ``fimo_fast.ops`` applies it; ``docs/numerics.md``
defines each one to the bit.

=============  =====================================  ============================================
sketch         additions for one vector of length D   use it
=============  =====================================  ============================================
`SRHT`         D log2(sketch_dim)                     by default
`SJLT`         D nonzeros                             for a large sketch_dim and large batches
`Rademacher`   D sketch_dim                           as the textbook baseline, or for few outputs
=============  =====================================  ============================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ._integers import integer

__all__ = ["SJLT", "SRHT", "Rademacher", "Sketch", "from_spec"]

MAX_INPUT_DIM = 2**48
MAX_SKETCH_DIM = 2**30
MAX_NONZEROS = 65535


@dataclass(frozen=True)
class _Sketch:
    """The fields and the checks that all sketches share."""

    input_dim: int
    sketch_dim: int

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        set_field = object.__setattr__  # the class is frozen for everyone else
        set_field(self, "input_dim", integer("input_dim", self.input_dim, 1, MAX_INPUT_DIM, "2^48"))
        set_field(self, "sketch_dim", integer("sketch_dim", self.sketch_dim, 1, MAX_SKETCH_DIM, "2^30"))
        seed = getattr(self, "seed")  # noqa: B009  (declared by each sketch, after its options)
        set_field(self, "seed", integer("seed", seed, 0, 2**64 - 1, "2^64 - 1"))

    @property
    def options(self) -> dict[str, int]:
        """What distinguishes this sketch from others of its kind, besides sizes and seed."""
        return {}

    @property
    def spec(self) -> dict[str, Any]:
        """A JSON-able description; `from_spec` is its inverse."""
        return {
            "kind": self.kind,
            "input_dim": self.input_dim,
            "sketch_dim": self.sketch_dim,
            "seed": getattr(self, "seed"),  # noqa: B009
            "options": self.options,
        }


@dataclass(frozen=True)
class Rademacher(_Sketch):
    """Dense random signs: every entry of S is ±1/sqrt(sketch_dim).

    Args:
        input_dim: length of the vectors, 1 to 2^48.
        sketch_dim: length of their sketches, 1 to 2^30.
        seed: 0 to 2^64 - 1.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: an argument is out of range.
    """

    seed: int = 0

    kind: ClassVar[str] = "rademacher"


@dataclass(frozen=True)
class SJLT(_Sketch):
    """Sparse Johnson-Lindenstrauss transform: few entries ±1/sqrt(nonzeros) in every column of S.

    The output is cut into ``nonzeros`` consecutive blocks of nearly equal length, with one entry in
    each (Kane and Nelson, "Sparser Johnson-Lindenstrauss transforms", JACM 2014, block
    construction).

    Args:
        input_dim: length of the vectors, 1 to 2^48.
        sketch_dim: length of their sketches, 1 to 2^30.
        nonzeros: entries of a column, 1 to min(sketch_dim, 65535).
        seed: 0 to 2^64 - 1.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: an argument is out of range.
    """

    nonzeros: int = 4
    seed: int = 0

    kind: ClassVar[str] = "sjlt"

    def __post_init__(self) -> None:
        """Checks the option after the shared fields."""
        super().__post_init__()
        most = min(self.sketch_dim, MAX_NONZEROS)
        nonzeros = integer("nonzeros", self.nonzeros, 1, most, f"{most} (at most sketch_dim)")
        object.__setattr__(self, "nonzeros", nonzeros)

    @property
    def options(self) -> dict[str, int]:
        """The number of nonzeros of a column."""
        return {"nonzeros": self.nonzeros}


@dataclass(frozen=True)
class SRHT(_Sketch):
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

    seed: int = 0

    kind: ClassVar[str] = "srht"

    @property
    def block(self) -> int:
        """L, the length of a block: slices cut at its multiples add up to the bits of the whole."""
        return 1 << (self.sketch_dim - 1).bit_length()


Sketch = Rademacher | SJLT | SRHT

_KINDS: dict[str, type[Rademacher] | type[SJLT] | type[SRHT]] = {
    sketch.kind: sketch for sketch in (Rademacher, SJLT, SRHT)
}


def from_spec(spec: Mapping[str, Any]) -> Sketch:
    """The sketch that ``spec`` (see ``Rademacher.spec`` and its siblings) describes.

    Raises:
        ValueError: keys are missing or unknown, or the kind is unknown.
        TypeError: a value is not an integer.
    """
    expected = {"kind", "input_dim", "sketch_dim", "seed", "options"}
    if set(spec) != expected:
        raise ValueError(f"spec: expected the keys {sorted(expected)}, got {sorted(spec)}")
    kind = _KINDS.get(spec["kind"])
    if kind is None:
        raise ValueError(f"spec: expected kind {', '.join(sorted(_KINDS))}; got {spec['kind']!r}")
    known = {"nonzeros"} if kind is SJLT else set()
    if set(spec["options"]) != known:
        raise ValueError(f"spec: expected the options {sorted(known)} for {kind.kind}, got {sorted(spec['options'])}")
    return kind(spec["input_dim"], spec["sketch_dim"], seed=spec["seed"], **spec["options"])

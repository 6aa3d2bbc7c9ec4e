"""Sketches: fixed random linear maps S: R^input_dim -> R^sketch_dim with E<Sx, Sy> = <x, y>.

A sketch is a small frozen value, not an array: its entries are computed from Philox4x32-10 whenever
they are needed, so the same value gives the same map on every machine, whatever the batch, the
threads or the instruction set. `project` in ``fimo_fast.ops`` applies it to vectors,
`outer_project` to the gradient of a linear layer given by its factors; ``docs/numerics.md`` defines
each one to the bit.

==============  ====================================  =============================================
sketch          additions for a vector of length D    use it
==============  ====================================  =============================================
`SRHT`          D log2(sketch_dim)                    by default
`SJLT`          D nonzeros                            for a large sketch_dim and large batches
`Rademacher`    D sketch_dim                          as the textbook baseline, or for few outputs
`Gaussian`      D sketch_dim                          where a proof asks for normal entries
`Mask`          sketch_dim                            as a first stage, where reading D is too much
`Composition`   those of both stages                  mask then SJLT, SJLT then SRHT
==============  ====================================  =============================================

and for the gradient of a linear layer, sum_t delta_t a_t^T:

==============  ===================================================================================
`Factored`      one sketch for a, one for delta; the result is their outer product (LoGra)
`TensorSketch`  CountSketch of the outer product at the price of its factors
==============  ===================================================================================

May import: utils.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from .combined import Composition, Factored, TensorSketch
from .vector import SJLT, SRHT, Gaussian, Mask, Rademacher, VectorSketch

__all__ = [
    "SJLT",
    "SRHT",
    "Composition",
    "Factored",
    "Gaussian",
    "Mask",
    "Rademacher",
    "Sketch",
    "TensorSketch",
    "VectorSketch",
    "from_spec",
]

Sketch = VectorSketch | Composition | Factored | TensorSketch

_KINDS: dict[str, type[Any]] = {
    sketch.kind: sketch for sketch in (Rademacher, Gaussian, SJLT, SRHT, Mask, Composition, Factored, TensorSketch)
}


def from_spec(spec: Mapping[str, Any]) -> Any:
    """The sketch that ``spec`` describes; the inverse of the ``spec`` that every sketch has.

    Raises:
        ValueError: the kind is unknown, keys are missing or unknown, or a value is out of range.
        TypeError: a value has the wrong type.
    """
    kind = _KINDS.get(spec["kind"]) if "kind" in spec else None
    if kind is None:
        raise ValueError(f"spec: expected kind {', '.join(sorted(_KINDS))}; got {spec.get('kind')!r}")
    fields = {"kind", *(field.name for field in dataclasses.fields(kind))}
    if set(spec) != fields:
        raise ValueError(f"spec: expected the keys {sorted(fields)} for {kind.kind}, got {sorted(spec)}")
    values = {name: from_spec(value) if isinstance(value, Mapping) else value for name, value in spec.items()}
    del values["kind"]
    return kind(**values)

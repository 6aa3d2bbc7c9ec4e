"""Per-example gradients of a model: sketches, norms, inner products of them; formed only where asked for."""

from .check import Check, check
from .functional import check_finite, untransformable
from .layer_sketch import LayerSketch
from .measures import dots, dots_and_norms, formed, norm2, paths, per_example_gradients, sketch
from .pieces import Dense, Outer, Piece, Rows
from .rules import Call, rule
from .sketched import Sketches
from .stream import GradientStream

__all__ = [
    "Call",
    "Check",
    "Dense",
    "GradientStream",
    "LayerSketch",
    "Outer",
    "Piece",
    "Rows",
    "Sketches",
    "check",
    "check_finite",
    "dots",
    "dots_and_norms",
    "formed",
    "norm2",
    "paths",
    "per_example_gradients",
    "rule",
    "sketch",
    "untransformable",
]

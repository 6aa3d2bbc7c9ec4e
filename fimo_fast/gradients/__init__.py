"""Per-example gradients of a model: sketches, norms, inner products of them; formed only where asked for.

May import: problem, ops, sketch, utils.
"""

from .check import Check, check
from .gradient_set import GradientSet
from .layer_sketch import LayerSketch
from .measures import dots, dots_and_norms, formed, norm2, paths, per_example_gradients, sketch
from .rules import Call, rule
from .sketching import Sketches
from .stream import GradientStream
from .terms import Convolved, Dense, Outer, Rows, Term

__all__ = [
    "Call",
    "Check",
    "Convolved",
    "Dense",
    "GradientSet",
    "GradientStream",
    "LayerSketch",
    "Outer",
    "Term",
    "Rows",
    "Sketches",
    "check",
    "dots",
    "dots_and_norms",
    "formed",
    "norm2",
    "paths",
    "per_example_gradients",
    "rule",
    "sketch",
]

"""Per-example gradients of a model: sketches, norms and inner products of them, and themselves, formed only if asked."""

from .check import Check, check
from .functional import check_finite, per_example_gradients, untransformable
from .measures import dots, dots_and_norms, formed, norm2, paths, sketch
from .sketched import LayerSketch
from .stream import GradientStream

__all__ = [
    "Check",
    "GradientStream",
    "LayerSketch",
    "check",
    "check_finite",
    "dots",
    "dots_and_norms",
    "formed",
    "norm2",
    "paths",
    "per_example_gradients",
    "sketch",
    "untransformable",
]

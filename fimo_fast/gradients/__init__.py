"""Per-example gradients of a model: sketches, norms, inner products of them; formed only where asked for."""

from .check import Check, check
from .functional import check_finite, per_example_gradients, untransformable
from .layer_sketch import LayerSketch
from .measures import dots, dots_and_norms, formed, norm2, paths, sketch
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

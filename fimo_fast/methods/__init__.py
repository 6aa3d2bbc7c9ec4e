"""The paper's gradient-based methods and ours: choices of a sketch and of a function of the curvature, one file each.

Each has ``attribute(problem, train, queries)`` → scores [n_train, n_queries] that approximate the oracle's effects:
what giving training example i weight 0 adds to the query's loss (or output_fn). Positive: removing the example raises
it. GradDot and GradCos keep that sign but not the scale, TRAK keeps it up to the curvature of the loss in the output.

May import: curvature, gradients, problem, sketch, utils.
"""

from __future__ import annotations

import importlib
import pkgutil

from .base import METHODS, Method, register
from .grad_dot import GradCos, GradDot
from .influence import CurvatureMethod, FiniteHorizon, InfluenceFunction, spectral_scores
from .trak import TRAK

__all__ = [
    "METHODS",
    "TRAK",
    "CurvatureMethod",
    "FiniteHorizon",
    "GradCos",
    "GradDot",
    "InfluenceFunction",
    "Method",
    "register",
    "spectral_scores",
]

# A method is found by being in a file here.
for _found in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_found.name}")

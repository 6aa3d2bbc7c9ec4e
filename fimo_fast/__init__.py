"""Which training examples is a final model sensitive to, for this prediction?

Further training with and without an example answers that (the oracle); its exact derivative and the gradient-based
methods approximate it; the primitives below them make them fast.
"""

from importlib.metadata import PackageNotFoundError, version

from . import curvature, evaluate, gradients, methods, ops
from .gradients import per_example_gradients
from .methods import TRAK, FiniteHorizon, GradCos, GradDot, InfluenceFunction
from .ops import outer_dot, outer_norm2, outer_project, project, quantize, rows_project, scores, topk
from .ops.native import build_info
from .oracle import FurtherTraining, FurtherTrainingResult, UnrolledDerivative, UnrolledResponse
from .problem import Problem, by_token, data, losses
from .sketch import SJLT, SRHT, Composition, Factored, Gaussian, Mask, Rademacher, TensorSketch
from .utils.memory import workspace

try:
    __version__ = version("fimo_fast")
except PackageNotFoundError:  # imported from a source tree that was never installed
    __version__ = "0+unknown"

__all__ = [
    "SJLT",
    "SRHT",
    "TRAK",
    "Composition",
    "Factored",
    "FiniteHorizon",
    "FurtherTraining",
    "FurtherTrainingResult",
    "GradCos",
    "GradDot",
    "Gaussian",
    "InfluenceFunction",
    "Mask",
    "Problem",
    "Rademacher",
    "TensorSketch",
    "UnrolledDerivative",
    "UnrolledResponse",
    "__version__",
    "build_info",
    "by_token",
    "curvature",
    "data",
    "evaluate",
    "gradients",
    "losses",
    "methods",
    "ops",
    "outer_dot",
    "outer_norm2",
    "outer_project",
    "per_example_gradients",
    "project",
    "quantize",
    "rows_project",
    "scores",
    "topk",
    "workspace",
]

"""The oracle: further training with and without an example (the gold standard), and its exact derivative.

May import: problem, utils.
"""

from .further_training import FurtherTraining
from .result import FurtherTrainingResult
from .unrolled import UnrolledDerivative, UnrolledResponse

__all__ = ["FurtherTraining", "FurtherTrainingResult", "UnrolledDerivative", "UnrolledResponse"]

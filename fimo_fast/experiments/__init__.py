"""Ready problems and the experiment on them: the oracle, every method, and how well they agree.

May import: methods, oracle, evaluate, report, curvature, problem, utils.
"""

from .image import digits
from .tabular import PROTOCOLS, diabetes, from_csv
from .task import Task, fit

__all__ = ["PROTOCOLS", "Task", "diabetes", "digits", "fit", "from_csv"]

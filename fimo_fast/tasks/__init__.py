"""Ready problems for the demo, the reproduction of the paper, tests and benchmarks."""

from .image import digits
from .tabular import PROTOCOLS, diabetes, from_csv
from .task import Task, fit

__all__ = ["PROTOCOLS", "Task", "diabetes", "digits", "fit", "from_csv"]

"""Ready problems for the demo, the reproduction of the paper, tests and benchmarks."""

from .image import digits
from .tabular import PROTOCOLS, diabetes, from_csv
from .task import Task, cross_entropy, fit, squared_error

__all__ = ["PROTOCOLS", "Task", "cross_entropy", "diabetes", "digits", "fit", "from_csv", "squared_error"]

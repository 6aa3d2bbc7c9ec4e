"""Benchmarks of the primitives, installed with the package for ``fimo-fast bench``.

``benchmarks/`` in the source tree times the same cases with pytest-benchmark, and holds the studies of gradients and
of quality, which need other libraries and data.

Each module imports only those before it: ``case`` (what a benchmark is), ``peak`` (the machine's highest rates),
``baselines/`` (what kernels are compared with), ``operations/`` (the cases), ``clock``, ``measured`` and ``timing``
(in turns), ``predictions`` (of CUDA), ``results`` (JSON), ``table`` and ``roofline`` (what is shown), ``command``.

May import: ops, sketch, testing, report, utils.
"""

from .case import Case, Unavailable, WrongResult
from .measured import Result
from .operations import OPERATIONS, Operation, cases
from .timing import measure, names, prepare

__all__ = [
    "OPERATIONS",
    "Case",
    "Operation",
    "Result",
    "Unavailable",
    "WrongResult",
    "cases",
    "measure",
    "names",
    "prepare",
]

"""What the launches of the benchmark's cases do: trips of loops, ways not taken and bytes, from the sizes of the case.

One function for each kernel, with ``@work_of(kernel)``. The numbers repeat what the drivers (csrc/cuda/*/*.cu) decide,
so far as a launch's grid does not say it.
"""

from . import common, outer, products, sketches, topk  # noqa: F401  (each adds its kernels)
from .common import WORKS

__all__ = ["WORKS"]

"""A diagnostic: are these gradients right, for this model and these examples?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..problem import Data, Examples, Problem, stream
from .capture.whole_model import each_alone
from .measures import formed
from .stream import GradientStream


@dataclass(frozen=True)
class Check:
    """What `check` found. Errors are largest differences of a parameter's gradients, relative to its largest entry.

    Attributes:
        errors: {parameter: of the stream's gradients against plain differentiation, each example alone in both}.
        neighbours: {parameter: of an example's gradients among the batch against those of it alone}.
        paths: {parameter: its path}; see `GradientStream`.
        tolerance: What errors may be: 1e-9 in float64, 1e-3 in float32, 0.1 in 16 bits.
    """

    errors: dict[str, float]
    neighbours: dict[str, float]
    paths: dict[str, str]
    tolerance: float

    @property
    def worst(self) -> str:
        """The parameter with the largest error of either kind."""
        return max(self.errors, key=lambda name: max(self.errors[name], self.neighbours[name]))

    @property
    def ok(self) -> bool:
        """Whether all errors are within the tolerance."""
        return max(self.errors[self.worst], self.neighbours[self.worst]) <= self.tolerance

    def __str__(self) -> str:
        order = sorted(self.errors, key=lambda name: -max(self.errors[name], self.neighbours[name]))
        width = max(map(len, order))
        lines = [f"{'parameter':{width}}  against autograd  by neighbours  path"]
        lines += [
            f"{name:{width}}  {self.errors[name]:16.1e}  {self.neighbours[name]:13.1e}  {self.paths[name]}"
            for name in order
        ]
        verdict = "ok" if self.ok else "NOT ok"
        return "\n".join([*lines, f"{verdict}: largest error at {self.worst}, tolerance {self.tolerance:g}"])


def check(problem: Problem, batch: Data, of: str = "loss", examples: int = 3) -> Check:
    """Compares the gradients of a batch's first examples with plain differentiation of each of them alone.

    Two questions are answered: does the stream of gradients compute what autograd does? And does an example's gradient
    depend on its neighbours in the batch? (It should not, except for rounding.)

    Args:
        problem: Model, loss and parameters.
        batch: Examples in any form that `fimo_fast.data.stream` takes; its first batch is used.
        of: ``"loss"`` or ``"output"``.
        examples: How many are compared.

    Returns:
        The errors; ``print`` shows a table, the worst parameter first.
    """
    whole = next(iter(stream(problem, batch, "batch", 32, of)))
    few = whole[slice(0, examples)]
    paths = GradientStream(problem, few, of).paths
    among = {name: g[: len(few)] for name, g in formed(problem, whole, of, batch_size=len(whole)).items()}
    alone = formed(problem, few, of, batch_size=1)
    exact = _stacked(problem, few, of)
    eps = torch.finfo(problem.dtype).eps
    # A gradient that is zero but for rounding is compared with the model's largest.
    scale = max((_largest(g) for g in exact.values()), default=0.0) * eps**0.4
    limits = {torch.float64: 1e-9, torch.float32: 1e-3}
    errors, neighbours = {}, {}
    for name, expected in exact.items():
        size = max(_largest(expected), scale) or 1.0
        errors[name] = _largest(alone[name] - expected) / size
        neighbours[name] = _largest(among[name] - alone[name]) / size
    return Check(errors, neighbours, paths, limits.get(problem.dtype, 0.1))


def _stacked(problem: Problem, few: Examples, of: str) -> dict[str, Tensor]:
    each = list(each_alone(problem, few, of))
    return {name: torch.stack([gradients[name] for gradients in each]) for name in problem.shapes}


def _largest(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0

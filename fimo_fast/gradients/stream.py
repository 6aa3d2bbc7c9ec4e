"""Per-example gradients of one batch after another, handed over in terms."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

import torch
from torch import Tensor

from ..ops.dtypes import accumulator
from ..problem import Data, Examples, Problem, Stream, stream
from ..utils.integers import integer
from ..utils.memory import rows_within
from .capture.hooks import Receive, Site, UnlikeTrial, capture
from .capture.plan import make_plan
from .capture.whole_model import one_by_one, vectorised
from .inner_products import formed_together
from .terms import Dense, Term

_MOST = 1024  # examples of a batch


class GradientStream:
    """The terms of the gradients of examples, batch by batch, each parameter by the cheapest path that is exact.

    Args:
        problem: Model, loss and parameters.
        examples: Some of the examples to come; the first three are tried, and every path is verified on them.
        of: ``"loss"`` (training examples) or ``"output"`` (queries).

    Attributes:
        paths: {parameter: the name of the layer rule that gives its gradient, such as "linear"; "torch.func"; or
            "one by one"}.
        repeated: Parameters with several terms, because several layers or calls use them.
        batch_size: Examples of a forward and backward pass, by the size of their activations.
    """

    def __init__(self, problem: Problem, examples: Examples, of: str = "loss") -> None:
        self.problem = problem
        self.of = of
        plan = make_plan(problem, examples)
        self.paths = plan.paths
        self.repeated = plan.repeated
        self.batch_size = min(_MOST, rows_within(plan.activations * problem.dtype.itemsize, 1))
        self._sites = plan.sites
        self._verify = plan.verify
        self._rest = problem.with_parameters(plan.rest) if plan.rest else None
        self._differentiate = vectorised if plan.vectorised else one_by_one

    def __call__(self, batch: Examples, receive: Receive, tokens: int | None = None) -> None:
        """Calls ``receive(parameter, term)`` for every term of the batch's gradients: one forward, one backward pass.

        Args:
            batch: The examples.
            receive: Takes a term; what it does not keep is freed.
            tokens: Length of the sequences, to have the tokens apart where a layer knows them; such terms have
                batch · tokens rows.

        Warns:
            UserWarning: A module is called unlike on the first examples, and its parameters go one example at a time.

        Raises:
            RuntimeError: A parameter is used where the first examples did not use it.
        """
        if len(batch) == 0:
            return
        unlike = self._captured(batch, receive, tokens)
        others = self.problem.with_parameters(unlike) if unlike else None
        for problem, differentiate in ((self._rest, self._differentiate), (others, one_by_one)):
            if problem:
                for name, gradient in differentiate(problem, batch, self.of).items():
                    receive(name, Dense.of(gradient))

    def _captured(self, batch: Examples, receive: Receive, tokens: int | None) -> list[str]:
        """Captures what it can; returns the parameters of modules that this batch uses unlike the first examples."""
        sites, unlike = self._sites, set[str]()
        while sites:
            try:
                outside = capture(self.problem, sites, batch, self.of, receive, tokens, self._verify)
            except UnlikeTrial as error:
                if not unlike:
                    warnings.warn(f"{error}: the batch's gradients by its parameters go one by one", stacklevel=3)
                unlike.update(name for site in error.sites for name in site.parameters.values())
                sites = _without(sites, unlike)
                continue
            if outside:
                raise RuntimeError(
                    f"gradients: {sorted(outside)} were used outside their layers, which the first examples did not "
                    "show; put an example that does first"
                )
            break
        return [name for name in self.problem.shapes if name in unlike]

    def collect(self, batch: Examples) -> dict[str, list[Term]]:
        """All terms of a batch, {parameter: terms}."""
        terms: dict[str, list[Term]] = {name: [] for name in self.problem.shapes}
        self(batch, lambda name, term: terms[name].append(term))
        return terms

    def formed(self, batch: Examples) -> dict[str, Tensor]:
        """The gradients themselves, {parameter: [batch, *shape]}."""
        return form(self.problem, self.collect(batch), len(batch))


def prepare(problem: Problem, data: Data, name: str, of: str, batch_size: int | None) -> tuple[GradientStream, Stream]:
    """A verified stream of gradients and the batches to put through it."""
    size = None if batch_size is None else integer("batch_size", batch_size, 1)
    batches = stream(problem, data, name, 3, of)
    gradients = GradientStream(problem, next(iter(batches)), of)
    return gradients, replace(batches, batch_size=size or gradients.batch_size)


def zeros(problem: Problem, *shape: int) -> Tensor:
    """Zeros of the type and on the device of what is made of a problem's gradients."""
    return torch.zeros(shape, dtype=accumulator(problem.dtype), device=problem.device)


def form(problem: Problem, terms: Mapping[str, Sequence[Term]], count: int) -> dict[str, Tensor]:
    """The gradients of ``count`` examples put together from their terms, {parameter: [count, *shape]}."""
    result = {}
    for name, each in terms.items():
        shape = problem.shapes[name]
        values = zeros(problem, count, shape.numel())
        for some, total in formed_together(each) if each else ():
            values[some, : total.shape[1]] += total
        result[name] = values.reshape(count, *shape)
    return result


def _without(sites: Sequence[Site], names: Set[str]) -> list[Site]:
    """The sites with these parameters left out."""
    kept = []
    for site in sites:
        parameters = {inner: name for inner, name in site.parameters.items() if name not in names}
        if parameters:
            kept.append(replace(site, parameters=parameters))
    return kept

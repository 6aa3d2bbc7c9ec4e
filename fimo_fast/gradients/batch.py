"""Per-example gradients of a batch in the cheapest exact form: factors where a layer has them, tensors elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import ops
from ..data import Examples
from ..problem import Problem
from .capture import Factors, capture, factored_layers
from .functional import per_example_gradients


@dataclass(frozen=True)
class BatchGradients:
    """Gradients of a batch of examples.

    Attributes:
        factors: {module name: Factors}, for Linear layers.
        dense: {parameter name: [batch, *shape]}, for all other parameters.
    """

    factors: dict[str, Factors]
    dense: dict[str, Tensor]

    @property
    def paths(self) -> dict[str, str]:
        """How each part was obtained: {module or parameter name: "factored" or "torch.func"}."""
        return dict.fromkeys(self.factors, "factored") | dict.fromkeys(self.dense, "torch.func")

    def dot(self, other: BatchGradients) -> Tensor:
        """Inner products with another batch's gradients, [batch, other batch]; factors are never multiplied out."""
        terms = [
            ops.outer_dot(f.a, f.delta, other.factors[name].a, other.factors[name].delta)
            for name, f in self.factors.items()
        ]
        terms += [tensor.flatten(1) @ other.dense[name].flatten(1).T for name, tensor in self.dense.items()]
        return torch.stack(terms).sum(0)

    def norm2(self) -> Tensor:
        """Squared norms, [batch]."""
        terms = [ops.outer_norm2(f.a, f.delta) for f in self.factors.values()]
        terms += [tensor.flatten(1).square().sum(1) for tensor in self.dense.values()]
        return torch.stack(terms).sum(0)


class GradientStream:
    """Gradients of examples, batch by batch, every Linear layer that allows it as factors.

    A layer is taken as factors only where its factors reproduce torch.func's gradients on two examples, of a fixed
    combination of the model's outputs (the loss itself may be flat there); otherwise it goes through torch.func for
    good, with one warning. That covers what hooks cannot see: weights used outside their module, a batch that is not
    the first axis.

    Args:
        problem: Model, loss and parameters.
        examples: Some of the examples to come; the first two are tried.
        of: ``"loss"`` (training examples) or ``"output"`` (queries).
    """

    def __init__(self, problem: Problem, examples: Examples, of: str = "loss") -> None:
        self.problem = problem
        self.of = of
        self._layers = self._trusted(factored_layers(problem), examples[slice(0, 2)])

    def __call__(self, batch: Examples) -> BatchGradients:
        """Gradients of one batch."""
        factors = capture(self.problem, self._layers, batch.inputs, batch.targets, self.of) if self._layers else {}
        if factors.keys() != self._layers.keys():
            missing = sorted(self._layers.keys() - factors.keys())
            raise RuntimeError(f"gradients: layers {missing} had factors in the first examples but not in later ones")
        return BatchGradients(factors, self._dense(batch))

    def over(self, examples: Examples, size: int) -> Iterator[BatchGradients]:
        """Gradients of all examples in batches of ``size``."""
        return (self(batch) for batch in examples.batches(size))

    def agree_with(self, other: GradientStream) -> None:
        """Restricts both streams to the factored layers they share, so that their gradients can be multiplied."""
        common = self._layers.keys() & other._layers.keys()
        for stream in (self, other):
            stream._layers = {name: layer for name, layer in stream._layers.items() if name in common}

    def _dense(self, batch: Examples) -> dict[str, Tensor]:
        factored = {f"{layer}.{leaf}" if layer else leaf for layer in self._layers for leaf in ("weight", "bias")}
        rest = [name for name in self.problem.shapes if name not in factored]
        if not rest:
            return {}
        return per_example_gradients(self.problem.restricted(rest), batch.inputs, batch.targets, self.of)

    def _trusted(self, layers: dict[str, nn.Linear], few: Examples) -> dict[str, nn.Linear]:
        if not layers:
            return {}
        probe = self.problem.attributing(_combination)
        factors = capture(probe, layers, few.inputs, few.targets, "output")
        exact = per_example_gradients(probe, few.inputs, few.targets, "output")
        trusted = {
            name: layer for name, layer in layers.items() if name in factors and _reproduces(factors[name], name, exact)
        }
        if refused := sorted(layers.keys() - trusted.keys()):
            warnings.warn(
                f"gradients: layers {refused} go through torch.func: their captured inputs and output gradients do "
                "not reproduce their per-example gradients",
                stacklevel=4,
            )
        return trusted


def _combination(output: Tensor, _: Tensor) -> Tensor:
    """One number an example that depends on each of its outputs, [batch]."""
    flat = output.reshape(len(output), -1)
    # Not random numbers, which vmap would refuse; no two alike, none 0.
    return flat @ torch.arange(1, flat.shape[1] + 1, device=flat.device, dtype=flat.dtype).cos()


def _reproduces(factors: Factors, layer: str, exact: dict[str, Tensor]) -> bool:
    prefix = f"{layer}." if layer else ""
    for leaf, got in zip(("weight", "bias"), factors.materialise(), strict=True):
        if got is not None:
            expected = exact[prefix + leaf]
            if (got - expected).abs().max() > 1e4 * torch.finfo(got.dtype).eps * expected.abs().max():
                return False
    return True

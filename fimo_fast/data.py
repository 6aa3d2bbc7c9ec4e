"""Training data and queries as tensors, checked once at the border."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .problem import Problem

Data = Dataset[Any] | tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Examples:
    """Examples in memory: inputs [n, ...] and targets [n, ...]."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: slice | Tensor) -> Examples:
        return Examples(self.inputs[index], self.targets[index])

    def to(self, dtype: torch.dtype) -> Examples:
        """The same with floating-point tensors in this type (class labels stay integers)."""
        cast = (t.to(dtype) if t.is_floating_point() else t for t in (self.inputs, self.targets))
        return Examples(*cast)

    def batches(self, size: int) -> list[Examples]:
        """Consecutive batches of at most ``size``."""
        return [self[slice(i, i + size)] for i in range(0, len(self), size)]


def load(problem: Problem, data: Data, name: str) -> Examples:
    """Examples from a torch Dataset of (input, target) pairs or a pair of tensors, checked against the problem.

    Args:
        problem: Whose device and floating-point type are expected, and whose loss is tried on the first examples.
        data: A Dataset with a length, or ``(inputs [n, ...], targets [n, ...])``.
        name: What errors call it: ``train`` or ``queries``.

    Raises:
        TypeError: Not a Dataset and no pair of tensors.
        ValueError: Empty, lengths or types that differ, the wrong device, a loss that is not one number an example,
            depends on the other examples of the batch, or is not finite (the first such example is named).
    """
    problem.check_model()
    examples = _tensors(data, name, problem.device)
    if len(examples) == 0:
        raise ValueError(f"{name}: expected at least one example, got none")
    if len(examples.inputs) != len(examples.targets):
        raise ValueError(
            f"{name}: expected as many inputs as targets, got {len(examples.inputs)} and {len(examples.targets)}"
        )
    for part, tensor in (("inputs", examples.inputs), ("targets", examples.targets)):
        if tensor.device != problem.device:
            raise ValueError(f"{name} {part}: expected on {problem.device} like the model, got {tensor.device}")
        if tensor.is_floating_point() and (row := first_not_finite(tensor)) is not None:
            raise ValueError(f"{name} {part}: expected finite numbers, got NaN or infinity in example {row}")
    inputs = examples.inputs
    if inputs.is_floating_point() and inputs.dtype != problem.dtype:
        raise ValueError(
            f"{name} inputs: expected {problem.dtype} like the model's parameters, got {inputs.dtype}; "
            f"convert one of them"
        )
    _check_losses(problem, examples, name)
    return examples


def first_not_finite(values: Tensor) -> int | None:
    """The first row of ``values`` [rows, ...] with NaN or infinity in it, if any."""
    bad = ~torch.isfinite(values[:, None]).flatten(1).all(1)
    return int(bad.nonzero()[0]) if bad.any() else None


def _is_pair(data: Any) -> bool:
    return isinstance(data, (tuple, list)) and len(data) == 2 and all(isinstance(part, Tensor) for part in data)


def _tensors(data: Any, name: str, device: torch.device) -> Examples:
    if isinstance(data, Examples):
        return data
    if _is_pair(data):
        inputs, targets = data
        if inputs.dim() == 0 or targets.dim() == 0:
            raise ValueError(f"{name}: expected tensors with a first axis of examples, got a scalar")
        return Examples(inputs.detach(), targets.detach())
    if isinstance(data, Dataset) and isinstance(data, Sized):
        if len(data) == 0:
            raise ValueError(f"{name}: expected at least one example, got an empty Dataset")
        try:
            batches = list(DataLoader(data, batch_size=1024))
        except (RuntimeError, TypeError) as error:
            raise TypeError(f"{name}: expected a Dataset whose items can be stacked; torch says: {error}") from error
        if not all(_is_pair(batch) for batch in batches):
            raise TypeError(f"{name}: expected a Dataset of (input, target) pairs of tensors, got others")
        inputs, targets = (torch.cat([batch[part] for batch in batches]).to(device) for part in (0, 1))
        return Examples(inputs.detach(), targets.detach())
    raise TypeError(
        f"{name}: expected a torch Dataset with a length or a pair of tensors (inputs, targets), "
        f"got {type(data).__name__}"
    )


@torch.no_grad()
def _check_losses(problem: Problem, examples: Examples, name: str) -> None:
    """Tries the loss on all examples: finite, of the output alone, and independent of the rest of the batch."""
    parameters = problem.parameters()
    read = problem.attributed if name == "queries" else problem.loss
    start = 0
    for batch in examples.batches(1024):
        output = problem.forward(parameters, batch.inputs)
        if not isinstance(output, Tensor) or output.dim() == 0 or len(output) != len(batch):
            got = f"a tensor of shape {list(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(
                f"model: expected a tensor with the {len(batch)} examples of the batch on its first axis, got {got}; "
                "wrap the model"
            )
        values = read(output, batch.targets)
        if (row := first_not_finite(values)) is not None:
            raise ValueError(f"{name}: expected finite losses, got {values[row].item()} for example {start + row}")
        start += len(batch)
    few = examples[slice(0, 3)]
    together = problem.forward(parameters, few.inputs)
    with torch.enable_grad():
        if read(together.detach(), few.targets).requires_grad:
            raise ValueError(
                "loss_fn: expected a function of output and target alone, got one that reads parameters; use the "
                "optimizer's weight_decay for a penalty"
            )
    apart = torch.cat([problem.forward(parameters, one.inputs) for one in few.batches(1)])
    rows = torch.cat([read(together[i : i + 1], few.targets[i : i + 1]) for i in range(len(few))])
    for what, joint, single in (("model", together, apart), ("loss_fn", read(together, few.targets), rows)):
        tolerance = 1e4 * torch.finfo(problem.dtype).eps * joint.abs().max()
        if ((joint - single).abs() > tolerance).any():
            raise ValueError(
                f"{what}: expected values for an example that do not depend on the rest of the batch, got "
                f"{joint.flatten()[:6].tolist()} for examples together and {single.flatten()[:6].tolist()} one by one"
            )

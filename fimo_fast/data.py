"""Training data and queries as tensors, checked once at the border; in memory, or a batch at a time."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from . import _hugging_face
from ._integers import integer
from ._sources import MapStyle, Source, source
from ._trees import Tree, concatenate, equal, first_not_finite, index, named_leaves, rows, tree_map
from .losses import TokenOutput
from .problem import Problem

_BATCH = 256
_WORKSPACE = 256 * 2**20  # of a forward pass that tries the loss
# {problem: the kinds of data that its loss was tried on in a stream}
_TRIED: WeakKeyDictionary[Problem, set[tuple[Any, ...]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Examples:
    """Examples in memory: inputs and targets, each a tensor [n, ...] or a nested tuple or dict of such tensors."""

    inputs: Tree
    targets: Tree

    def __len__(self) -> int:
        return rows(self.targets)

    def __getitem__(self, which: slice | Tensor) -> Examples:
        return Examples(index(self.inputs, which), index(self.targets, which))

    def to(self, dtype: torch.dtype) -> Examples:
        """The same with floating-point tensors in this type (class labels and token numbers stay integers)."""

        def cast(tensor: Tensor) -> Tensor:
            return tensor.to(dtype) if tensor.is_floating_point() else tensor

        return Examples(tree_map(cast, self.inputs), tree_map(cast, self.targets))

    def batches(self, size: int) -> list[Examples]:
        """Consecutive batches of at most ``size``."""
        return [self[slice(i, i + size)] for i in range(0, len(self), size)]


Data = Examples | Dataset[Any] | DataLoader[Any] | MapStyle | Mapping[str, Any] | tuple[Any, Any]


def load(problem: Problem, data: Data, name: str, of: str = "loss") -> Examples:
    """All examples in memory, checked against the problem.

    Args:
        problem: Whose device and floating-point type are expected, and whose loss or output is tried on every example.
        data: ``(inputs, targets)`` of tensors [n, ...] or nested tuples and dicts of them; a dict of tensors with
            ``labels``; a Dataset with a length, also a ``datasets.Dataset``, whose items are such pairs or dicts; a
            DataLoader in the order of its data. What comes from the last three is moved to the model's device.
        name: What errors call it, such as ``train`` or ``queries``.
        of: What is tried: ``"loss"`` for training examples, ``"output"`` for queries.

    Raises:
        TypeError: None of these, or parts that are no tensors.
        ValueError: Empty, lengths or types that differ, the wrong device, inputs the model does not take, batches
            padded to several lengths, a DataLoader in another order, a loss that is not one number an example, depends
            on the other examples of the batch, or is not finite (the first such example is named).
    """
    problem.check_model()
    raw = _source(data, name)
    # Tensors in memory stay where they are: all in one piece.
    parts = list(_checked_batches(problem, raw, name, raw.count or 1 if raw.in_memory else 1024))
    if not parts or len(parts[0]) == 0:
        raise ValueError(f"{name}: expected at least one example, got none")
    _check_one_length(parts, name)
    examples = Examples(concatenate([part.inputs for part in parts]), concatenate([part.targets for part in parts]))
    _check_few(problem, examples[slice(0, 3)], name, of)
    _check_values(problem, examples, name, of)
    return examples


@dataclass(frozen=True)
class Stream:
    """Examples a batch at a time, as often as asked: no more than a batch is held. Made by ``stream``."""

    problem: Problem
    name: str
    batch_size: int
    source: Source
    first: Examples | None = None  # of an earlier pass

    def __len__(self) -> int:
        if self.source.count is None:
            raise TypeError(f"{self.name}: expected a known number of examples, got a DataLoader that does not tell it")
        return self.source.count

    def __iter__(self) -> Iterator[Examples]:
        for number, batch in enumerate(_checked_batches(self.problem, self.source, self.name, self.batch_size)):
            if number == 0 and self.first is not None:
                _check_same(batch, self.first, self.name)
            yield batch


def stream(problem: Problem, data: Data, name: str, batch_size: int, of: str = "loss") -> Stream:
    """Examples of ``load``'s kinds batch by batch, for data that need not fit into memory.

    Each batch is checked like ``load``'s, but the loss is tried on the first one only, and once for a problem and a
    kind of data. Batches may be padded to lengths of their own.

    Args:
        problem: As for ``load``.
        data: As for ``load``.
        name: As for ``load``.
        batch_size: Examples a batch; a DataLoader keeps its own.
        of: As for ``load``.

    Returns:
        Yields ``Examples`` in the order of the data; ``len`` is the number of examples, a TypeError where unknown.

    Raises:
        TypeError: As for ``load``.
        ValueError: As for ``load``, here about the first batch and later about each; others when read again.
    """
    problem.check_model()
    batches = Stream(problem, name, integer("batch_size", batch_size, 1), _source(data, name))
    first = next(iter(batches), None)
    if first is None or len(first) == 0:
        raise ValueError(f"{name}: expected at least one example, got none")
    kinds = [(label, leaf.dim(), leaf.dtype) for label, leaf in named_leaves((first.inputs, first.targets), "")]
    tried = _TRIED.setdefault(problem, set())
    if (key := (of, *kinds)) not in tried:
        _check_few(problem, first[slice(0, 3)], name, of)
        _check_values(problem, first, name, of)
        tried.add(key)
    few = index((first.inputs, first.targets), torch.arange(min(3, len(first)), device=problem.device))
    return replace(batches, first=Examples(*few))


def _source(data: Any, name: str) -> Source:
    return source((data.inputs, data.targets) if isinstance(data, Examples) else data, name)


def _checked_batches(problem: Problem, raw: Source, name: str, size: int) -> Iterator[Examples]:
    count = 0
    for inputs, targets in raw.batches(size):
        examples = _checked(problem, inputs, targets, raw.in_memory, name, count)
        count += len(examples)
        yield examples
    if raw.count is not None and count != raw.count:
        raise ValueError(
            f"{name}: expected the {raw.count} examples of the data, one row each, got {count} rows; the DataLoader's "
            "batches do not match its Dataset"
        )


def _checked(problem: Problem, inputs: Tree, targets: Tree, in_memory: bool, name: str, start: int) -> Examples:
    """A batch that fits the model; ``start`` examples came before."""
    leaves = [*named_leaves(inputs, f"{name} inputs"), *named_leaves(targets, f"{name} targets")]
    for label, tensor in leaves:
        if in_memory and tensor.device != problem.device:
            raise ValueError(f"{label}: expected on {problem.device} like the model, got {tensor.device}")
        if tensor.is_floating_point() and (row := first_not_finite(tensor)) is not None:
            raise ValueError(f"{label}: expected finite numbers, got NaN or infinity in example {start + row}")
    for label, tensor in named_leaves(inputs, f"{name} inputs"):
        if tensor.is_floating_point() and tensor.dtype != problem.dtype:
            raise ValueError(
                f"{label}: expected {problem.dtype} like the model's parameters, got {tensor.dtype}; "
                "convert one of them"
            )
    inputs, targets = (tree_map(lambda leaf: leaf.to(problem.device), part) for part in (inputs, targets))
    inputs = _hugging_face.with_decoder_inputs(problem.model, inputs, targets)
    if isinstance(inputs, dict):
        known = inspect.signature(problem.model.forward).parameters
        unknown = [key for key in inputs if key not in known]
        if unknown and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
            raise ValueError(
                f"{name} inputs: expected arguments of {type(problem.model).__name__}.forward, {list(known)}, got "
                f"{unknown} as well; leave them out"
            )
    return Examples(inputs, targets)


def _check_same(batch: Examples, first: Examples, name: str) -> None:
    again, before = batch[slice(0, len(first))], first[slice(0, len(batch))]
    if not equal((again.inputs, again.targets), (before.inputs, before.targets)):
        raise ValueError(
            f"{name}: expected the same examples each time they are read, got others; leave out random augmentation"
        )


def _check_one_length(parts: list[Examples], name: str) -> None:
    first = dict(_shapes(parts[0], name))
    for number, part in enumerate(parts):
        other = dict(_shapes(part, name))
        if other.keys() != first.keys():
            raise ValueError(
                f"{name}: expected batches of one form, got {list(first)} and, in batch {number}, {list(other)}"
            )
        for label, shape in other.items():
            if shape != first[label]:
                raise ValueError(
                    f"{label}: expected one shape of all examples, got {list(first[label])} in batch 0 and "
                    f"{list(shape)} in batch {number}; pad all batches to one length, or use what streams its data"
                )


def _shapes(examples: Examples, name: str) -> Iterator[tuple[str, torch.Size]]:
    for part, tree in (("inputs", examples.inputs), ("targets", examples.targets)):
        for label, tensor in named_leaves(tree, f"{name} {part}"):
            yield label, tensor.shape[1:]


@torch.no_grad()
def _check_values(problem: Problem, examples: Examples, name: str, of: str) -> None:
    """Tries the loss or output on all examples."""
    first = _forward(problem, examples[slice(0, 1)], name)
    # Inputs stand for the activations; outputs are counted with what a loss makes of them.
    per_input = sum(leaf[0].numel() * leaf.element_size() for _, leaf in named_leaves(examples.inputs, ""))
    size = _WORKSPACE // max(1, 16 * per_input + 4 * first.numel() * first.element_size())
    start = 0
    for batch in examples.batches(max(1, min(_BATCH, size))):
        values = _read(problem, _forward(problem, batch, name), batch.targets, name, of)
        if (row := first_not_finite(values)) is not None:
            what = "losses" if _function(problem, of) == "loss_fn" else "outputs"
            raise ValueError(f"{name}: expected finite {what}, got {values[row].item()} for example {start + row}")
        start += len(batch)


@torch.no_grad()
def _check_few(problem: Problem, few: Examples, name: str, of: str) -> None:
    """Tries whether the loss is the model's own, reads the output alone, and not the rest of the batch."""
    read = problem.quantity(of)
    function = _function(problem, of)
    together = _forward(problem, few, name)
    with torch.enable_grad():
        if _read(problem, together.detach(), few.targets, name, of).requires_grad:
            raise ValueError(
                f"{function}: expected a function of output and target alone, got one that reads parameters; use the "
                "optimizer's weight_decay for a penalty"
            )
    singles = few.batches(1)
    apart = torch.cat([_forward(problem, one, name) for one in singles])
    each = torch.cat([read(together[i : i + 1], one.targets) for i, one in enumerate(singles)])
    for what, joint, single in (("model", together, apart), (function, read(together, few.targets), each)):
        tolerance = 1e4 * torch.finfo(problem.dtype).eps * joint.abs().max()
        if ((joint - single).abs() > tolerance).any():
            raise ValueError(
                f"{what}: expected values for an example that do not depend on the rest of the batch, got "
                f"{joint.flatten()[:6].tolist()} for examples together and {single.flatten()[:6].tolist()} one by one"
            )
    # Targets of an output of the user's own need not be labels.
    if problem.infers_loss and (function == "loss_fn" or isinstance(problem.output_fn, TokenOutput)):
        _check_inferred(problem, singles, name)


def _check_inferred(problem: Problem, singles: list[Examples], name: str) -> None:
    digits = 5e-2 if torch.finfo(problem.dtype).bits == 16 else 1e-4
    for one in singles:
        reported = _hugging_face.own_loss(problem.model, one.inputs, one.targets)
        mine = problem.loss(_forward(problem, one, name), one.targets)[0]
        if reported is None or not torch.isfinite(reported):
            continue  # without a labelled token transformers divides 0 by 0
        if (mine - reported).abs() > digits * (1 + reported.abs()):
            raise ValueError(
                f"loss_fn: the loss inferred for {type(problem.model).__name__} is {mine.item():.6g} for an example "
                f"for which the model reports {reported.item():.6g}; give a loss_fn"
            )


def _function(problem: Problem, of: str) -> str:
    return "loss_fn" if of == "loss" or problem.output_fn is None else "output_fn"


def _read(problem: Problem, output: Tensor, targets: Tree, name: str, of: str) -> Tensor:
    try:
        return problem.quantity(of)(output, targets)
    except RuntimeError as error:
        kinds = {label: (list(leaf.shape), leaf.dtype) for label, leaf in named_leaves(targets, f"{name} targets")}
        scores = list(output.shape)
        raise ValueError(f"{name} targets: no {of} of scores {scores} and {kinds}; torch says: {error}") from error


def _forward(problem: Problem, batch: Examples, name: str) -> Tensor:
    try:
        output = problem.forward(problem.parameters(), batch.inputs)
    except (IndexError, RuntimeError) as error:
        kinds = {label: (list(leaf.shape), leaf.dtype) for label, leaf in named_leaves(batch.inputs, f"{name} inputs")}
        called = type(problem.model).__name__
        raise ValueError(f"{name} inputs: {called} cannot be called with {kinds}; torch says: {error}") from error
    if output.dim() == 0 or len(output) != len(batch):
        raise ValueError(
            f"model: expected a tensor with the {len(batch)} examples of the batch on its first axis, got a tensor of "
            f"shape {list(output.shape)}; wrap the model"
        )
    return output

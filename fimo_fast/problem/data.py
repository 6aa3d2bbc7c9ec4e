"""Training data and queries as tensors, checked when they are given; in memory, or a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.utils.data import DataLoader, Dataset

from ..utils.integers import integer
from .data_checks import check_few, check_one_length, check_same, check_values, checked
from .examples import Examples
from .problem import Problem
from .sources import MapStyle, Source, source
from .trees import concatenate, index, named_leaves

# {problem: the kinds of data that its loss has been tried on in a stream}
_TRIED: WeakKeyDictionary[Problem, set[tuple[Any, ...]]] = WeakKeyDictionary()


Data = Examples | Dataset[Any] | DataLoader[Any] | MapStyle | Mapping[str, Any] | tuple[Any, Any]


def load(problem: Problem, data: Data, name: str, of: str = "loss") -> Examples:
    """All examples in memory, checked against the problem.

    Args:
        problem: Gives the device and floating-point type; its loss or attributed quantity is tried on every example.
        data: ``(inputs, targets)`` of tensors [n, ...] or nested tuples and dicts of them; a dict of tensors with
            ``labels``; a Dataset with a length, also a ``datasets.Dataset``, whose items are such pairs or dicts; a
            DataLoader in the order of its data. Tensors of the last three are moved to the model's device.
        name: What errors call it, such as ``train`` or ``queries``.
        of: What is tried: ``"loss"`` for training examples, ``"output"`` (the attributed quantity) for queries.

    Raises:
        TypeError: Another kind of data, or parts that are no tensors.
        ValueError: Empty, lengths or types that differ, the wrong device, inputs the model does not take, batches
            padded to several lengths, a DataLoader in another order, a loss that is not one number an example, depends
            on the other examples of the batch, or is not finite (the first such example is named).
    """
    problem.check_model()
    raw = _source(data, name)
    # Tensors in memory are one batch, which copies nothing.
    parts = list(_checked_batches(problem, raw, name, raw.count or 1 if raw.in_memory else 1024))
    if not parts or len(parts[0]) == 0:
        raise ValueError(f"{name}: expected at least one example, got none")
    check_one_length(parts, name)
    examples = Examples(concatenate([part.inputs for part in parts]), concatenate([part.targets for part in parts]))
    check_few(problem, examples[slice(0, 3)], name, of)
    check_values(problem, examples, name, of)
    return examples


@dataclass(frozen=True)
class Stream:
    """Examples a batch at a time, any number of times; only one batch is held. Made by ``stream``."""

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
        return self.batches()

    def batches(self, start: int = 0) -> Iterator[Examples]:
        """The examples from row ``start`` on, which goes from 0 to their number; see ``Source.batches``.

        Raises:
            TypeError: A start that is no integer.
            ValueError: A start out of range; and as for ``stream``.
        """
        batches = _checked_batches(self.problem, self.source, self.name, self.batch_size, start)
        for number, batch in enumerate(batches):
            if number == 0 and self.first is not None and start < len(self.first):
                check_same(batch, self.first[slice(start, None)], self.name)
            yield batch


def stream(problem: Problem, data: Data, name: str, batch_size: int, of: str = "loss") -> Stream:
    """Examples batch by batch, of the same kinds as for ``load``; the data need not fit into memory.

    Each batch is checked as in ``load``, but the loss is tried on the first one only, once for a problem and a kind of
    data. Each batch may be padded to its own length.

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
        ValueError: As for ``load``: now for the first batch, while reading for each; other examples in a later pass.
    """
    problem.check_model()
    batches = Stream(problem, name, integer("batch_size", batch_size, 1), _source(data, name))
    first = next(iter(batches), None)
    if first is None or len(first) == 0:
        raise ValueError(f"{name}: expected at least one example, got none")
    kinds = [(label, leaf.dim(), leaf.dtype) for label, leaf in named_leaves((first.inputs, first.targets), "")]
    tried = _TRIED.setdefault(problem, set())
    if (key := (of, *kinds)) not in tried:
        check_few(problem, first[slice(0, 3)], name, of)
        check_values(problem, first, name, of)
        tried.add(key)
    few = index((first.inputs, first.targets), torch.arange(min(3, len(first)), device=problem.device))
    return replace(batches, first=Examples(*few))


def _source(data: Any, name: str) -> Source:
    return source((data.inputs, data.targets) if isinstance(data, Examples) else data, name)


def _checked_batches(problem: Problem, raw: Source, name: str, size: int, start: int = 0) -> Iterator[Examples]:
    count = start
    for inputs, targets in raw.batches(size, start):
        examples = checked(problem, inputs, targets, raw.in_memory, name, count)
        count += len(examples)
        yield examples
    if raw.count is not None and count != raw.count:
        raise ValueError(
            f"{name}: expected the {raw.count} examples of the data, one row each, got {count} rows; the DataLoader's "
            "batches do not match its Dataset"
        )

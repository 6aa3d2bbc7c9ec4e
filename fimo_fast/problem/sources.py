"""Sources of examples: tensors, Datasets and DataLoaders as batches of (inputs, targets), any number of times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, SequentialSampler

from ..utils.integers import integer
from .trees import Tree, from_data, index, named_leaves, rows

_TARGETS = ("labels", "label")


class MapStyle(Protocol):
    """A map-style dataset that is no torch Dataset: a ``datasets.Dataset``."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


Batches = Iterator[tuple[Tree, Tree]]  # of inputs and targets


@dataclass(frozen=True)
class Source:
    """Data as batches.

    Attributes:
        name: What errors call it.
        count: How many examples, if known beforehand.
        read: (batch size, first row) → batches; the row is below ``count``.
        in_memory: Whether the caller holds all tensors: those are not moved to another device unasked.
    """

    name: str
    count: int | None
    read: Callable[[int, int], Batches]
    in_memory: bool

    def batches(self, size: int, start: int = 0) -> Batches:
        """Batches of the rows from ``start`` on.

        Only a DataLoader of an IterableDataset, of whole batches (``batch_size=None``) or of a subclass is read from
        its beginning; all others read nothing that comes before.

        Args:
            size: Rows a batch; a DataLoader keeps its own batches, and a start inside one of them cuts it.
            start: The first row, from 0 to ``count``.

        Raises:
            TypeError: A start that is no integer.
            ValueError: A start out of range; while reading, where the count is not known.
        """
        start = integer(f"{self.name} start", start, 0, self.count)
        return iter(()) if start == self.count else self.read(size, start)


def source(data: Any, name: str) -> Source:
    """A ``Source`` that reads ``data``.

    Args:
        data: ``(inputs, targets)``, a dict with labels, a Dataset with a length, a ``datasets.Dataset`` or a DataLoader
            whose order is that of its data.
        name: What errors call it.

    Raises:
        TypeError: Another kind of data.
        ValueError: A DataLoader that shuffles, samples or leaves out examples; batches without labels.
        RuntimeError: Inside torch.inference_mode.
    """
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            f"{name}: expected a place where gradients exist, got torch.inference_mode; use torch.no_grad"
        )
    if isinstance(data, DataLoader):
        _check_order(data, name)
        known = data.batch_sampler is not None and isinstance(data.dataset, Sized)
        count = len(data.dataset) if known else None  # type: ignore[arg-type]
        return Source(name, count, lambda _, start: _loaded(data, start, name), False)
    if isinstance(data, Mapping) or (isinstance(data, (tuple, list)) and len(data) == 2):
        inputs, targets = _split(data, name)
        length = rows(inputs)

        def slices(size: int, start: int) -> Batches:
            for first in range(start, length, size):
                which = slice(first, first + size)
                yield index(inputs, which), index(targets, which)

        return Source(name, length, slices, True)
    hugging_face = hasattr(data, "with_format")
    mapped = isinstance(data, Dataset) and not isinstance(data, IterableDataset)
    if (mapped or hugging_face) and isinstance(data, Sized):
        items = _as_tensors(data) if hugging_face else data
        return Source(name, len(data), lambda size, start: _split_all(_stacked(items, size, start, name), name), False)
    raise TypeError(
        f"{name}: expected a torch Dataset with a length or a pair of tensors (inputs, targets), a dict of tensors "
        f"with labels, or a DataLoader (also of a Dataset without a length), got {type(data).__name__}"
    )


def _as_tensors(data: Any) -> Any:
    """A ``datasets.Dataset`` whose items are tensors, with the columns that the user has chosen."""
    chosen = data.format
    return data if chosen["type"] == "torch" else data.with_format("torch", columns=chosen["columns"])


def _check_order(loader: DataLoader[Any], name: str) -> None:
    # The loader does not know the sampler and drop_last of the user's own batch_sampler.
    batches = loader.batch_sampler
    known = batches is None or type(batches) is BatchSampler
    sampler = batches.sampler if isinstance(batches, BatchSampler) else loader.sampler
    if not known:
        got = f"a {type(batches).__name__}"
    elif isinstance(batches, BatchSampler) and batches.drop_last:
        got = "drop_last=True"
    elif isinstance(loader.dataset, IterableDataset):
        if loader.num_workers < 2:
            return
        # Each worker iterates over all examples again, or over a part, which changes their order.
        got = f"an IterableDataset with {loader.num_workers} workers"
    elif not isinstance(sampler, SequentialSampler):
        got = f"a {type(sampler).__name__}"
    elif loader.num_workers > 1 and not getattr(loader, "in_order", True):
        got = f"in_order=False with {loader.num_workers} workers"
    else:
        return
    raise ValueError(
        f"{name}: expected a DataLoader of all its examples in the order of its data, got {got}: row i of the scores "
        "would not be example i; use shuffle=False, drop_last=False, and at most one worker for an IterableDataset"
    )


def _loaded(loader: DataLoader[Any], start: int, name: str) -> Batches:
    """The loader's own batches from row ``start`` on."""
    sampler = loader.batch_sampler
    if start and type(loader) is DataLoader and not isinstance(loader.dataset, IterableDataset) and sampler is not None:
        assert isinstance(sampler, BatchSampler)  # by _check_order
        before = start - start % sampler.batch_size
        return _from_row(_split_all(_without_first(loader, before, sampler.batch_size), name), start - before, name)
    return _from_row(_split_all(loader, name), start, name)


def _without_first(loader: DataLoader[Any], rows_before: int, size: int) -> DataLoader[Any]:
    """A loader like this one of the batches after the first rows, which are not read."""
    count = len(loader.dataset)  # type: ignore[arg-type]
    return DataLoader(
        loader.dataset,
        batch_sampler=[list(range(i, min(i + size, count))) for i in range(rows_before, count, size)],
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
    )


def _from_row(batches: Batches, start: int, name: str) -> Batches:
    """Without the first ``start`` rows; the batch in which they end is cut."""
    before = 0
    for inputs, targets in batches:
        count = rows(inputs)
        if before >= start:
            yield inputs, targets
        elif before + count > start:
            which = slice(start - before, None)
            yield index(inputs, which), index(targets, which)
        before += count
    if before < start:
        raise ValueError(f"{name} start: expected at most the {before} examples of the data, got {start}")


def _stacked(items: Any, size: int, start: int, name: str) -> Iterator[Any]:
    batches = iter(DataLoader(items, batch_size=size, sampler=range(start, len(items))))
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (RuntimeError, TypeError) as error:
            raise TypeError(
                f"{name}: expected a Dataset whose items can be stacked (or a DataLoader with a collate_fn that pads); "
                f"torch says: {error}"
            ) from error
        yield batch


def _split_all(batches: Iterable[Any], name: str) -> Batches:
    return (_split(batch, name) for batch in batches)


def _split(batch: Any, name: str) -> tuple[Tree, Tree]:
    """Inputs and targets of a batch, with as many examples in every tensor."""
    if isinstance(batch, Mapping):
        found = [key for key in _TARGETS if key in batch]
        if len(found) != 1:
            raise ValueError(
                f"{name}: expected one of the keys {_TARGETS} for the targets, got the keys {list(batch)}; a causal "
                "language model takes its input_ids as labels, with -100 where there is padding"
            )
        pair: tuple[Any, Any] = {key: part for key, part in batch.items() if key != found[0]}, batch[found[0]]
    elif isinstance(batch, (tuple, list)) and len(batch) == 2:
        pair = batch[0], batch[1]
    else:
        got = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else type(batch).__name__
        raise TypeError(f"{name}: expected a Dataset of (input, target) pairs or of dicts, got {got}")
    inputs, targets = from_data(pair[0], f"{name} inputs"), from_data(pair[1], f"{name} targets")
    for tree in (inputs, targets):
        lengths = {label: len(tensor) for label, tensor in named_leaves(tree, "")}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"{name}: expected as many examples in every tensor, got {lengths}")
    if rows(inputs) != rows(targets):
        raise ValueError(f"{name}: expected as many inputs as targets, got {rows(inputs)} and {rows(targets)}")
    return inputs, targets

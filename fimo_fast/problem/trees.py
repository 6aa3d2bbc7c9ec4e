"""Pytrees: tensors, or nested tuples and dicts of tensors, with the examples on their first axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

Tree = Any  # Tensor | tuple[Tree, ...] | dict[str, Tree]; torch.func maps over it directly


def from_data(data: Any, name: str) -> Tree:
    """Tensors in mappings, lists and tuples as a detached tree; tensors of inference mode are copied.

    Raises:
        TypeError: Names the first part that is no tensor.
        ValueError: Names the first tensor without an axis of examples, or an empty container.
    """
    if isinstance(data, Tensor):
        if data.dim() == 0:
            raise ValueError(f"{name}: expected a tensor with a first axis of examples, got a scalar")
        return data.clone() if data.is_inference() else data.detach()
    # torch maps over a plain dict, not over the Mapping of a tokenizer.
    if isinstance(data, Mapping) and data:
        return {key: from_data(part, f"{name}[{key!r}]") for key, part in data.items()}
    if isinstance(data, (tuple, list)) and data:
        return tuple(from_data(part, f"{name}[{i}]") for i, part in enumerate(data))
    got = f"an empty {type(data).__name__}" if isinstance(data, (Mapping, tuple, list)) else type(data).__name__
    raise TypeError(f"{name}: expected tensors, got {got}; leave out or convert what the model does not read")


def tree_map(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """``function`` of each tensor and of its counterparts in the other trees."""
    return _pytree.tree_map(function, tree, *others)


def named_leaves(tree: Tree, name: str) -> Iterator[tuple[str, Tensor]]:
    """Each tensor with its name in errors: ``train inputs['input_ids']``."""
    for path, leaf in _pytree.tree_flatten_with_path(tree)[0]:
        yield name + _pytree.keystr(path), leaf


def rows(tree: Tree) -> int:
    """How many examples."""
    return len(_pytree.tree_leaves(tree)[0])


def index(tree: Tree, which: slice | Tensor) -> Tree:
    """These examples of every tensor."""
    return tree_map(lambda leaf: leaf[which], tree)


def alone(tree: Tree) -> Tree:
    """A batch of one, from one example without the batch axis (inside vmap)."""
    return tree_map(lambda leaf: leaf[None], tree)


def concatenate(trees: Sequence[Tree]) -> Tree:
    """Batches of one structure, joined."""
    return trees[0] if len(trees) == 1 else tree_map(lambda *leaves: torch.cat(leaves), *trees)


def first_not_finite(values: Tensor) -> int | None:
    """The first row of ``values`` [rows, ...] with NaN or infinity in it, if any."""
    # One pass instead of several: NaN or infinity makes the sum not finite. A sum that overflowed is checked again.
    if torch.isfinite(values.sum()):
        return None
    bad = ~torch.isfinite(values[:, None]).flatten(1).all(1)
    return int(bad.nonzero()[0]) if bad.any() else None


def equal(one: Tree, other: Tree) -> bool:
    """Whether two trees have the same tensors in the same places."""
    leaves, others = _pytree.tree_leaves(one), _pytree.tree_leaves(other)
    return len(leaves) == len(others) and all(map(torch.equal, leaves, others))


def shapes(tree: Tree) -> str:
    """For errors: ``[4, 7]`` or ``{'input_ids': [4, 7]}``."""
    return str(tree_map(lambda leaf: list(leaf.shape), tree))


def check_finite(values: Tensor, what: str, start: int = 0) -> Tensor:
    """``values`` [examples, ...], if all are finite; ``start`` examples came before.

    Raises:
        FloatingPointError: Names what is not and the first such example.
    """
    if (row := first_not_finite(values)) is not None:
        raise FloatingPointError(
            f"{what}: expected finite numbers, got NaN or infinity for example {start + row}; a loss can be finite "
            "where its gradient is not (a square root at 0, an overflow)"
        )
    return values

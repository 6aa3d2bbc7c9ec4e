"""Where the examples are in the tensors that a module takes and gives, seen from runs on two and on three examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

SIZES = (2, 3)  # no axis of a fixed length differs between the two


@dataclass(frozen=True)
class BatchAxis:
    """The axis of a tensor that holds the examples.

    Attributes:
        axis: The axis of length batch · c; None if the tensor is the same for all examples.
        folded: Whether c differs from 1: axes beside the batch were folded into it, examples outermost.
        broadcast: The first axis has length 1 whatever the batch: the tensor is broadcast over the examples.
        dim: Number of axes.
    """

    axis: int | None
    folded: bool
    broadcast: bool
    dim: int

    def apart(self, tensor: Tensor, batch: int) -> Tensor:
        """The tensor with the axis of length batch · c as two, [..., batch, c, ...]."""
        assert self.axis is not None
        return tensor.unflatten(self.axis, (batch, tensor.shape[self.axis] // batch))

    def batch_first(self, tensor: Tensor, batch: int) -> Tensor:
        """The tensor as [batch, ...], or [batch, c, ...] where axes were folded."""
        if self.broadcast:
            return tensor.expand(batch, *tensor.shape[1:])
        assert self.axis is not None
        if self.folded:
            return self.apart(tensor, batch).movedim((self.axis, self.axis + 1), (0, 1))
        return tensor.movedim(self.axis, 0)


@dataclass(frozen=True)
class CallAxes:
    """Axes of one call: of every leaf of (args, kwargs) and of the output; None for what is no tensor."""

    inputs: tuple[BatchAxis | None, ...]
    outputs: tuple[BatchAxis | None, ...]

    @property
    def replayable(self) -> bool:
        """Whether the call can be made again with one example."""
        outputs = [place for place in self.outputs if place is not None]
        return any(place and place.axis is not None for place in self.inputs) and bool(outputs) and by_example(outputs)

    @property
    def expands(self) -> bool:
        """Whether an output stands for every example, and has to be made one for each."""
        return any(place is not None and place.broadcast for place in self.outputs)

    @property
    def folded(self) -> bool:
        """Whether other axes are folded into that of the examples."""
        return any(place is not None and place.folded for place in (*self.inputs, *self.outputs))

    def fits(self, inputs: Sequence[Any], outputs: Sequence[Any], batch: int, expanded: bool) -> bool:
        """Whether a call is like the one tried: the batch on the same axes of as many tensors; some may be left out.

        Where ``expanded``, what was the same for all examples may now be there for each, as a layer before made it.
        """
        sides = ((self.inputs, inputs), (self.outputs, outputs))
        return all(
            len(places) == len(leaves)
            and all(_fits(*pair, batch, expanded) for pair in zip(places, leaves, strict=True))
            for places, leaves in sides
        )


def by_example(places: Iterable[BatchAxis | None]) -> bool:
    """Whether all these tensors tell the examples apart, or stand for every one of them."""
    return all(place is not None and (place.axis is not None or place.broadcast) for place in places)


def _fits(place: BatchAxis | None, leaf: Any, batch: int, expanded: bool) -> bool:
    if not isinstance(leaf, Tensor):
        return True  # a mask where none is needed
    if place is None or leaf.dim() != place.dim:
        return False
    if place.axis is None:
        return not place.broadcast or leaf.shape[0] == 1 or (expanded and leaf.shape[0] == batch)
    size = leaf.shape[place.axis]
    return size % batch == 0 if place.folded else size == batch


def leaves_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
    """All leaves of a call's arguments, in a fixed order."""
    return tree_leaves((args, dict(sorted(kwargs.items()))))


Shapes = tuple[list[torch.Size | None], list[torch.Size | None]]


class Observer:
    """Shapes of the inputs and outputs of every call of every module."""

    def __init__(self, model: nn.Module) -> None:
        self.calls: dict[str, list[Shapes]] = {}
        self._handles = [
            module.register_forward_hook(self._hook(name), with_kwargs=True)
            for name, module in model.named_modules(remove_duplicate=True)
        ]

    def __enter__(self) -> Observer:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, name: str) -> Any:
        def see(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            seen = tuple(
                [leaf.shape if isinstance(leaf, Tensor) else None for leaf in leaves]
                for leaves in (leaves_of(args, kwargs), tree_leaves(output))
            )
            self.calls.setdefault(name, []).append(seen)  # type: ignore[arg-type]

        return see


def call_axes(small: Mapping[str, list[Shapes]], large: Mapping[str, list[Shapes]]) -> dict[str, list[CallAxes]]:
    """Axes of the calls of each module that treats the examples alike, from calls with 2 and with 3 examples."""
    found = {}
    for name in small.keys() & large.keys():
        calls = [_of_call(*pair) for pair in zip(small[name], large[name], strict=False)]
        if len(small[name]) == len(large[name]) and all(call is not None for call in calls):
            found[name] = [call for call in calls if call is not None]
    return found


def _of_call(small: Shapes, large: Shapes) -> CallAxes | None:
    parts = []
    for few, more in zip(small, large, strict=True):
        if len(few) != len(more):
            return None
        of_leaves = [_of_tensor(*pair) for pair in zip(few, more, strict=True)]
        if any(place is False for place in of_leaves):
            return None
        parts.append(tuple(of_leaves))
    return CallAxes(*parts)  # type: ignore[arg-type]


def _of_tensor(small: torch.Size | None, large: torch.Size | None) -> BatchAxis | None | bool:
    """The axis; None for what is no tensor; False where the examples are not on one axis."""
    if small is None or large is None:
        return None if small is large else False
    if len(small) != len(large):
        return False
    differing = [axis for axis, (few, more) in enumerate(zip(small, large, strict=True)) if few != more]
    if not differing:
        return BatchAxis(None, False, len(small) > 0 and small[0] == 1, len(small))
    axis = differing[0]
    each, rest = divmod(small[axis], SIZES[0])
    if len(differing) > 1 or rest or large[axis] != each * SIZES[1]:
        return False
    return BatchAxis(axis, each != 1, False, len(small))

"""Whether a model picks or moves rows by what the data say, so that a layer's rows may be of other examples next time.

A mixture of experts gives each expert some tokens, a batch without its padding has as many rows as the mask says, a
sorted one has its examples in another order. All that can look like an ordinary axis of examples on the first few. So
operations that take elements by index, from an axis with examples on it, are looked for; batches of such models are
checked one by one (`fimo_fast.gradients.capture.hooks`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# {operation: where its axis is among the arguments}
_ALONG = {
    **dict.fromkeys(("gather", "index_select", "index_add", "index_add_", "index_copy", "index_copy_", "scatter"), 1),
    **dict.fromkeys(("scatter_", "scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_"), 1),
    **{"sort": 1, "topk": 2, "split_with_sizes": 2},
}
_ANYWHERE = {"masked_select", "masked_scatter", "masked_scatter_", "take", "put", "put_", "_pack_padded_sequence"}
_ROWS = {"embedding"}
_INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}

Seen = tuple[str, tuple[int, ...]]


class IndexingRecorder(TorchDispatchMode):
    """The operations of a run on numbers with a gradient, with the lengths of the axes they index.

    Attributes:
        seen: [(operation, lengths)], in their order.
        branches: Whether Python looked into a tensor, as ``if mask.all()`` does: another batch may take another branch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Seen] = []
        self.branches = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Calls the operation."""
        kwargs = kwargs or {}
        self.branches |= func is torch.ops.aten._local_scalar_dense.default
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if any(tensor.requires_grad for tensor in tensors):
            name = func.overloadpacket.__name__
            self.seen.append((name, _lengths(name, args, kwargs)))
        return func(*args, **kwargs)


def _lengths(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[int, ...]:
    if name in _ROWS:
        return (len(args[0]),)
    if name in _ANYWHERE:
        return tuple(args[0].shape)
    if name in _INDEXED:
        axes: list[int] = []
        for index in args[1]:
            start = axes[-1] + 1 if axes else 0
            # A mask covers as many axes as it has.
            covered = index.dim() if index is not None and index.dtype in (torch.bool, torch.uint8) else 1
            axes += [axis if index is not None else -1 - axis for axis in range(start, start + covered)]
        return tuple(args[0].shape[axis] for axis in axes if axis >= 0)
    if name in _ALONG:
        place = _ALONG[name]
        axis = args[place] if len(args) > place and isinstance(args[place], int) else kwargs.get("dim", -1)
        return (args[0].shape[axis],) if args[0].dim() else ()
    return ()


def picks_rows(small: Sequence[Seen], large: Sequence[Seen]) -> bool:
    """Whether rows may be picked by the data, seen from runs on two and on three examples.

    So it is if an axis that is indexed differs in length, and if the operations do: then the examples, or tokens, are
    gone through one by one.
    """
    return list(small) != list(large)

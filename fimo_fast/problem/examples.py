"""Examples in memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .trees import Tree, index, rows, tree_map


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

"""What a layer knows of its parameters' per-example gradients: factors, rows or numbers, never more than it must form.

A parameter's gradient is the sum of its pieces: one for each call of each layer that uses it. Entries are counted in
the flattened parameter, as in ``parameter.flatten()``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Outer:
    """A matrix Σ_t δ_t a_tᵀ for each example, [m, n]: entries [start, start + m n) of the parameter, row by row.

    Attributes:
        a: [batch, T, n].
        delta: [batch, T, m], of the same type.
        start: First entry.
        partner: The bias whose gradient is Σ_t δ_t of this very call; its own piece comes next.
    """

    a: Tensor
    delta: Tensor
    start: int = 0
    partner: str | None = None

    @property
    def width(self) -> int:
        """How many entries."""
        return self.a.shape[-1] * self.delta.shape[-1]

    def __len__(self) -> int:
        return len(self.a)

    def __getitem__(self, examples: slice) -> Outer:
        return replace(self, a=self.a[examples], delta=self.delta[examples])

    def formed(self) -> Tensor:
        """The entries, [batch, m n]."""
        dtype = torch.promote_types(self.a.dtype, torch.float32)
        return (self.delta.to(dtype).mT @ self.a.to(dtype)).flatten(1)


@dataclass(frozen=True)
class Rows:
    """Some rows of a table [rows, d]: Σ_t δ_t is added to row index_t. The gradient of an embedding.

    Attributes:
        index: [batch, T], int64.
        delta: [batch, T, d].
        rows: Of the table.
    """

    index: Tensor
    delta: Tensor
    rows: int
    start: int = 0

    @property
    def width(self) -> int:
        """How many entries."""
        return self.rows * self.delta.shape[-1]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, examples: slice) -> Rows:
        return replace(self, index=self.index[examples], delta=self.delta[examples])

    def formed(self) -> Tensor:
        """The entries, [batch, rows d]."""
        batch, _, d = self.delta.shape
        dtype = torch.promote_types(self.delta.dtype, torch.float32)
        table = self.delta.new_zeros(batch, self.rows, d, dtype=dtype)
        return table.scatter_add_(1, self.index[..., None].expand_as(self.delta), self.delta.to(dtype)).flatten(1)


@dataclass(frozen=True)
class Dense:
    """The numbers themselves: entries [start, start + width) of the parameter.

    Attributes:
        value: [batch, width].
        start: First entry.
        partner: Of a bias: the weight whose `Outer` came before and has it as its partner.
    """

    value: Tensor
    start: int = 0
    partner: str | None = None

    @property
    def width(self) -> int:
        """How many entries."""
        return self.value.shape[-1]

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, examples: slice) -> Dense:
        return replace(self, value=self.value[examples])

    def formed(self) -> Tensor:
        """The entries, [batch, width]."""
        return self.value


Piece = Outer | Rows | Dense

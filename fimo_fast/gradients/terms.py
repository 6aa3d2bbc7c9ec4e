"""What a layer knows of its parameters' per-example gradients: factors, rows or numbers, never more than it must form.

A parameter's gradient is the sum of its terms: one for each call of each layer that uses it. Entries are counted in
the flattened parameter, as in ``parameter.flatten()``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv1d_weight, conv2d_weight, conv3d_weight

from ..ops.dtypes import accumulator


@dataclass(frozen=True)
class Outer:
    """A matrix Σ_t δ_t a_tᵀ for each example, [m, n]: entries [start, start + m n) of the parameter, row by row.

    Attributes:
        a: [batch, T, n].
        delta: [batch, T, m], of the same type.
        start: First entry.
        partner: The bias whose gradient is Σ_t δ_t of this very call; its own term comes next.
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
        dtype = accumulator(self.a.dtype)
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
        dtype = accumulator(self.delta.dtype)
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

    @classmethod
    def of(cls, gradient: Tensor) -> Dense:
        """Of a formed gradient [batch, *shape]."""
        return cls(gradient.reshape(len(gradient), gradient[0].numel()))

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, examples: slice) -> Dense:
        return replace(self, value=self.value[examples])

    def formed(self) -> Tensor:
        """The entries, [batch, width]."""
        return self.value


@dataclass(frozen=True)
class Convolved:
    """The gradient of a convolution's weight [m, n, kernel...]: Σ_p δ_p window_p(x)ᵀ, n kernel numbers a window.

    Attributes:
        x: The input, [batch · c, n, spatial...].
        delta: [batch · c, m, positions...].
        batch: How many examples; each has c consecutive rows.
        kernel: Size of the windows on each spatial axis.
        stride: From window to window.
        dilation: Inside a window.
        padding: Zeros on both sides of each spatial axis; other padding is in x already.
    """

    x: Tensor
    delta: Tensor
    batch: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    start: int = 0

    @property
    def width(self) -> int:
        """How many entries."""
        return self.x.shape[1] * self.delta.shape[1] * math.prod(self.kernel)

    def __len__(self) -> int:
        return self.batch

    def __getitem__(self, examples: slice) -> Convolved:
        begin, end, _ = examples.indices(self.batch)
        each = len(self.x) // self.batch
        rows = slice(begin * each, end * each)
        return replace(self, x=self.x[rows], delta=self.delta[rows], batch=max(0, end - begin))

    def formed(self) -> Tensor:
        """The entries, [batch, m n kernel]."""
        n, m, positions = self._sizes
        if positions * n * m < _SMALL:
            return self._outer().formed()
        weight = _WEIGHTS[len(self.kernel)]
        shape = (m, self.x.shape[1], *self.kernel)
        each = len(self.x) // self.batch
        # Example by example: the convolution's own kernel needs no copy of the windows.
        rows = (
            weight(x, shape, delta, self.stride, self.padding, self.dilation).reshape(1, -1)
            for x, delta in zip(self.x.split(each), self.delta.split(each), strict=True)
        )
        if self.batch == 1:
            return next(rows)
        out = self.delta.new_empty(self.batch, self.width)
        for b, row in enumerate(rows):
            out[b : b + 1] = row
        return out

    def factored(self) -> Outer | Dense:
        """As factors, unless the gradient itself is less than these."""
        n, m, positions = self._sizes
        return self._outer() if positions * (n + m) < n * m else Dense(self.formed(), self.start)

    @property
    def _sizes(self) -> tuple[int, int, int]:
        """Numbers in a window, channels of the output, positions of an example."""
        positions = len(self.x) // max(1, self.batch) * math.prod(self.delta.shape[2:])
        return self.x.shape[1] * math.prod(self.kernel), self.delta.shape[1], positions

    def _outer(self) -> Outer:
        n, m, positions = self._sizes
        delta = self.delta.flatten(2).mT.reshape(self.batch, positions, m)
        return Outer(self._windows().reshape(self.batch, positions, n), delta, self.start)

    def _windows(self) -> Tensor:
        """[batch · c, positions..., n · kernel].

        Written tap by tap: each is one copy along the channels, where copying the view of the windows has an innermost
        loop of one row of the kernel.
        """
        around = [side for size in reversed(self.padding) for side in (size, size)]
        x = F.pad(self.x, around).movedim(1, -1).contiguous()
        positions = self.delta.shape[2:]
        rows = x.new_empty(len(x), *positions, x.shape[-1], math.prod(self.kernel))
        for number, tap in enumerate(itertools.product(*map(range, self.kernel))):
            place: list[slice] = []
            for offset, dilation, stride, count in zip(tap, self.dilation, self.stride, positions, strict=True):
                first = offset * dilation
                place.append(slice(first, first + stride * (count - 1) + 1, stride))
            rows[..., number] = x[tuple([slice(None), *place])]
        return rows.flatten(-2)


# Products of an example above which calling a kernel for it alone costs nothing.
_SMALL = 2**20
_WEIGHTS: dict[int, Callable[..., Tensor]] = {1: conv1d_weight, 2: conv2d_weight, 3: conv3d_weight}

Term = Outer | Rows | Dense | Convolved


def tensors(term: Outer | Rows | Dense) -> tuple[Tensor, ...]:
    """What a term is made of."""
    if isinstance(term, Outer):
        return term.a, term.delta
    return (term.index, term.delta) if isinstance(term, Rows) else (term.value,)


def alike(p: Outer | Rows | Dense, q: Outer | Rows | Dense) -> bool:
    """Whether two terms differ in their examples only."""
    if type(p) is not type(q) or p.start != q.start or getattr(p, "partner", None) != getattr(q, "partner", None):
        return False
    return [tensor.shape[1:] for tensor in tensors(p)] == [tensor.shape[1:] for tensor in tensors(q)]


def joined(p: Outer | Rows | Dense, q: Outer | Rows | Dense) -> Outer | Rows | Dense:
    """The examples of one after those of the other, which is alike."""
    return rebuilt(p, [torch.cat(pair) for pair in zip(tensors(p), tensors(q), strict=True)])


def rebuilt(term: Outer | Rows | Dense, parts: Sequence[Tensor]) -> Outer | Rows | Dense:
    """The term made of other tensors."""
    if isinstance(term, Outer):
        return replace(term, a=parts[0], delta=parts[1])
    if isinstance(term, Rows):
        return replace(term, index=parts[0], delta=parts[1])
    return replace(term, value=parts[0])


def by_token(term: Term, tokens: int) -> Term:
    """A term with each token as an example of its own, [batch · tokens, 1, ...]: what it adds to the gradient.

    Raises:
        ValueError: The term does not know its tokens apart.
    """
    if isinstance(term, Outer) and term.a.shape[1] == tokens:
        a, delta = (t.reshape(-1, 1, t.shape[-1]) for t in (term.a, term.delta))
        return Outer(a, delta, term.start)
    if isinstance(term, Rows) and term.index.shape[1] == tokens:
        delta = term.delta.reshape(-1, 1, term.delta.shape[-1])
        return Rows(term.index.reshape(-1, 1), delta, term.rows, term.start)
    raise ValueError(f"expected factors of {tokens} tokens, got {type(term).__name__} of {_shape(term)}")


def _shape(term: Term) -> list[int]:
    part: Tensor = term.value if isinstance(term, Dense) else term.delta
    return list(part.shape)

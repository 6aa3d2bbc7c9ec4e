"""Inner products and norms of per-example gradients from their terms, formed only where nothing cheaper is exact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .. import ops
from ..ops.dtypes import accumulator
from ..utils.memory import rows_within
from .terms import Convolved, Dense, Outer, Rows, Term


def dot(p: Term, q: Term) -> Tensor | None:
    """Inner products of every example of p with every one of q, [batch, batch of q]; None if they share no entry."""
    if _disjoint(p, q):
        return None
    p, q = _factored(p), _factored(q)
    same = (p.start, p.width) == (q.start, q.width)
    if same and isinstance(p, Outer) and isinstance(q, Outer) and p.a.shape[-1] == q.a.shape[-1]:
        return ops.outer_dot(*_of_one_type(p.a, p.delta, q.a, q.delta))
    if same and isinstance(p, Dense) and isinstance(q, Dense):
        left, right = _of_one_type(_wide(p.value), _wide(q.value))
        return left @ right.mT
    if same and isinstance(q, Rows) and not isinstance(p, Dense) and _tabular(p, q):
        return _dot_rows(p, q)
    if same and isinstance(p, Rows) and isinstance(q, Outer) and _tabular(q, p):
        return _dot_rows(q, p).mT
    return _dot_formed(p, q)


def norm2(terms: Sequence[Term]) -> Tensor:
    """Squared norms of the sum of the terms, example by example, [batch]."""
    parts = _joined(terms)
    apart = all(_disjoint(p, q) for i, p in enumerate(parts) for q in parts[:i])
    if apart:
        return torch.stack([_norm2(part) for part in parts]).sum(0)
    if len(parts) == 2:
        outers = [part for part in parts if isinstance(part, Outer)]
        rows = [part for part in parts if isinstance(part, Rows)]
        if outers and rows and _tabular(outers[0], rows[0]) and outers[0].width == rows[0].width:
            cross = torch.cat([_dot_rows(outers[0][one], rows[0][one])[0] for one in _each(len(rows[0]))])
            return _norm2(outers[0]) + _norm2(rows[0]) + 2 * cross
    return torch.cat([formed.square().sum(1) for _, formed in formed_together(parts)])


def formed_together(terms: Sequence[Term]) -> Iterator[tuple[slice, Tensor]]:
    """The sum of the terms for some examples at a time: (examples, [some, entries up to the last term's])."""
    width = max(term.start + term.width for term in terms)
    for some in chunks(len(terms[0]), width):
        total: Tensor | None = None
        for term in terms:
            values = term[some].formed()
            if total is None:
                total = values.new_zeros(len(values), width)
            total[:, term.start : term.start + term.width] += values
        assert total is not None
        yield some, total


def _factored(term: Term) -> Outer | Rows | Dense:
    return term.factored() if isinstance(term, Convolved) else term


def _norm2(term: Outer | Rows | Dense) -> Tensor:
    if isinstance(term, Outer):
        return ops.outer_norm2(*_of_one_type(term.a, term.delta))
    if isinstance(term, Dense):
        return _wide(term.value).square().sum(1)
    delta = _wide(term.delta)
    same = term.index[:, :, None] == term.index[:, None, :]
    return (delta @ delta.mT).masked_fill_(~same, 0).sum((1, 2))


def _dot_rows(p: Outer | Rows, q: Rows) -> Tensor:
    """Of an `Outer` or `Rows` p with rows: the rows that both have, [batch, batch of q]."""
    result = []
    d = q.delta.shape[-1]
    tokens = len(q) * q.index.shape[1]
    other, index = _wide(q.delta).reshape(-1, d), q.index.flatten()
    for one in chunks(len(p), tokens * p.delta.shape[1]):
        part = p[one]
        if isinstance(part, Rows):
            gram = _wide(part.delta).reshape(-1, d) @ other.mT
            gram *= part.index.flatten()[:, None] == index
        else:
            gram = _wide(part.a).reshape(-1, d) @ other.mT
            gram *= _wide(part.delta).reshape(-1, q.rows)[:, index]
        result.append(gram.reshape(len(part), -1, len(q), q.index.shape[1]).sum((1, 3)))
    return torch.cat(result)


def _dot_formed(p: Term, q: Term) -> Tensor:
    low, high = max(p.start, q.start), min(p.start + p.width, q.start + q.width)
    rows = []
    for some in chunks(len(p), p.width):
        left = p[some].formed()[:, low - p.start : high - p.start]
        columns = []
        for others in chunks(len(q), q.width):
            right = q[others].formed()[:, low - q.start : high - q.start]
            columns.append(torch.matmul(*_of_one_type(_wide(left), _wide(right).mT)))
        rows.append(torch.cat(columns, dim=1))
    return torch.cat(rows)


def _joined(terms: Sequence[Term]) -> list[Outer | Rows | Dense]:
    """The terms with those that can be written as one joined: factors and rows side by side, numbers added."""
    groups: dict[tuple[object, ...], list[Outer | Rows | Dense]] = {}
    for term in map(_factored, terms):
        inner = term.a.shape[-1] if isinstance(term, Outer) else 0
        groups.setdefault((type(term), term.start, term.width, inner), []).append(term)
    return [group[0] if len(group) == 1 else _join(group) for group in groups.values()]


def _join(group: Sequence[Outer | Rows | Dense]) -> Outer | Rows | Dense:
    first = group[0]
    if isinstance(first, Outer):
        a, delta = (torch.cat([getattr(term, factor) for term in group], dim=1) for factor in ("a", "delta"))
        return Outer(a, delta, first.start)
    if isinstance(first, Rows):
        index, delta = (torch.cat([getattr(term, part) for term in group], dim=1) for part in ("index", "delta"))
        return Rows(index, delta, first.rows, first.start)
    return Dense(torch.stack([term.value for term in group if isinstance(term, Dense)]).sum(0), first.start)


def _tabular(p: Term, q: Rows) -> bool:
    """Whether p has a row of d numbers for each row of q's table."""
    d = q.delta.shape[-1]
    return (isinstance(p, Outer) and p.a.shape[-1] == d) or (isinstance(p, Rows) and p.delta.shape[-1] == d)


def _disjoint(p: Term, q: Term) -> bool:
    return p.start >= q.start + q.width or q.start >= p.start + p.width


def chunks(count: int, width: int) -> Iterator[slice]:
    """Parts of ``count`` examples whose ``width`` numbers each take an eighth of the workspace."""
    size = rows_within(8 * width, 1 / 8)
    return (slice(i, min(i + size, count)) for i in range(0, count, size))


def _each(count: int) -> Iterator[slice]:
    return (slice(i, i + 1) for i in range(count))


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(accumulator(tensor.dtype))


def _of_one_type(*tensors: Tensor) -> tuple[Tensor, ...]:
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return tuple(tensor.to(dtype) for tensor in tensors)

"""Gradients of queries, held as terms, and inner products of training gradients with them as these go by."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..problem import Examples
from ..problem.trees import check_finite
from .inner_products import dot
from .inner_products import norm2 as norm2_of
from .stream import GradientStream, by_token
from .terms import Convolved, Dense, Outer, Rows, Term

Held = Outer | Rows | Dense


class Queries:
    """The terms of the queries' gradients, in as few groups as their shapes allow.

    Args:
        gradients: Of the queries.
        batches: The queries.
        norms: Whether to compute ``norm2``, their squared norms [queries].
    """

    def __init__(self, gradients: GradientStream, batches: Iterable[Examples], norms: bool) -> None:
        self.groups: list[tuple[int, dict[str, list[Held]]]] = []
        squares: list[Tensor] = []
        for batch in batches:
            terms = gradients.collect(batch)
            if norms:
                parts = [norm2_of(each) for each in terms.values() if each]
                squares.append(torch.stack(parts).sum(0) if parts else gradients.zeros(len(batch)))
            held = {name: [_with_ones(term) for term in each] for name, each in terms.items()}
            for name, each in held.items():
                for tensor in itertools.chain.from_iterable(map(_tensors, each)):
                    check_finite(tensor, f"queries gradients of {name}", len(self))
            self._hold(len(batch), held)
        self.norm2 = torch.cat(squares) if squares else gradients.zeros(0)

    def __len__(self) -> int:
        return sum(count for count, _ in self.groups)

    def _hold(self, count: int, terms: dict[str, list[Held]]) -> None:
        if self.groups:
            before, last = self.groups[-1]
            if all(_alike(*pair) for name in terms for pair in _pairs(last[name], terms[name])):
                joined = {name: [_joined(*pair) for pair in _pairs(last[name], terms[name])] for name in terms}
                self.groups[-1] = (before + count, joined)
                return
        self.groups.append((count, terms))


class Products:
    """Inner products of one training batch with all queries, term by term.

    Args:
        queries: The queries.
        gradients: Of the training examples.
        batch: How many of them.
        tokens: Length of their sequences, to have the tokens apart.
    """

    def __init__(self, queries: Queries, gradients: GradientStream, batch: int, tokens: int | None) -> None:
        self._queries = queries
        self._tokens = tokens
        self._sum = gradients.zeros(batch * (tokens or 1), len(queries))
        self._shape = (batch, len(queries)) if tokens is None else (batch, tokens, len(queries))

    @property
    def total(self) -> Tensor:
        """[batch, queries] or [batch, tokens, queries]."""
        return self._sum.reshape(self._shape)

    def add(self, name: str, term: Term) -> None:
        """Takes one term."""
        if self._tokens is not None and len(term) != len(self._sum):
            try:
                term = by_token(term, self._tokens)
            except ValueError as error:
                raise ValueError(
                    f"tokens: the gradient of {name} is not known as a sum over positions ({error}); select other "
                    "parameters"
                ) from error
        whole = _with_ones(term)
        at = 0
        for count, terms in self._queries.groups:
            for other in terms[name]:
                if (product := _product(term, whole, other)) is not None:
                    self._sum[:, at : at + count] += product
            at += count


def _product(term: Term, whole: Held, other: Held) -> Tensor | None:
    """Of a term, ``whole`` with its bias where it has one, and a held term, which is so already.

    A weight's inner product includes its bias's where both sides know it: ⟨δ, δ'⟩ (⟨a, a'⟩ + 1).
    """
    if isinstance(other, Dense) and isinstance(term, Dense) and term.partner and term.partner == other.partner:
        return None
    if isinstance(other, Outer) and other.partner:
        if isinstance(term, Outer) and term.partner == other.partner:
            return dot(whole, other)
        return dot(term, replace(other, a=other.a[..., :-1]))
    return dot(term, other)


def _with_ones(term: Term) -> Held:
    """Factors, as far as there are; a weight's with a last column of ones, for the bias beside it."""
    if isinstance(term, Convolved):
        return term.factored()
    if isinstance(term, Outer) and term.partner:
        return replace(term, a=F.pad(term.a, (0, 1), value=1.0))
    return term


def _tensors(term: Held) -> tuple[Tensor, ...]:
    if isinstance(term, Outer):
        return term.a, term.delta
    return (term.index, term.delta) if isinstance(term, Rows) else (term.value,)


def _pairs(first: list[Held], second: list[Held]) -> list[tuple[Held | None, Held | None]]:
    longest = max(len(first), len(second))
    fill: list[None] = [None] * longest
    return list(zip([*first, *fill][:longest], [*second, *fill][:longest], strict=True))


def _alike(p: Held | None, q: Held | None) -> bool:
    if p is None or q is None or type(p) is not type(q) or p.start != q.start:
        return False
    if getattr(p, "partner", None) != getattr(q, "partner", None):
        return False
    return [tensor.shape[1:] for tensor in _tensors(p)] == [tensor.shape[1:] for tensor in _tensors(q)]


def _joined(p: Held | None, q: Held | None) -> Held:
    assert p is not None and q is not None
    parts = [torch.cat(pair) for pair in zip(_tensors(p), _tensors(q), strict=True)]
    if isinstance(p, Outer):
        return replace(p, a=parts[0], delta=parts[1])
    if isinstance(p, Rows):
        return replace(p, index=parts[0], delta=parts[1])
    return replace(p, value=parts[0])

"""How a `GradientSet` holds terms: a weight and the bias of the same call as one matrix, in memory of its own."""

from __future__ import annotations

from dataclasses import replace

import torch.nn.functional as F

from .terms import Convolved, Dense, Outer, Rows, Term, alike, rebuilt, tensors

Held = Outer | Rows | Dense
"""A term as it is held. Of a weight with ``partner`` the last column is the bias."""


def with_bias(term: Term) -> Held:
    """Factors, as far as there are; a weight's with a last column of ones, for the bias of the same call."""
    if isinstance(term, Convolved):
        return term.factored()
    if isinstance(term, Outer) and term.partner:
        return replace(term, a=F.pad(term.a, (0, 1), value=1.0))
    return term


def without_bias(term: Held) -> Held:
    """A weight's factors alone."""
    return replace(term, a=term.a[..., :-1]) if isinstance(term, Outer) and term.partner else term


def in_own_memory(term: Held, given: set[int]) -> Held:
    """The term with copies of tensors whose memory is the caller's."""
    parts = [x.clone() if x.untyped_storage().data_ptr() in given else x for x in tensors(term)]
    return rebuilt(term, parts)


def check_mapped(name: str, term: Held, new: object) -> None:
    """Refuses what cannot take the place of a term."""
    if not isinstance(new, (Outer, Rows, Dense)):
        raise TypeError(f"function: expected an Outer, Rows or Dense for {name}, got {type(new).__name__}")
    lengths = {len(x) for x in tensors(new)}
    if (new.start, new.width, lengths) != (term.start, term.width, {len(term)}):
        raise ValueError(
            f"function: expected {len(term)} x {term.width} entries from {term.start} on for {name}, got "
            f"{sorted(lengths)} x {new.width} from {new.start} on"
        )
    if isinstance(term, Outer) and term.partner:
        if not isinstance(new, Outer) or new.partner != term.partner:
            raise ValueError(f"function: expected an Outer with partner {term.partner!r} for {name}")
        if new.a.shape[-1] != term.a.shape[-1]:
            raise ValueError(f"function: expected a with {term.a.shape[-1]} columns for {name}, got {new.a.shape[-1]}")
    if isinstance(new, Outer) and (new.a.dtype != new.delta.dtype or new.a.shape[:2] != new.delta.shape[:2]):
        sides = [(list(x.shape), x.dtype) for x in (new.a, new.delta)]
        raise ValueError(f"function: expected a and delta of one type, [{len(term)}, T, ...], for {name}, got {sides}")


def alone(term: Held) -> Held:
    """The term without the promise that its partner is a column of ones."""
    return replace(term, partner=None) if isinstance(term, (Outer, Dense)) else term


def same_shapes(first: list[Held], second: list[Held]) -> bool:
    """Whether the terms of a parameter differ in their examples only."""
    return len(first) == len(second) and all(map(alike, first, second))

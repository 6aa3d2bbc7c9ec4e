"""Contenders in turns: examples a second of each, all in one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

import torch

from fimo_fast.bench.clock import time_call

_ROUNDS = (3, 15)
_SLOW = 5.0  # seconds; such a contender gets two rounds
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Part:
    """A step of a contender that is timed on its own.

    Attributes:
        call: the step.
        share: of the step's whole work that one call does; its time is divided by it.
    """

    call: Callable[[], object]
    share: float = 1.0


@dataclass
class Contender:
    """One implementation of the gradients of a batch, ready to be timed.

    Attributes:
        name: of the row.
        examples: in a batch.
        parts: the steps, in order.
        covers: share of the model's parameters whose gradients it takes.
        result: what comes out: "none", "gradients" or the numbers of a sketch.
        note: what a reader must know.
        rounds: seconds of a batch, one number a round.
    """

    name: str
    examples: int
    parts: Sequence[Part]
    covers: float = 1.0
    result: str | int = "none"
    note: str = ""
    rounds: list[float] = field(default_factory=list)

    @property
    def best(self) -> float:
        """Examples a second in the shortest round."""
        return self.examples / min(self.rounds)

    @property
    def median(self) -> float:
        """Examples a second in the round in the middle."""
        return self.examples / median(self.rounds)


def take_turns(contenders: Sequence[Contender], threads: int, seconds: float) -> None:
    """Adds 3 to 15 rounds to each contender, about ``seconds`` in all; two to those that take long.

    Each is called once before, so that no time contains compilation or first memory. Rounds start one contender later
    each time, so that none always follows the same one.
    """
    last = [_time(contender, threads) for contender in contenders]
    pairs = zip(contenders, last, strict=True)
    last = [taken if taken > _SLOW else _time(contender, threads) for contender, taken in pairs]
    quick = sum(taken for taken in last if taken <= _SLOW)
    rounds = min(_ROUNDS[1], max(_ROUNDS[0], int(seconds / max(quick, 1e-9))))
    for turn in range(rounds):
        for place in range(len(contenders)):
            i = (place + turn) % len(contenders)
            if turn < 2 or last[i] <= _SLOW:
                contenders[i].rounds.append(_time(contenders[i], threads, _repeats(last[i])))


def _repeats(taken: float) -> int:
    """Calls in a turn: as many as make 50 ms, at most 20."""
    return max(1, min(20, round(0.05 / max(taken, 1e-6))))


def _time(contender: Contender, threads: int, repeats: int = 1) -> float:
    if len(contender.parts) == 1 and contender.parts[0].share == 1:
        return time_call(contender.parts[0].call, _CPU, threads, repeats)
    return sum(time_call(part.call, _CPU, threads) / part.share for part in contender.parts)

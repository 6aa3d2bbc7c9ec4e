"""Progress of long work, with an estimate of what is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[[float], None]


class Plan:
    """Several stages of work under one progress bar, with their costs estimated beforehand.

    Args:
        stages: {what: estimated cost}, in any one unit; the bar advances by these.
    """

    def __init__(self, stages: Mapping[str, float]) -> None:
        self._costs = dict(stages)
        self._bars = _bars()
        self._task = self._bars.add_task("", total=sum(stages.values()))
        self._cost = 0.0

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Shows the bar while the work goes on."""
        with self._bars:
            yield

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """One of the stages. Tracked work inside advances the bar by the stage's cost; leaving completes it."""
        before = self._bars.tasks[0].completed
        self._cost = self._costs[name]
        self._bars.update(self._task, description=name)
        yield
        self._bars.update(self._task, completed=before + self._cost)

    def advance(self, share: float) -> None:
        """Advances by a share of the current stage."""
        self._bars.advance(self._task, share * self._cost)


@contextmanager
def track(progress: bool | Plan, description: str, total: float | None) -> Iterator[Advance]:
    """Yields ``advance(amount)`` for work of size ``total``.

    Args:
        progress: False: nothing is shown; True: a bar of its own; a Plan: part of its current stage.
        description: What is being done.
        total: In the unit that ``advance`` is called with; None if unknown: the bar then shows time only.
    """
    if isinstance(progress, Plan):
        yield lambda amount: progress.advance(amount / total if total else 0.0)
    elif progress:
        with _bars() as bars:
            task = bars.add_task(description, total=total)
            yield lambda amount: bars.advance(task, amount)
    else:
        yield lambda amount: None


def _bars() -> Progress:
    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn())
    # A long window: the stages of a plan differ in speed, and the estimate should not jump.
    return Progress(
        TextColumn("{task.description}"), *columns, TextColumn("left"), TimeRemainingColumn(), speed_estimate_period=60
    )

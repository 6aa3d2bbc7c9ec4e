"""Sentences computed from the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from .results import Experiment, Method
from .style import Style, epoch, number, percent, seconds
from .tables import of_ceiling, ranked

CHANGE = 0.1  # a curve that moves less than this between the first and last epoch stays unmentioned


def lead(experiments: Sequence[Experiment], styles: dict[str, Style]) -> str:
    """One sentence about all experiments; empty for a single one."""
    winners = Counter(styles[best.name].name for e in experiments if (best := _best(e)))
    if len(experiments) < 2 or not winners:
        return ""
    name, wins = winners.most_common(1)[0]
    where = (
        f"all {len(experiments)} experiments"
        if wins == len(experiments)
        else f"{wins} of {len(experiments)} experiments"
    )
    return f"{name} has the highest agreement at the last epoch in {where}."


def answer(experiment: Experiment, styles: dict[str, Style]) -> str:
    """How well the best method predicts further training, who is next, who falls, who rises."""
    best = _best(experiment)
    at = f"At epoch {epoch(experiment.epochs[-1])}"
    if best is None:
        return f"{at} no method was measured."
    ceiling = experiment.reliability[-1]
    first = f"{at} {styles[best.name].name} reaches {number(best.cosine[-1])}"
    if np.isfinite(ceiling):
        share = of_ceiling(experiment, best.cosine)[-1]
        first += f" of a ceiling of {number(ceiling)}"
        first += f" ({percent(share)})" if np.isfinite(share) else ""
    else:
        first += " (the ceiling is not known)"
    if np.isfinite(best.seconds) and np.isfinite(experiment.oracle_seconds):
        first += f", in {seconds(best.seconds)} s against {seconds(experiment.oracle_seconds)} s for the gold standard"
    sentences = [first + ".", _next(experiment, best, styles), *_changes(experiment, styles)]
    return " ".join(s for s in sentences if s)


def figure_description(experiment: Experiment, styles: dict[str, Style]) -> str:
    """The alternative text of the figure: end values of all curves."""
    ends = ", ".join(f"{styles[m.name].name} {number(m.cosine[-1])}" for m in ranked(experiment))
    return (
        f"Cosine agreement with the gold standard against epochs of further training,"
        f" {experiment.title}. At epoch {epoch(experiment.epochs[-1])}:"
        f" ceiling {number(experiment.reliability[-1])}, {ends}."
    )


def _best(experiment: Experiment) -> Method | None:
    first = ranked(experiment)[0]
    return first if np.isfinite(first.cosine[-1]) else None


def _next(experiment: Experiment, best: Method, styles: dict[str, Style]) -> str:
    others = [m for m in ranked(experiment) if m is not best and np.isfinite(m.cosine[-1])]
    if not others:
        return ""
    # Overlapping intervals do not prove a tie, but they forbid announcing a winner.
    near = [m for m in others if m.cosine_interval[-1, 1] >= best.cosine_interval[-1, 0]]
    if near:
        names = _list([f"{styles[m.name].name} ({number(m.cosine[-1])})" for m in near])
        return f"{names} cannot be told apart from it within the intervals."
    return f"Next comes {styles[others[0].name].name} with {number(others[0].cosine[-1])}."


def _changes(experiment: Experiment, styles: dict[str, Style]) -> list[str]:
    change = [
        (float(m.cosine[-1] - m.cosine[0]), m) for m in experiment.methods if np.isfinite(m.cosine[[0, -1]]).all()
    ]
    if not change:
        return []
    sentences = []
    for verb, (size, m) in (
        ("falls", min(change, key=lambda c: c[0])),
        ("rises", max(change, key=lambda c: c[0])),
    ):
        if (size <= -CHANGE) if verb == "falls" else (size >= CHANGE):
            sentences.append(
                f"{styles[m.name].name} {verb} from {number(m.cosine[0])} at epoch"
                f" {epoch(experiment.epochs[0])} to {number(m.cosine[-1])}."
            )
    return sentences


def _list(items: list[str]) -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]

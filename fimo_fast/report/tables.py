"""The contents of the tables: one row a method, one for the ceiling, numbers not yet formatted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .results import Experiment, Floats, Method
from .style import Style, epoch

HELD = 0.9  # "holds" means: at least this fraction of the ceiling


@dataclass(frozen=True)
class Row:
    """One line of the table of an experiment.

    Attributes:
        kind: ``method``, ``own`` (over the oracle's own seeds) or ``ceiling``.
        method: name as in the input; empty for the ceiling.
        label: what is written.
        cosine: [C] at the chosen epochs.
        cosine_interval: [C, 2].
        spearman: at the last epoch.
        spearman_interval: [2].
        of_ceiling: cosine divided by the ceiling at the last epoch.
        held: at which epochs the method reaches 90 % of the ceiling, in words.
        seconds: cost.
        best: [C + 1] whether this method has the highest cosine, or Spearman, of the column.
    """

    kind: str
    method: str
    label: str
    cosine: Floats
    cosine_interval: Floats
    spearman: float
    spearman_interval: Floats
    of_ceiling: float
    held: str
    seconds: float
    best: tuple[bool, ...]


def chosen_epochs(experiment: Experiment) -> list[int]:
    """Indices of the first, middle and last epoch, without repetition."""
    last = experiment.epochs.size - 1
    return sorted({0, last // 2, last})


def ranked(experiment: Experiment) -> list[Method]:
    """The methods, best cosine at the last epoch first, those not measured there at the end."""
    return sorted(
        experiment.methods,
        key=lambda m: (np.isnan(m.cosine[-1]), -np.nan_to_num(m.cosine[-1])),
    )


def rows(experiment: Experiment, styles: dict[str, Style]) -> list[Row]:
    """The table of an experiment: methods by rank, then the ceiling."""
    at = chosen_epochs(experiment)
    columns = [[m.cosine[i] for m in experiment.methods] for i in at]
    columns.append([m.spearman[-1] for m in experiment.methods])
    # Two decimals are shown, so what reads the same is equally good.
    tops = [np.round(np.nanmax(c), 2) if np.isfinite(c).any() else np.nan for c in columns]
    none = np.full(2, np.nan)
    table: list[Row] = []
    for m in ranked(experiment):
        values = [*m.cosine[at], m.spearman[-1]]
        table.append(
            Row(
                "method",
                m.name,
                styles[m.name].name,
                m.cosine[at],
                m.cosine_interval[at],
                float(m.spearman[-1]),
                m.spearman_interval[-1],
                float(of_ceiling(experiment, m.cosine)[-1]),
                held(experiment, m.cosine),
                m.seconds,
                tuple(bool(np.round(v, 2) == top) for v, top in zip(values, tops, strict=True)),
            )
        )
        if m.own_cosine is not None and m.own_spearman is not None:
            table.append(
                Row(
                    "own",
                    m.name,
                    "own seeds",
                    m.own_cosine[at],
                    np.full((len(at), 2), np.nan),
                    float(m.own_spearman[-1]),
                    none,
                    float(of_ceiling(experiment, m.own_cosine)[-1]),
                    held(experiment, m.own_cosine),
                    np.nan,
                    (False,) * len(values),
                )
            )
    table.append(
        Row(
            "ceiling",
            "",
            "Ceiling",
            experiment.reliability[at],
            experiment.reliability_interval[at],
            np.nan,
            none,
            np.nan,
            "",
            experiment.oracle_seconds,
            (False,) * (len(at) + 1),
        )
    )
    return table


def of_ceiling(experiment: Experiment, cosine: Floats) -> Floats:
    """[E] a curve divided by the ceiling; NaN where the ceiling is unknown or not positive."""
    # A gold standard that does not agree with itself is nothing to take a share of.
    ceiling = np.where(experiment.reliability > 0, experiment.reliability, np.nan)
    return cosine / ceiling


def held(experiment: Experiment, cosine: Floats) -> str:
    """At which epochs a curve reaches 90 % of the ceiling.

    Returns:
        ``all``, ``none``, a range such as ``1–5``, or, where they are scattered, ``12 of 20``;
        ``–`` where the ceiling or the curve is unknown everywhere.
    """
    share = of_ceiling(experiment, cosine)
    known = np.isfinite(share)
    if not known.any():
        return "–"
    epochs = experiment.epochs[known]
    reached = np.flatnonzero(share[known] >= HELD)
    if reached.size == 0:
        return "none"
    if reached.size == epochs.size:
        return "all"
    first, last = reached[0], reached[-1]
    if last - first + 1 != reached.size:
        return f"{reached.size} of {epochs.size}"
    return epoch(epochs[first]) + (f"–{epoch(epochs[last])}" if last > first else "")

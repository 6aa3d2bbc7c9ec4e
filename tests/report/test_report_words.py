"""Sentences and tables say what the numbers say."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from fimo_fast.report import summary_table
from fimo_fast.report.results import parse
from fimo_fast.report.style import styles
from fimo_fast.report.tables import chosen_epochs, held, rows
from fimo_fast.report.words import answer, lead

Make = Callable[..., dict[str, Any]]


def said(raw: dict[str, Any]) -> str:
    experiment = parse(raw).experiments[0]
    return answer(experiment, styles(m.name for m in experiment.methods))


def test_answer(results: Make) -> None:
    assert said(results()) == (
        "At epoch 20 Unrolled derivative reaches .86 of a ceiling of .83 (104\u202f%), in 1.5 s"
        " against 41 s for the gold standard. Next comes Finite horizon with .80."
        " Grad-Dot falls from .87 at epoch 1 to .42."
        " Influence function rises from .25 at epoch 1 to .47."
    )


def test_answer_does_not_announce_a_winner_within_intervals(results: Make) -> None:
    raw = results()
    raw["experiments"][0]["methods"]["FiniteHorizon"]["cosine_interval"][-1] = [0.7, 0.85]
    assert "Finite horizon (.80) cannot be told apart from it" in said(raw)


def test_answer_without_ceiling_or_numbers(results: Make, experiment: Make) -> None:
    assert "(the ceiling is not known)" in said(results(experiment(reliability=None)))
    raw = results(experiment(methods={"GradDot": (0.5, 0.4)}))
    raw["experiments"][0]["methods"]["GradDot"]["cosine"] = None
    assert said(raw) == "At epoch 20 no method was measured."


def test_lead(results: Make, experiment: Make) -> None:
    other = experiment("b", methods={"UnrolledDerivative": (0.5, 0.5), "GradDot": (0.5, 0.9)})
    parsed = parse(results(experiment("a"), other, experiment("c"))).experiments
    chosen = styles(m.name for e in parsed for m in e.methods)
    assert lead(parsed, chosen).endswith("in 2 of 3 experiments.")
    assert lead(parsed[:1], chosen) == ""


def test_rows_are_the_input(results: Make) -> None:
    experiment = parse(results()).experiments[0]
    table = rows(experiment, styles(m.name for m in experiment.methods))
    assert [r.method for r in table if r.kind == "method"] == [
        "UnrolledDerivative",
        "FiniteHorizon",
        "InfluenceFunction",
        "GradDot",
        "GradCos",
        "TRAK",
    ]
    raw = results()["experiments"][0]
    assert chosen_epochs(experiment) == [0, 9, 19]
    for row in table:
        if row.kind == "method":
            given = raw["methods"][row.method]
            assert row.cosine.tolist() == [given["cosine"][i] for i in (0, 9, 19)]
            assert row.spearman == given["spearman"][-1]
            assert row.seconds == given["seconds"]
            assert row.of_ceiling == pytest.approx(given["cosine"][-1] / 0.83)
    assert table[1].kind == "own"
    assert table[-1].cosine.tolist() == [raw["reliability"][i] for i in (0, 9, 19)]


def test_held(results: Make, experiment: Make) -> None:
    parsed = parse(results(experiment(reliability=[0.5] * 20))).experiments[0]
    assert held(parsed, np.full(20, 0.5)) == "all"
    assert held(parsed, np.full(20, 0.1)) == "none"
    assert held(parsed, np.full(20, np.nan)) == "–"
    assert held(parsed, np.where(np.arange(20) < 5, 0.5, 0.1)) == "1–5"
    assert held(parsed, np.where(np.arange(20) % 2, 0.5, 0.1)) == "10 of 20"
    assert held(parsed, np.where(np.arange(20) == 7, 0.5, 0.1)) == "8"
    parsed = parse(results(experiment(reliability=[-0.1] * 20))).experiments[0]
    assert held(parsed, np.full(20, 0.5)) == "–"


def test_summary_table(results: Make, experiment: Make) -> None:
    hostile = experiment("b", title="[red]b[/x]", methods={"[bold]m[/y]": (0.1, 0.3)})
    out = io.StringIO()
    Console(file=out, width=80).print(summary_table(results(experiment(), hostile)))
    text = out.getvalue()
    line = next(x for x in text.splitlines() if "Unrolled derivative" in x)
    assert line.split()[2:6] == [".79", ".82", ".86", ".77"]
    assert line.split()[-1] == "1.5"
    assert "[red]b[/x]" in text
    assert "[bold]m[/y]" in text
    assert max(map(len, text.splitlines())) <= 80

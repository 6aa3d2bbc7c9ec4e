"""docs/mutation_score.md: how many seeded bugs were seen, and which were not."""

from __future__ import annotations

import collections
from collections.abc import Callable

from .trial import PASSES, SECONDS, Outcome

_TITLE = """# Mutation score of the CUDA kernels

Made by `python -m tools.cuda.mutation --all --markdown`; `tools/cuda/mutation/README.md` says what is done.
"""


def _table(title: str, counted: list[Outcome], key: Callable[[Outcome], str]) -> list[str]:
    killed = collections.Counter(key(o) for o in counted if o.verdict == "killed")
    lines = [f"| {title} | killed | counted | |", "|---|---|---|---|"]
    for name, count in sorted(collections.Counter(map(key, counted)).items()):
        lines.append(f"| {name} | {killed[name]} | {count} | {100 * killed[name] / count:.1f} % |")
    return [*lines, ""]


def report(outcomes: list[Outcome], family_of: Callable[[str], str]) -> str:
    """Markdown: killed of counted, by family and by operator, and the survivors."""
    by_verdict: dict[str, list[Outcome]] = collections.defaultdict(list)
    for outcome in outcomes:
        by_verdict[outcome.verdict].append(outcome)
    killed, survived = by_verdict["killed"], by_verdict["survived"]
    alive = [o for o in by_verdict["unfinished"] if o.passed]
    not_run = [o for o in by_verdict["unfinished"] if not o.passed]
    counted = killed + survived + alive
    lines = [_TITLE]
    ran = len(counted) + len(by_verdict["does not compile"])
    few = sum(not set(o.passed) - SECONDS.keys() for o in alive)
    if alive or not_run:
        lines.append(
            f"**This run was not finished: {ran} of the {ran + len(not_run)} seeded bugs that count were run.** "
            f"{len(alive)} have survived some ways to run ({few} of them only some of the cases) and were not run in "
            "the others; they count as not killed. "
            f"{len(not_run)} were not run and are not counted.\n"
        )
    share = f" ({100 * len(killed) / len(counted):.1f} %)" if counted else ""
    lines.append(
        f"Seeded bugs: {len(outcomes)}. Not counted: {len(by_verdict['does not compile'])} that do not compile, "
        f"{len(by_verdict['equivalent'])} that change no result "
        "(`tools/cuda/mutation/equivalent_mutants.txt` says why). "
        f"**Killed: {len(killed)} of {len(counted)}{share}.**\n"
    )
    first = collections.Counter(o.by.split(":")[0] for o in killed)
    ways = dict.fromkeys(way for some in PASSES.values() for way in some)
    endless = sum("no end after" in o.by for o in killed)
    by = ", ".join(f"{way} {first[way]}" for way in ways if first[way])
    lines.append(f"Killed first by: {by}; {endless} of them because they did not end.\n")
    lines += _table("family", counted, lambda o: family_of(o.mutant.file))
    lines += _table("bug", counted, lambda o: o.mutant.operator)
    lines += ["## Survivors", "", *(_listed(survived) or ["None."]), ""]
    lines += ["## Alive, but not run in all ways", "", *_listed(alive), ""] if alive else []
    return "\n".join(lines).rstrip() + "\n"


def _listed(outcomes: list[Outcome]) -> list[str]:
    mutants = [o.mutant for o in outcomes]
    return [f"- `{m.file}` {m.line}, {m.operator}: `{m.before}` → `{m.after}`" for m in mutants]

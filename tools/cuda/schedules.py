"""All cases in random schedules and every mode, with those that are too heavy for every day.

usage: python -m tools.cuda.schedules [--seeds N] [--family F]... [--folder DIR] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import cases
from runners import ROOT, Way, build, cases_of, families, run

MODES = ("plain", "asan", "tsan", "ptx")


@dataclass
class Outcome:
    """What became of a family's cases in a mode."""

    family: str
    mode: str
    count: int
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


def run_family(family: str, seeds: int, builds: dict[str, Path], folder: Path) -> list[Outcome]:
    """One outcome a mode; the bits of a mode must not depend on the schedule."""
    found, file = cases_of(family), folder / f"{family}.cases"
    cases.write(found, file)
    outcomes = []
    for mode in MODES:
        outcome, bits = Outcome(family, mode, len(found)), {}
        started = time.monotonic()
        for seed in range(1, seeds + 1):
            done = run(builds[mode], file, Way(mode, f"random:{seed}"))
            wrong = [done.crash] if done.crash else cases.problems(found, done.results)
            for name, result in done.results.items():
                if bits.setdefault(name, result["bits"]) != result["bits"]:
                    wrong.append(f"{name}: bits depend on the schedule")
            outcome.wrong += [f"random:{seed}: {problem}" for problem in wrong]
        outcome.seconds = time.monotonic() - started
        print(f"{family}, {mode}: {outcome.wrong[:5] or 'right'} ({outcome.seconds:.0f} s)", flush=True)
        outcomes.append(outcome)
    return outcomes


def report(outcomes: list[Outcome], seeds: int) -> str:
    """Markdown: a row a family, a column a mode."""
    by_family: dict[str, dict[str, Outcome]] = {}
    for outcome in outcomes:
        by_family.setdefault(outcome.family, {})[outcome.mode] = outcome
    lines = [
        "# CUDA kernels in random schedules",
        "",
        "Made by `python -m tools.cuda.schedules`: every case, also the heavy ones, on the emulator.",
        "The modes are those of [cuda_testing.md](cuda_testing.md).",
        "",
        f"Schedules in each mode: `random:1` to `random:{seeds}`.",
        "",
        f"| family | cases | {' | '.join(MODES)} |",
        f"|---|---:|{'---|' * len(MODES)}",
    ]
    for family, of in by_family.items():
        cells = ["right" if not of[mode].wrong else f"{len(of[mode].wrong)} wrong" for mode in MODES]
        lines.append(f"| {family} | {of[MODES[0]].count} | {' | '.join(cells)} |")
    wrong = [f"- {o.family}, {o.mode}, {problem[:300]}" for o in outcomes for problem in o.wrong[:5]]
    return "\n".join([*lines, *(["", "## Wrong", "", *wrong] if wrong else [])]) + "\n"


def main() -> int:
    """The command line; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--family", action="append", default=[])
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "schedules")
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    builds = {mode: build(args.folder / mode, mode, target="runner") for mode in MODES}
    outcomes: list[Outcome] = []
    for family in args.family or families():
        outcomes += run_family(family, args.seeds, builds, args.folder)
    if args.markdown:
        args.markdown.write_text(report(outcomes, args.seeds))
    return 1 if any(outcome.wrong for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())

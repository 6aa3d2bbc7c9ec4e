"""Mutation testing of the CUDA kernels: do the emulated cases see seeded bugs?

usage: python -m tools.cuda.mutation [--family F]... [--file F]... [--sample N | --all | --alive] [--pass PASS]...
                                     [--seed S] [--jobs J] [--folder DIR] [--markdown FILE] [--known | --check]

A mutant (mutants.py) is one change of one file. The objects with that file are compiled, and the cases that launch its
kernels run, until one fails: plain, in other schedules, under AddressSanitizer, under ThreadSanitizer; each is a pass
over those that are left. What is known of mutants stays in DIR/ledger.jsonl: a run that was ended goes on, and a later
one repeats only what a change of code or cases has made open again. A mutant that does not compile is not counted; one
in equivalent_mutants.txt neither. An entry of that list which fits no mutant any more is named at the end.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import os
from collections.abc import Callable, Container
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runners import ROOT, families

from .builds import CSRC
from .ledger import Ledger
from .mutants import EQUIVALENT, Mutant, all_mutants, equivalent, stale
from .report import report
from .trial import PASSES, Mutation, Outcome, build_of


def is_equivalent(mutant: Mutant, known: Container[str]) -> bool:
    """Whether it is listed."""
    return mutant.key in known or mutant.line_key in known


def sample(mutants: list[Mutant], count: int, seed: int, mutation: Mutation) -> list[Mutant]:
    """``count`` of each family that are not equivalent: different operators first."""
    known = equivalent(EQUIVALENT)
    families: dict[str, list[Mutant]] = collections.defaultdict(list)
    for mutant in sorted(mutants, key=lambda m: m.order(seed)):
        if not is_equivalent(mutant, known):
            families[mutation.family_of(mutant.file)].append(mutant)
    chosen = []
    for members in families.values():
        seen: collections.Counter[str] = collections.Counter()
        ranked = []
        for mutant in members:
            ranked.append((seen[mutant.operator], len(ranked), mutant))
            seen[mutant.operator] += 1
        chosen += [mutant for *_, mutant in sorted(ranked, key=lambda r: r[:2])[:count]]
    return chosen


def rounds(mutants: list[Mutant], seed: int) -> list[list[Mutant]]:
    """One mutant of each line, then another of each, and so on: what a run that is ended has seen is a fair sample."""
    found: list[list[Mutant]] = []
    seen: collections.Counter[tuple[str, int]] = collections.Counter()
    for mutant in sorted(mutants, key=lambda m: m.order(seed)):
        place = (mutant.file, mutant.line)
        if seen[place] == len(found):
            found.append([])
        found[seen[place]].append(mutant)
        seen[place] += 1
    return [sorted(some, key=lambda m: (m.file, m.line)) for some in found]


def score(mutation: Mutation, mutants: list[Mutant], passes: list[str], jobs: int,
          say: Callable[[str], None]) -> list[Outcome]:  # fmt: skip
    """Outcomes of mutants after some passes, those of one build over all of them after the other."""
    known = equivalent(EQUIVALENT)
    outcomes = {m.name: Outcome(m, "equivalent") if is_equivalent(m, known) else mutation.outcome(m) for m in mutants}
    rest = [m for m in mutants if outcomes[m.name].verdict != "equivalent"]
    with ThreadPoolExecutor(jobs) as pool:
        for _, group in itertools.groupby(passes, key=build_of):
            names = list(group)
            for outcome in pool.map(lambda m, names=names: mutation.try_out(m, names), rest):
                m = outcome.mutant
                outcomes[m.name] = outcome
                what = f"{m.file}:{m.line} {m.operator}: {m.after}"
                say(f"{names[-1]} {outcome.verdict:12} {outcome.seconds:5.1f} s {what} [{outcome.by}]")
            rest = [m for m in rest if outcomes[m.name].verdict in ("survived", "unfinished")]
    return list(outcomes.values())


def main(arguments: list[str] | None = None) -> int:
    """The command line; 1 if a mutant has survived or is unfinished, or an entry of the list is stale."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", action="append", default=[])
    parser.add_argument("--file", action="append", default=[])
    parser.add_argument("--sample", type=int, default=5, help="mutants of each family")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--alive", action="store_true", help="those that have survived a pass, and nothing has killed")
    parser.add_argument("--pass", action="append", choices=list(PASSES), default=[], dest="passes", help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "mutants")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--known", action="store_true", help="run no mutants: report what the ledger has")
    parser.add_argument("--check", action="store_true", help="run nothing: only look for stale entries of the list")
    args = parser.parse_args(arguments)
    mutants = all_mutants(CSRC / "cuda")
    gone = stale(EQUIVALENT, mutants)
    if args.check:
        print("\n".join(_about_stale(gone)) or f"{EQUIVALENT.name}: every entry fits a mutant")
        return 1 if gone else 0
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    # All families: what a file's kernels serve is not one family alone.
    mutation = Mutation(folder, families(), Ledger(folder / "ledger.jsonl"))
    mutants = [m for m in mutants if not args.file or m.file in args.file]
    mutants = [m for m in mutants if not args.family or mutation.family_of(m.file) in args.family]
    if args.alive:
        mutants = [m for m in mutants if (entry := mutation.entry(m)).passed and not entry.verdict]
    elif not args.all:
        mutants = sample(mutants, args.sample, args.seed, mutation)
    passes = [name for name in PASSES if not args.known and (not args.passes or name in args.passes)]
    outcomes = []
    for some in rounds(mutants, args.seed):
        outcomes += score(mutation, some, passes, args.jobs, lambda line: print(line, flush=True))
    text = report(outcomes, mutation.family_of)
    print("\n".join([text, *_about_stale(gone)]))
    if args.markdown:
        args.markdown.write_text(text)
    return 1 if gone or any(o.verdict in ("survived", "unfinished") for o in outcomes) else 0


def _about_stale(gone: list[str]) -> list[str]:
    return [f"{EQUIVALENT.name}: no such mutant: {key}" for key in gone]

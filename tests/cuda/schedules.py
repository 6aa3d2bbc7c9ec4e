"""All cases in many random schedules and every mode, with those that are too heavy for every day.

usage: python tests/cuda/schedules.py [--seeds N] [--family F]... [--folder DIR]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cases
from runners import ROOT, Way, build, cases_of, families, run


def main() -> int:
    """The command line; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--family", action="append", default=[])
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "schedules")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    modes = ("plain", "asan", "tsan", "ptx")
    ways = [Way(mode, f"random:{seed}") for mode in modes for seed in range(1, args.seeds + 1)]
    builds = {mode: build(args.folder / mode, mode, target="runner") for mode in modes}
    failed = False
    for family in args.family or families():
        found, file = cases_of(family), args.folder / f"{family}.cases"
        cases.write(found, file)
        bits: dict[tuple[str, str], str] = {}
        for way in ways:
            done = run(builds[way.mode], file, way)
            wrong = [done.crash] if done.crash else cases.problems(found, done.results)
            for name, result in done.results.items():
                if bits.setdefault((way.mode, name), result["bits"]) != result["bits"]:
                    wrong.append(f"{name}: bits depend on the schedule")
            print(f"{family}, {way.mode} {way.schedule}: {'right' if not wrong else wrong[:5]}", flush=True)
            failed = failed or bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

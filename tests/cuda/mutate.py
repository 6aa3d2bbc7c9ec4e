"""Mutation testing of the CUDA kernels: do the emulated cases see seeded bugs?

usage: python tests/cuda/mutate.py [--family F]... [--file F]... [--sample N | --all] [--seed S] [--jobs J]
                                   [--folder DIR] [--markdown FILE]

A mutant (mutants.py) is a copy of csrc with one change. The files that include it are compiled, and the cases that
launch its kernels run: plain in three schedules, then under AddressSanitizer, then under ThreadSanitizer, until one of
them fails. A mutant that does not compile is not counted; one in equivalent_mutants.txt neither.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cases as case_files
from cases import Case
from mutants import Mutant, all_mutants, equivalent
from runners import EMULATED, FOLDER, ROOT, Way, build, cases_of, families, run

MODES = ("plain", "asan", "tsan")
STEPS = ("fifo", "lifo", "random1", "asan", "tsan")  # of EMULATED, in this order
EQUIVALENT = FOLDER / "equivalent_mutants.txt"
CSRC = ROOT / "csrc"


@dataclass
class Base:
    """A mode's build of the unchanged kernels: how each object is compiled, what it reads, and how they are linked."""

    folder: Path
    compile: dict[str, str] = field(default_factory=dict)  # object: command
    reads: dict[str, set[str]] = field(default_factory=dict)  # object: names of files in csrc/cuda
    link: str = ""

    def __init__(self, folder: Path, mode: str) -> None:
        self.folder = build(folder, mode, target="runner")
        commands = json.loads(_output("ninja", "-C", folder, "-t", "compdb"))
        self.compile = {entry["output"]: entry["command"] for entry in commands if entry["file"].endswith(".cu")}
        self.link = _output("ninja", "-C", folder, "-t", "commands", "runner").splitlines()[-1]
        self.reads = {}
        current: set[str] = set()
        for line in _output("ninja", "-C", folder, "-t", "deps").splitlines():
            if match := re.match(r"(\S+): #deps", line):
                current = self.reads.setdefault(match[1], set())
            elif "/csrc/cuda/" in line:
                current.add(Path(line.strip()).name)


def _output(*command: object) -> str:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout


@dataclass
class Outcome:
    """Where a mutant ended: "killed", "survived", "does not compile" or "equivalent"."""

    mutant: Mutant
    verdict: str
    by: str = ""
    seconds: float = 0.0


class Mutation:
    """The unchanged kernels, built and run, to compare mutants with."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.bases = {mode: Base(folder / mode, mode) for mode in MODES}
        self.cases: dict[str, Case] = {}
        self.kernels: dict[str, list[str]] = {}  # case: what it launches
        self.family: dict[str, str] = {}
        self.bits: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self.lock = threading.Lock()
        self.files: dict[tuple[str, bool], tuple[list[Case], Path]] = {}
        self.folder = folder
        for name in names:
            found = cases_of(name)
            path = folder / f"{name}.cases"
            case_files.write(found, path)
            started = time.monotonic()
            done = run(folder / "plain", path, EMULATED["fifo"])
            wrong = [done.crash, *case_files.problems(found, done.results)]
            if any(wrong):
                raise RuntimeError(f"{name} fails without a mutant: {wrong[:3]}")
            self.seconds[name] = time.monotonic() - started
            for case in found:
                self.cases[case.name], self.family[case.name] = case, name
                self.kernels[case.name] = [kernel.split("<")[0] for kernel in done.results[case.name]["kernels"]]
                self.bits[case.name] = done.results[case.name]["bits"]

    def _kernels_in(self, file: str) -> set[str]:
        """The kernels that a file defines or launches, or those of the files that include it."""
        text = (CSRC / "cuda" / file).read_text()
        defined = re.findall(r"__global__ void (?:__launch_bounds__\([^()]*(?:\([^()]*\))?[^()]*\)\s*)?(\w+)\(", text)
        return set(defined) | set(re.findall(r"\b(\w+_kernel)\b", text))

    def cases_for(self, file: str, heavy: bool) -> tuple[list[Case], Path]:
        """The cases that see a change of this file, and where they are written."""
        with self.lock:
            if (file, heavy) in self.files:
                return self.files[file, heavy]
            kernels = self._kernels_in(file)
            if not kernels:
                for reads in self.bases["plain"].reads.values():
                    if file in reads:
                        kernels |= set().union(*(self._kernels_in(other) for other in reads))
            stem = file.split(".")[0]
            found = []
            for name, case in self.cases.items():
                if case.heavy and not heavy:
                    continue
                if kernels & set(self.kernels[name]) or (not kernels and case.op == stem):
                    found.append(case)
            path = self.folder / f"{file}.{'all' if heavy else 'light'}.cases"
            case_files.write(found, path)
            self.files[file, heavy] = (found, path)
            return self.files[file, heavy]

    def family_of(self, file: str) -> str:
        """The family that has the most cases for a file."""
        counts = collections.Counter(self.family[case.name] for case in self.cases_for(file, True)[0])
        return counts.most_common(1)[0][0] if counts else ""

    def try_out(self, mutant: Mutant) -> Outcome:
        """Builds and runs a mutant until something fails."""
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="mutant", dir=self.folder) as name:
            folder = Path(name)
            shutil.copytree(CSRC, folder / "csrc", ignore=shutil.ignore_patterns("cpu"))
            changed = folder / "csrc" / "cuda" / mutant.file
            text = changed.read_text()
            changed.write_text(text[: mutant.begin] + mutant.text + text[mutant.end :])
            verdict, by = self._run(mutant, folder)
        return Outcome(mutant, verdict, by, time.monotonic() - started)

    def _run(self, mutant: Mutant, folder: Path) -> tuple[str, str]:
        built = ""
        for step in STEPS:
            way = EMULATED[step]
            if built != way.mode:
                if not self._build(mutant.file, way.mode, folder):
                    return "does not compile", ""
                built = way.mode
            if reason := self._failure(mutant.file, way, step, folder):
                return "killed", f"{step}: {reason}"
        return "survived", ""

    def _build(self, file: str, mode: str, folder: Path) -> bool:
        base = self.bases[mode]
        link = base.link
        for target, command in base.compile.items():
            if file not in base.reads.get(target, ()):
                continue
            new = folder / (re.sub(r"\W", "_", target) + ".o")
            command = re.sub(r" -MD -MT \S+ -MF \S+| -g1", "", command)
            words = [word.replace(str(CSRC), str(folder / "csrc")) for word in shlex.split(command)]
            words[words.index("-o") + 1] = str(new)
            if subprocess.run([*words, "-w"], cwd=base.folder, capture_output=True).returncode != 0:
                return False
            link = link.replace(target, str(new))
        link = re.sub(r"-o runner\b", f"-o {folder}/runner", link)
        return subprocess.run(link, shell=True, cwd=base.folder, capture_output=True).returncode == 0

    def _failure(self, file: str, way: Way, step: str, folder: Path) -> str:
        """What is wrong in one way of running; empty if nothing is."""
        found, path = self.cases_for(file, way.mode != "tsan")
        slower = {"plain": 1, "asan": 10, "tsan": 60}[way.mode]
        limit = 20 + 10 * slower * sum(self.seconds.values())
        done = run(folder, path, way, timeout=limit, FIMO_RUNNER_STOP="1")
        if done.crash:
            kinds = r"ThreadSanitizer: [\w ]+|AddressSanitizer: [\w-]+|runtime error: [^\n]{,60}|no end after"
            kind = re.search(kinds, done.crash)
            return kind[0] if kind else f"ended with status {done.returncode}"
        ran = [case for case in found if case.name in done.results]
        if wrong := case_files.problems(ran, done.results):
            return wrong[0][:100]
        if len(ran) < len(found):
            return "not all cases ran"
        if way.mode == "plain":
            different = [case.name for case in ran if self.bits[case.name] != done.results[case.name]["bits"]]
            if different and step != "fifo" and self.fifo_bits.get(threading.get_ident()) != self._bits(done.results):
                return f"{different[0]}: bits depend on the schedule"
            if step == "fifo":
                self.fifo_bits[threading.get_ident()] = self._bits(done.results)
        return ""

    fifo_bits: dict[int, dict[str, str]] = {}

    @staticmethod
    def _bits(results: dict[str, dict]) -> dict[str, str]:
        return {name: result["bits"] for name, result in results.items()}


def sample(mutants: list[Mutant], count: int, seed: int, group) -> list[Mutant]:
    """``count`` of each group: different operators first."""
    chosen = []
    for name in sorted({group(mutant) for mutant in mutants}):
        members = sorted((m for m in mutants if group(m) == name), key=lambda m: m.order(seed))
        seen: collections.Counter[str] = collections.Counter()
        ranked = []
        for mutant in members:
            ranked.append((seen[mutant.operator], mutant.order(seed), mutant))
            seen[mutant.operator] += 1
        chosen += [mutant for *_, mutant in sorted(ranked, key=lambda r: r[:2])[:count]]
    return chosen


def report(outcomes: list[Outcome], family_of) -> str:
    """Markdown: killed of counted, by family and by operator, and the survivors."""
    counted = [o for o in outcomes if o.verdict in ("killed", "survived")]
    killed = sum(o.verdict == "killed" for o in counted)
    lines = ["# Mutation score of the CUDA kernels", "",
             "Made by `tests/cuda/mutate.py`; what the columns mean is in [cuda_testing.md](cuda_testing.md).", "",
             f"Seeded bugs: {len(outcomes)}. Not counted: "
             f"{sum(o.verdict == 'does not compile' for o in outcomes)} that do not compile, "
             f"{sum(o.verdict == 'equivalent' for o in outcomes)} that change no result. "
             f"**Killed: {killed} of {len(counted)}.**", ""]  # fmt: skip
    first = collections.Counter(o.by.split(":")[0] for o in counted if o.by)
    lines += ["Killed first by: " + ", ".join(f"{name} {first[name]}" for name in STEPS if first[name]) + ".", ""]
    for title, key in (("family", lambda o: family_of(o.mutant.file)), ("bug", lambda o: o.mutant.operator)):
        lines += [f"| {title} | killed | counted |", "|---|---|---|"]
        for name in sorted({key(o) for o in counted}):
            of = [o for o in counted if key(o) == name]
            lines.append(f"| {name} | {sum(o.verdict == 'killed' for o in of)} | {len(of)} |")
        lines.append("")
    survivors = [o for o in counted if o.verdict == "survived"]
    lines += ["## Survivors", "", *(["None."] if not survivors else [])]
    for o in survivors:
        lines += [f"- `{o.mutant.file}` {o.mutant.line}, {o.mutant.operator}: `{o.mutant.before}` → `{o.mutant.after}`"]
    return "\n".join(lines) + "\n"


def score(names: list[str], files: list[str], count: int, seed: int, jobs: int, folder: Path, say=print):
    """Outcomes of a sample of ``count`` mutants a family (0: all), and the Mutation."""
    mutation = Mutation(folder, families())  # all: what a file's kernels serve is not one family alone
    known = equivalent(EQUIVALENT)
    mutants = [m for m in all_mutants(CSRC / "cuda") if mutation.family_of(m.file) in names]
    mutants = [m for m in mutants if not files or m.file in files]
    same = [m for m in mutants if m.key in known or m.line_key in known]
    rest = [m for m in mutants if m.key not in known and m.line_key not in known]
    if count:
        rest = sample(rest, count, seed, lambda m: mutation.family_of(m.file))
        same = []
    outcomes = [Outcome(m, "equivalent") for m in same]
    with ThreadPoolExecutor(jobs) as pool:
        for outcome in pool.map(mutation.try_out, rest):
            m = outcome.mutant
            what = f"{m.file}:{m.line} {m.operator}: {m.after}"
            say(f"{outcome.verdict:16} {outcome.seconds:5.1f} s {what} [{outcome.by}]")
            outcomes.append(outcome)
    return outcomes, mutation


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", action="append", default=[])
    parser.add_argument("--file", action="append", default=[])
    parser.add_argument("--sample", type=int, default=5, help="mutants of each family")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "mutants")
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    count = 0 if args.all else args.sample
    outcomes, mutation = score(args.family or families(), args.file, count, args.seed, args.jobs, args.folder.resolve(),
                               lambda line: print(line, flush=True))  # fmt: skip
    text = report(outcomes, mutation.family_of)
    print(text)
    if args.markdown:
        args.markdown.write_text(text)
    return 1 if any(o.verdict == "survived" for o in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())

"""A mutant's trial: its runner is built and runs the cases that see its file, until something fails."""

from __future__ import annotations

import collections
import itertools
import re
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cases as case_files
from cases import Case
from runners import EMULATED, Run, cases_of, run

from .builds import CSRC, Builds
from .ledger import Entry, Ledger, code_of, hash_of
from .mutants import EXCLUDED, Mutant, path_of

# Passes over the mutants that are left, and the ways of EMULATED to run in each. The first three are for time's sake
# only and kill most: one object, without optimization for a few small cases, then with it for cases of different
# kernels, then those under AddressSanitizer.
PASSES = {
    "quick": ("fifo",),
    "broad": ("fifo",),
    "broad asan": ("asan",),
    "plain": ("fifo",),
    "orders": ("lifo", "random1"),
    "asan": ("asan",),
    "tsan": ("tsan",),
}
SECONDS = {"quick": 0.25, "broad": 1.0, "broad asan": 0.3}  # of CPU time, optimized, without sanitizers
_SLOWER = {"quick": 5, "broad": 1, "broad asan": 10, "plain": 1, "orders": 1, "asan": 10, "tsan": 60}
# What decides about a result besides the files that have mutants.
_ALSO_CODE = {"instructions.cuh"}


def build_of(pass_: str) -> tuple[str, str]:
    """Mode and optimization of a pass's builds."""
    return EMULATED[PASSES[pass_][0]].mode, "-O0" if pass_ == "quick" else "-O1"


@dataclass
class Outcome:
    """Where a mutant ended: "killed", "survived", "does not compile", "equivalent", or "unfinished".

    Attributes:
        passed: what an unfinished one has survived; those of SECONDS alone say little.
    """

    mutant: Mutant
    verdict: str
    by: str = ""
    seconds: float = 0.0
    passed: tuple[str, ...] = ()


@dataclass
class Known:
    """A case, and what it does without a mutant."""

    case: Case
    family: str
    hash: str
    kernels: set[str]
    variants: frozenset[str]  # kernels with their template arguments
    bits: str
    seconds: float  # of CPU time, plain


class Mutation:
    """The unchanged kernels, built and run, to compare mutants with."""

    def __init__(
        self, folder: Path, families: Iterable[str], ledger: Ledger, builds: Callable[[str], Path] | None = None
    ):
        """``builds``: where a mode is built; in ``folder`` by default."""
        self.folder, self.ledger = folder, ledger
        self._where = builds or (lambda mode: folder / mode)
        self._builds: dict[tuple[str, str], Builds] = {}
        self._lock = threading.Lock()
        self._files: dict[str, Path] = {}
        self._kept: dict[str, Any] = {}
        self.known: list[Known] = []
        for family in families:
            self._run_unchanged(family)

    def _run_unchanged(self, family: str) -> None:
        found = cases_of(family)
        done = run(self.builds("plain").folder, self._file_of(found), EMULATED["fifo"])
        wrong = [done.crash] if done.crash else case_files.problems(found, done.results)
        if wrong:
            raise RuntimeError(f"{family} fails without a mutant: {wrong[:3]}")
        for case in found:
            result = done.results[case.name]
            kernels = {kernel.split("<")[0] for kernel in result["kernels"]}
            case_hash = hash_of([case_files.dump(case)])
            variants = frozenset(result["kernels"])
            self.known.append(Known(case, family, case_hash, kernels, variants, result["bits"], result["seconds"]))

    def builds(self, pass_: str) -> Builds:
        """A pass's builds, made when they are first needed; those of passes that differ in the order only are one."""
        with self._lock:
            if (key := build_of(pass_)) not in self._builds:
                self._builds[key] = Builds(self._where(key[0]), *key)
            return self._builds[key]

    def _file_of(self, found: list[Case]) -> Path:
        name = hash_of(case.name.encode() for case in found)
        with self._lock:
            if name not in self._files:
                self._files[name] = self.folder / f"{name}.cases"
                case_files.write(found, self._files[name])
            return self._files[name]

    def _once(self, key: str, make: Callable[[], Any]) -> Any:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def _code_of(self, file: str) -> str:
        """Hash of what the objects with a file are made of."""
        names = set().union(*(files for files in self.builds("plain").read_by.values() if file in files))
        names -= EXCLUDED - _ALSO_CODE
        return hash_of(code_of(path_of(name, CSRC / "cuda").read_text()) for name in sorted(names))

    def cases_for(self, file: str) -> tuple[list[Known], list[Known]]:
        """The cases that launch a kernel of an object with the file, and for a driver the others of their families.

        Those of the file's own kernels come first, and of these the fastest.
        """

        def make() -> tuple[list[Known], list[Known]]:
            own, driver, stem = _kernels_in(file), not file.endswith(".cuh"), file.split(".")[0]
            objects = [files for files in self.builds("plain").read_by.values() if file in files]
            kernels = own.union(*(_kernels_in(other) for files in objects for other in files))
            near = [k for k in self.known if kernels & k.kernels or k.case.op == stem]
            if not near:
                raise RuntimeError(f"{file}: no case launches its kernels")
            families, names = {k.family for k in near}, {k.case.name for k in near}
            far = [k for k in self.known if driver and k.family in families and k.case.name not in names]
            order = lambda k: (not own & k.kernels, k.seconds)  # noqa: E731
            return sorted(near, key=order), sorted(far, key=order)

        return self._once(f"cases {file}", make)

    def family_of(self, file: str) -> str:
        """The family that has the most cases for a file's own kernels, or for those of its objects."""

        def make() -> str:
            own, near = _kernels_in(file), self.cases_for(file)[0]
            counts = collections.Counter(known.family for known in near if own & known.kernels)
            return (counts or collections.Counter(known.family for known in near)).most_common(1)[0][0]

        return self._once(f"family {file}", make)

    def cases_in(self, pass_: str, file: str) -> list[Known]:
        """The cases that run in a pass."""
        near, far = self.cases_for(file)
        if pass_ in SECONDS:
            if pass_ != "quick":
                seen: collections.Counter[frozenset[str]] = collections.Counter()
                ranks = []
                for known in near:
                    ranks.append(seen[known.variants])
                    seen[known.variants] += 1
                near = [known for _, known in sorted(zip(ranks, near, strict=True), key=lambda pair: pair[0])]
            times = itertools.accumulate(known.seconds for known in near)
            return [known for known, time_ in zip(near, times, strict=True) if time_ < SECONDS[pass_]]
        if pass_ == "plain":
            return near + far
        if pass_ == "tsan":  # takes minutes
            own = _kernels_in(file)
            some = [known for known in near if own & known.kernels] or near
            return [known for known in some if not known.case.heavy]
        return near

    def hash_of_cases(self, pass_: str, file: str) -> str:
        """One hash of all cases of a pass. Those of SECONDS decide nothing, and are not repeated for other cases."""
        if pass_ in SECONDS:
            return "once"
        cases = lambda: sorted(known.hash for known in self.cases_in(pass_, file))  # noqa: E731
        return self._once(f"{pass_} {file}", lambda: hash_of(name.encode() for name in cases()))

    def entry(self, mutant: Mutant) -> Entry:
        """What the ledger says of a mutant that still holds."""
        code = self._once(f"code {mutant.file}", lambda: self._code_of(mutant.file))
        return self.ledger.get(mutant.name, code, [known.hash for known in self.known])

    def open_passes(self, mutant: Mutant, entry: Entry) -> list[str]:
        """Those that the mutant has not survived with today's cases."""
        hashes = {name: self.hash_of_cases(name, mutant.file) for name in PASSES}
        return [name for name in PASSES if not entry.verdict and entry.passed.get(name) != hashes[name]]

    def outcome(self, mutant: Mutant) -> Outcome:
        """What is known of a mutant."""
        entry = self.entry(mutant)
        left = self.open_passes(mutant, entry)
        verdict = entry.verdict or ("unfinished" if left else "survived")
        return Outcome(mutant, verdict, entry.by, entry.seconds, tuple(name for name in PASSES if name not in left))

    def try_out(self, mutant: Mutant, passes: Iterable[str] = tuple(PASSES)) -> Outcome:
        """Builds and runs a mutant until something fails, in those of ``passes`` that it has not survived before."""
        entry, started = self.entry(mutant), time.monotonic()
        if todo := [name for name in self.open_passes(mutant, entry) if name in passes]:
            with tempfile.TemporaryDirectory(prefix="mutant", dir=self.folder) as name:
                _Trial(self, mutant, entry, Path(name)).run(todo)
            entry.seconds += time.monotonic() - started
            self.ledger.put(entry)
        return self.outcome(mutant)


class _Trial:
    def __init__(self, mutation: Mutation, mutant: Mutant, entry: Entry, folder: Path) -> None:
        self.mutation, self.mutant, self.entry, self.folder = mutation, mutant, entry, folder
        self.bits: dict[str, str] = {}  # what all orders must give, where it is known
        if entry.same:
            self.bits = {known.case.name: known.bits for known in mutation.known}

    def run(self, passes: Iterable[str]) -> None:
        built: tuple[Builds, list[str]] | None = None
        for name in passes:
            builds = self.mutation.builds(name)
            objects = builds.objects_with(self.mutant.file, self.mutation.family_of(self.mutant.file))
            objects = objects[: 1 if name in SECONDS else None]
            if built != (builds, objects) and not builds.runner_of(self.mutant, objects, self.folder):
                self.entry.verdict = "does not compile"
                return
            built = builds, objects
            if any(self._fails(name, step) for step in PASSES[name]):
                self.entry.verdict = "killed"
                return
            self.entry.passed[name] = self.mutation.hash_of_cases(name, self.mutant.file)

    def _fails(self, pass_: str, step: str) -> bool:
        known = self.mutation.cases_in(pass_, self.mutant.file)
        most = max((k.seconds for k in known), default=0.0)
        limit = 2 + 5 * most * _SLOWER[pass_]
        file = self.mutation._file_of([k.case for k in known])
        # An hour of the clock: what sleeps would never use up its CPU time.
        done = run(self.folder, file, EMULATED[step], timeout=3600, seconds=limit, stop=True)
        failed, reason = self._first_failure(known, done, limit)
        if not failed and pass_ == "plain":
            self.entry.same = all(k.bits == done.results[k.case.name]["bits"] for k in known)
        if not failed and pass_ == "orders":
            failed, reason = self._compare_bits(known, done)
        if failed:
            self.entry.by, self.entry.case = f"{step}: {reason}", failed.hash
        return failed is not None

    def _first_failure(self, known: list[Known], done: Run, limit: float) -> tuple[Known | None, str]:
        for k in known:
            result = done.results.get(k.case.name)
            if result is None:
                return k, f"{k.case.name}: {_end_of(done, limit)}"
            if wrong := case_files.problems([k.case], done.results):
                return k, wrong[0][:160]
        return (known[-1], _end_of(done, limit)) if done.crash else (None, "")

    def _compare_bits(self, known: list[Known], done: Run) -> tuple[Known | None, str]:
        bits = {name: result["bits"] for name, result in done.results.items()}
        self.bits = self.bits or bits
        different = [k for k in known if self.bits[k.case.name] != bits[k.case.name]]
        return (different[0], f"{different[0].case.name}: bits depend on the schedule") if different else (None, "")


def _kernels_in(file: str) -> set[str]:
    """What may be a kernel that a file defines or launches."""
    code = code_of(path_of(file, CSRC / "cuda").read_text()).decode()
    return set(re.findall(r"\b(\w+_kernel)\b", code))


def _end_of(done: Run, limit: float) -> str:
    """How a process ended before its end."""
    if done.returncode == -signal.SIGXCPU:
        return f"no end after {limit:.0f} s of CPU time"
    if done.returncode == 124:
        return "no end after an hour"
    kinds = r"ThreadSanitizer: [\w ]+|AddressSanitizer: [\w-]+|runtime error: [^\n]{,60}|emulator: [^\n]{,80}"
    kind = re.search(kinds, done.output)
    return kind[0] if kind else f"ended with status {done.returncode}"

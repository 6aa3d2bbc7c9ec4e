"""What each kernel takes of a multiprocessor, against its budget in budget.json.

usage: python tests/cuda/resources.py [--write] [--runner RUNNER]

Registers, static shared memory and stack frames come from machine code (cuobjdump): that of the installed module if it
is a release build, and otherwise that of a build of the library for all architectures. A spilled register needs a
stack frame, so a kernel without one spills nothing. Threads and dynamic shared memory are the largest that the drivers
launch over all cases of tests/cuda/families and of the benchmark, as the emulator records them (--runner: its program,
else it is built).

An entry of the budget is a kernel's name, in which `*` stands for any template arguments:

    {"threads": of a block, "registers": of a thread, "shared": dynamic bytes of a block, "blocks": at least so many
     at once on a multiprocessor}; registers and blocks are numbers, or {"sm_80": ..., ...} where architectures
     differ. No threads: no call of the library launches it.

--write replaces the budget by what is there, in one entry for kernels that differ in the type of the elements only.
Without it the table is printed, and the exit status is 1 if anything exceeds its budget.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import re
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import runners
from architectures import ARCHITECTURES
from bench_launches import all_cases, calls
from cuobjdump import dumped, short_names
from launches import Launch, recorded

BUDGET = Path(__file__).parent / "budget.json"
_TYPES = re.compile(r"\b(float|__half|__nv_bfloat16|Float32|Float16|BFloat16|Int8|int|unsigned int|unsigned short)\b")


@dataclass
class Usage:
    """Of one kernel on one architecture, from the compiled module."""

    registers: int
    stack: int  # bytes of a thread, frames and spills
    shared: int  # bytes that are static, without the reserved ones


@dataclass
class Resources:
    """Of one kernel: by architecture from the module, and the largest of its launches."""

    usage: dict[str, Usage] = field(default_factory=dict)
    threads: int = 0  # 0: no case launches it
    shared: int = 0

    def blocks(self, architecture: str) -> int:
        """At once on a multiprocessor."""
        usage = self.usage[architecture]
        limits = ARCHITECTURES[architecture]
        return limits.blocks_at_once(self.threads, usage.registers, self.shared + usage.shared)


def release_build(folder: Path = runners.ROOT / "build" / "cuda-release") -> Path:
    """A file with the kernels for all architectures: the installed module, or else the library, built in ``folder``."""
    from fimo_fast.ops.native import _C

    if set(re.findall(r"\.(sm_\w+)\.cubin", dumped(Path(_C.__file__), "--list-elf"))) >= ARCHITECTURES.keys():
        return Path(_C.__file__)
    options = ["-DFIMO_CUDA=ON", "-DFIMO_CUDA_ARCHITECTURES=release", "-DFIMO_INSTALL_DEV=OFF"]
    runners.run_cmake(runners.ROOT, folder, *options, target="fimo_fast")
    return folder / "libfimo_fast.a"


def compiled(module: Path) -> dict[str, dict[str, Usage]]:
    """{kernel: {architecture: usage}} of a module."""
    return parsed(dumped(module, "--dump-resource-usage"))


def parsed(text: str) -> dict[str, dict[str, Usage]]:
    """The same from what cuobjdump has printed."""
    found: dict[str, dict[str, Usage]] = {}
    architecture = symbol = ""
    for line in text.splitlines():
        if match := re.match(r"arch = (\S+)", line):
            architecture = match[1]
        elif match := re.match(r"\s*Function (\S+):", line):
            symbol = match[1]
        elif match := re.match(r"\s*REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", line):
            registers, stack, shared, local = map(int, match.groups())
            reserved = ARCHITECTURES[architecture].reserved if architecture != "sm_80" and shared >= 1024 else 0
            found.setdefault(symbol, {})[architecture] = Usage(registers, max(stack, local), shared - reserved)
    return dict(zip(short_names(list(found)), found.values(), strict=True))


def largest_launches(runner: Path) -> dict[str, Launch]:
    """The most threads and shared memory with which each kernel is launched, over all cases."""
    found = [case for family in runners.families() for case in runners.cases_of(family)]
    shapes = [call for case in all_cases() for call in calls(case)]
    for i, call in enumerate(shapes):
        call.name = f"bench/{i}"
    largest: dict[str, Launch] = {}
    for launches in recorded(runner, [*found, *shapes]).values():
        for launch in launches:
            before = largest.get(launch.kernel, launch)
            threads, shared = max(before.threads, launch.threads), max(before.shared, launch.shared)
            largest[launch.kernel] = Launch(launch.kernel, launch.grid, threads, shared)
    return largest


def resources(module: Path, runner: Path) -> dict[str, Resources]:
    """Of all kernels."""
    found = {name: Resources(usage) for name, usage in compiled(module).items()}
    for name, launch in largest_launches(runner).items():
        if name in found:
            found[name].threads, found[name].shared = launch.threads, launch.shared
    return found


# --- The budget ---------------------------------------------------------------------------------------


def _of(value: Any, architecture: str) -> int:
    return int(value[architecture] if isinstance(value, dict) else value)


def problems(found: dict[str, Resources], budget: dict[str, dict[str, Any]]) -> list[str]:
    """What exceeds the budget, has none, or is a budget of nothing."""
    wrong = []
    used = set()
    for name, kernel in found.items():
        entries = [pattern for pattern in budget if fnmatch.fnmatchcase(name, pattern)]
        used.update(entries)
        if len(entries) != 1:
            wrong.append(f"{name}: expected one entry of the budget, found {entries}")
            continue
        if missing := ARCHITECTURES.keys() - kernel.usage.keys():
            wrong.append(f"{name}: not compiled for {sorted(missing)}")
        if not kernel.threads and budget[entries[0]]["threads"]:
            wrong.append(f"{name}: no case launches it")
        wrong += _excess(name, kernel, budget[entries[0]])
    return wrong + [f"{pattern}: a budget without a kernel" for pattern in budget if pattern not in used]


def _excess(name: str, kernel: Resources, entry: dict[str, Any]) -> Iterable[str]:
    for what, value in (("threads", kernel.threads), ("shared", kernel.shared)):
        if value > entry[what]:
            yield f"{name}: {what} {value}, budget {entry[what]}"
    for architecture, usage in kernel.usage.items():
        where = f"{name} for {architecture}"
        if usage.stack:
            yield f"{where}: {usage.stack} bytes of stack a thread: spilled registers or a frame"
        if usage.registers > _of(entry["registers"], architecture):
            yield f"{where}: {usage.registers} registers, budget {_of(entry['registers'], architecture)}"
        if usage.shared:
            yield f"{where}: {usage.shared} bytes of static shared memory, expected shared<T>() only"
        if kernel.threads and kernel.blocks(architecture) < _of(entry["blocks"], architecture):
            least = _of(entry["blocks"], architecture)
            yield f"{where}: {kernel.blocks(architecture)} blocks at once, budget at least {least}"


def budget_of(found: dict[str, Resources]) -> dict[str, dict[str, Any]]:
    """One entry for all types of the elements of a kernel."""
    groups: dict[str, list[Resources]] = {}
    for name, kernel in found.items():
        groups.setdefault(_TYPES.sub("*", name), []).append(kernel)
    return {pattern: _entry(group) for pattern, group in sorted(groups.items())}


def _entry(group: list[Resources]) -> dict[str, Any]:
    def by_architecture(values: dict[str, int]) -> Any:
        return next(iter(values.values())) if len(set(values.values())) == 1 else values

    registers = {a: max(k.usage[a].registers for k in group) for a in ARCHITECTURES}
    blocks = (
        {a: min(k.blocks(a) for k in group if k.threads) for a in ARCHITECTURES}
        if any(k.threads for k in group)
        else dict.fromkeys(ARCHITECTURES, 0)
    )
    return {
        "threads": max(k.threads for k in group),
        "registers": by_architecture(registers),
        "shared": max(k.shared for k in group),
        "blocks": by_architecture(blocks),
    }


def written(budget: dict[str, dict[str, Any]]) -> str:
    """As JSON, a line for each kernel."""
    lines = [f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in budget.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--runner", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runner = args.runner or runners.build(Path(folder), "plain", target="runner") / "runner"
        found = resources(release_build(), runner)
    if args.write:
        BUDGET.write_text(written(budget_of(found)))
    for name, kernel in found.items():
        usage = ", ".join(
            f"{a}: {u.registers} registers, {kernel.blocks(a) if kernel.threads else '?'} blocks"
            for a, u in kernel.usage.items()
        )
        print(f"{name}: {kernel.threads} threads, {kernel.shared} bytes; {usage}")
    wrong = problems(found, json.loads(BUDGET.read_text()))
    print("\n".join(wrong) or "all within budget")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

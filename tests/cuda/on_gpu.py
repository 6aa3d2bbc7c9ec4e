"""Everything that needs a GPU, in one command: build, tests, compute-sanitizer, benchmark, and a report to commit.

usage: python tests/cuda/on_gpu.py [--out FOLDER] [--no-build]

FOLDER (default docs/gpu/<device>) gets report.md: what ran, what failed, what was skipped and why, and the measured
table beside the predictions; and tests.xml, bench.json, roofline.png and the logs. The status is 0 only if nothing
failed, and 2 without a GPU. Most of the time goes to compute-sanitizer.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
TESTS = (
    "tests/cuda/test_kernels.py",
    "tests/cuda/gpu",
    "tests/test_devices.py",
    "tests/bench",
)
PREDICTIONS = "tools/cuda/speed_model/cuda_predictions.json"
_CLI = (sys.executable, "-c", "from fimo_fast.cli import app; app()")
_NEEDED = ("nvcc", "cmake", "ninja")
_OPTIONAL = {"compute-sanitizer": "no check of memory, races and barriers on the device"}


@dataclass
class Step:
    """One command of the run.

    Attributes:
        name: also of its log.
        command: with its arguments.
        status: how it ended; None: not run.
        seconds: how long it took.
        notes: lines for the report.
    """

    name: str
    command: list[str]
    status: int | None = None
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


def steps(out: Path, build: bool) -> list[Step]:
    """The commands, in order; the first is left out without ``build``."""
    pytest = [sys.executable, "-m", "pytest", *TESTS, "--device", "cuda", f"--junitxml={out / 'tests.xml'}"]
    types = [part for name in ("float32", "bfloat16", "float16", "int8") for part in ("--dtype", name)]
    bench = [*_CLI, "bench", "--device", "cuda", "--peers", *types, "--predictions", PREDICTIONS]
    for option, name in (("--json", "bench.json"), ("--markdown", "bench.md"), ("--figure", "roofline.png")):
        bench += [option, str(out / name)]
    found = [Step("tests", pytest), Step("bench", bench)]
    install = [sys.executable, "-m", "pip", "install", "-e", ".[test-full]"]
    return [Step("build", install), *found] if build else found


def run(step: Step, out: Path) -> None:
    """Runs a step; its output goes to the terminal and to its log."""
    print(f"\n== {step.name}: {' '.join(step.command)}", flush=True)
    began = time.perf_counter()
    # FIMO_CUDA=ON: a build without CUDA is an error here. Programs of the toolkit need not be on the PATH.
    environment = {**os.environ, "FIMO_CUDA": "ON", "PATH": _path(), "COLUMNS": "200"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    with (out / f"{step.name}.log").open("w") as log:
        process = subprocess.Popen(step.command, cwd=ROOT, env=environment, **options)  # type: ignore[call-overload]
        for line in process.stdout:
            print(line, end="", flush=True)
            log.write(line)
        step.status = process.wait()
    step.seconds = time.perf_counter() - began


def _path() -> str:
    """PATH with the folder of the CUDA toolkit at its end."""
    homes = [os.environ.get("CUDA_HOME"), "/usr/local/cuda"]
    return os.pathsep.join([os.environ.get("PATH", ""), *(f"{home}/bin" for home in homes if home)])


def summary(path: Path) -> tuple[Counter[str], list[str], dict[str, int]]:
    """Of a JUnit file: how many tests passed, failed and were skipped, which failed, and {reason to skip: how many}."""
    counts, failed, skipped = Counter[str](), [], Counter[str]()
    for test in ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{test.get('classname')}::{test.get('name')}"
        if any(test.find(kind) is not None for kind in ("failure", "error")):
            counts["failed"] += 1
            failed.append(name)
        elif (skip := test.find("skipped")) is not None:
            counts["skipped"] += 1
            skipped[skip.get("message") or "no reason given"] += 1
        else:
            counts["passed"] += 1
    return counts, failed, dict(skipped)


def describe_tests(step: Step, out: Path) -> None:
    """What the tests' file says, as notes; a run without a test on the device has failed, whatever its status."""
    file = out / "tests.xml"
    if not file.exists():
        step.notes.append("no results: pytest ended before it could write them, see tests.log")
        step.status = step.status or 1
        return
    counts, failed, skipped = summary(file)
    step.notes.append(", ".join(f"{counts[kind]} {kind}" for kind in ("passed", "failed", "skipped")))
    step.notes += [f"FAILED {name}" for name in failed]
    step.notes += [f"skipped {count}: {reason}" for reason, count in sorted(skipped.items())]
    if not counts["passed"] or "needs a CUDA device" in skipped:
        step.notes.append("the tests of the device were skipped")
        step.status = step.status or 1


def report(done: list[Step], out: Path) -> str:
    """The text of report.md."""
    lines = [f"# fimo_fast on {torch.cuda.get_device_name()}", "", *_machine(), ""]
    lines += ["| step | outcome | minutes |", "|---|---|---:|"]
    for step in done:
        outcome = "not run" if step.status is None else "ok" if step.status == 0 else f"FAILED, status {step.status}"
        lines.append(f"| {step.name} | {outcome} | {step.seconds / 60:.1f} |")
    missing = [f"{name} is not there: {what}." for name, what in _OPTIONAL.items() if not _has(name)]
    if torch.cuda.device_count() < 2:
        missing.append("One device: nothing was checked on a second one.")
    lines += ["", "Not checked:", "", *(f"- {line}" for line in missing)] if missing else []
    for step in done:
        if step.notes:
            lines += ["", f"## {step.name}", "", *(f"- {note}" for note in step.notes)]
    table = out / "bench.md"
    lines += ["", "## Measured", "", table.read_text().rstrip() if table.exists() else "Nothing: see bench.log."]
    return "\n".join(lines) + "\n"


def _machine() -> list[str]:
    properties = torch.cuda.get_device_properties(0)
    commit = _said(["git", "rev-parse", "--short", "HEAD"]) or "unknown"
    dirty = " with changes" if _said(["git", "status", "--porcelain", "--untracked-files=no"]) else ""
    driver = _said(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]).splitlines()
    release = re.search(r"release ([\d.]+)", _said(["nvcc", "--version"]))
    return [
        f"{datetime.date.today().isoformat()}, commit {commit}{dirty}. Compute capability {properties.major}."
        f"{properties.minor}, {properties.multi_processor_count} multiprocessors, "
        f"{properties.total_memory / 2**30:.0f} GiB; {torch.cuda.device_count()} device(s); driver "
        f"{driver[0] if driver else 'unknown'}, nvcc {release[1] if release else 'unknown'}, torch {torch.__version__}."
    ]


def _said(command: list[str]) -> str:
    """The output of a program; empty where there is none."""
    if not _has(command[0]):
        return ""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PATH": _path()}).stdout


def _has(program: str) -> bool:
    return shutil.which(program, path=_path()) is not None


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0 if all is well, 1 if something failed, 2 if it cannot run here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where the report goes")
    parser.add_argument("--no-build", action="store_true", help="test the fimo_fast that is installed")
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print(f"on_gpu: needs a CUDA device that torch can use, got none (torch {torch.__version__})", file=sys.stderr)
        return 2
    if lacking := [name for name in _NEEDED if not _has(name)]:
        print(f"on_gpu: needs {', '.join(_NEEDED)} on the PATH, got no {', '.join(lacking)}", file=sys.stderr)
        return 2
    name = re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name().lower()).strip("-")
    out = (given.out or ROOT / "docs" / "gpu" / name).resolve()
    out.mkdir(parents=True, exist_ok=True)
    for old in ("tests.xml", "bench.md", "bench.json", "roofline.png", "report.md"):
        (out / old).unlink(missing_ok=True)
    done = steps(out, not given.no_build)
    for step in done:
        run(step, out)
        if step.name == "tests":
            describe_tests(step, out)
        if step.name == "build" and step.status != 0:
            break
    (out / "report.md").write_text(report(done, out))
    failed = [step.name for step in done if step.status != 0]
    print(f"\n{out / 'report.md'}: {'FAILED: ' + ', '.join(failed) if failed else 'all is well'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Builds of the runner (runner/runner.cpp) and the ways to run a family's cases on it."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cases import Case

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]

# What a report of a sanitizer must do: end the program, and say so by its exit status. And how many seconds of CPU time
# a case may take before the runner is ended: a minute is usual for the longest under ThreadSanitizer.
_ENVIRONMENT = {
    "FIMO_RUNNER_SECONDS": "600",
    "TSAN_OPTIONS": "halt_on_error=1:exitcode=66:report_signal_unsafe=0",
    "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
}


@dataclass(frozen=True)
class Way:
    """A build of the runner, the schedule it emulates, and the program in front of it."""

    mode: str
    schedule: str = ""
    before: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """What to add to the process's environment."""
        schedule = {"FIMO_EMULATOR_SCHEDULE": self.schedule} if self.schedule else {}
        return {**_ENVIRONMENT, **schedule}


# The same results are asked of all of them, and of those of a mode the same bits.
EMULATED = {
    "fifo": Way("plain", "fifo"),
    "lifo": Way("plain", "lifo"),
    "random1": Way("plain", "random:1"),
    "random2": Way("plain", "random:2"),
    "ptx fifo": Way("ptx", "fifo"),
    "ptx lifo": Way("ptx", "lifo"),
    "ptx random": Way("ptx", "random:1"),
    "asan": Way("asan", "random:1"),
    "tsan": Way("tsan", "random:1"),
}
_SANITIZER = ("compute-sanitizer", "--error-exitcode", "77", "--tool")
ON_GPU = {
    "gpu": Way("gpu"),
    "gpu again": Way("gpu"),
    "memcheck": Way("gpu", before=(*_SANITIZER, "memcheck")),
    "racecheck": Way("gpu", before=(*_SANITIZER, "racecheck")),
    "synccheck": Way("gpu", before=(*_SANITIZER, "synccheck")),
}


def families() -> list[str]:
    """The names of all families of kernels that have cases."""
    return sorted(file.stem for file in (FOLDER / "families").glob("*.py") if not file.stem.startswith("_"))


def cases_of(family: str) -> list[Case]:
    """The cases of tests/cuda/families/<family>.py."""
    return importlib.import_module(f"families.{family}").cases()


def _cuda_include() -> Path | None:
    compiler = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    folders = [Path(compiler).resolve().parents[1], Path("/usr/local/cuda")]
    folders += sorted(Path("/usr/local").glob("cuda-*"), reverse=True)
    named = os.environ.get("CUDAToolkit_ROOT") or os.environ.get("CUDA_HOME")  # noqa: SIM112  (CMake writes it so)
    folders = [*([Path(named)] if named else []), *folders]
    inner = ("include", "targets/x86_64-linux/include")
    return next((f / i for f in folders for i in inner if (f / i / "cuda_runtime_api.h").exists()), None)


def missing(mode: str) -> str:
    """Why a mode cannot be built here; empty if it can."""
    for program in ("cmake", "ninja", *(["nvcc"] if mode in ("gpu", "ptx") else [])):
        if shutil.which(program) is None:
            return f"needs {program}"
    if mode == "gpu":
        return ""
    if os.uname().machine != "x86_64":
        return "the emulator switches stacks on x86-64 only"
    if _cuda_include() is None:
        return "needs the headers of CUDA"
    if mode in ("asan", "tsan"):
        flag = "-fsanitize=" + {"asan": "address,undefined", "tsan": "thread"}[mode]
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "probe"
            program.with_suffix(".cpp").write_text("int main() {}")
            compiler = os.environ.get("CXX", "c++")
            for command in ([compiler, flag, f"{program}.cpp", "-o", program], [program]):
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode != 0:
                    return f"no working {flag}: {done.stderr[-300:]}"
    return ""


def build(folder: Path, mode: str, *options: str, root: Path = ROOT, target: str = "all") -> Path:
    """Configures and builds tests/cuda with the kernels of ``root`` in ``folder``, which it returns.

    Raises:
        RuntimeError: something does not compile.
    """
    modes = [f"-DFIMO_MODE={mode}", f"-DFIMO_ROOT={root}", f"-DPython_EXECUTABLE={sys.executable}"]
    return run_cmake(FOLDER, folder, *modes, *options, target=target)


def run_cmake(source: Path, folder: Path, *options: str, target: str) -> Path:
    """Configures and builds a project in ``folder``, which it returns.

    Raises:
        RuntimeError: something does not compile.
    """
    # The ninja of now: that of another environment may be gone.
    ninja = f"-DCMAKE_MAKE_PROGRAM={shutil.which('ninja')}"
    configure = ["cmake", "-S", source, "-B", folder, "-G", "Ninja", ninja, *options]
    jobs = str(os.cpu_count() or 1)
    for command in (configure, ["cmake", "--build", folder, "-j", jobs, "--target", target]):
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, errors="replace")
        if done.returncode != 0:
            raise RuntimeError(f"{command}\n{done.stdout[-8000:]}\n{done.stderr[-2000:]}")
    return folder


@dataclass
class Run:
    """What a run of the runner left: a result for each case that ended, and how it ended itself."""

    results: dict[str, dict[str, Any]]
    returncode: int
    output: str  # the end of what it said, for messages

    @property
    def crash(self) -> str:
        """The report of a sanitizer or a crash; empty if it said itself what failed."""
        failed = any(result["problem"] for result in self.results.values())
        if self.returncode == (1 if failed else 0):
            return ""
        endless = " (a case took too long)" if self.returncode == -signal.SIGXCPU else ""
        return f"status {self.returncode}{endless}\n{self.output}"


def run_program(
    command: list[Any], way: Way, timeout: float | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A finished process. One that takes too long has status 124."""
    command = [str(part) for part in (*way.before, *command)]
    options: dict[str, Any] = {"capture_output": True, "text": True, "errors": "replace", "timeout": timeout}
    try:
        return subprocess.run(command, env={**os.environ, **way.environment, **environment}, **options)
    except subprocess.TimeoutExpired as expired:
        out = (expired.stdout or b"").decode(errors="replace")
        return subprocess.CompletedProcess(command, 124, out, f"no end after {timeout} s")


def run(folder: Path, file: Path, way: Way, name: str = "", timeout: float | None = None, *,
        seconds: float | None = None, stop: bool = False) -> Run:  # fmt: skip
    """Runs the cases of a file whose name contains ``name``.

    Args:
        seconds: of CPU time that a case may take.
        stop: after the first case that fails.
    """
    options = {} if seconds is None else {"FIMO_RUNNER_SECONDS": str(seconds)}
    options |= {"FIMO_RUNNER_STOP": "1"} if stop else {}
    done = run_program([folder / "runner", file, *([name] if name else [])], way, timeout, **options)
    return Run(_results(done.stdout), done.returncode, done.stdout[-500:] + "\n" + done.stderr[-6000:])


def _results(output: str) -> dict[str, dict[str, Any]]:
    """The lines of JSON by case. What is none was said by something else, or cut off by a crash."""
    found = {}
    for line in output.splitlines():
        if line.startswith('{"name"'):
            with contextlib.suppress(json.JSONDecodeError):
                result = json.loads(line)
                found[result.pop("name")] = result
    return found

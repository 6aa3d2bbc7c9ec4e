"""Builds of the C++ tests (tests/cpp). They stay in pytest's cache: the next run compiles only what changed."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(*command, **options):
    """A finished process, its two outputs as text in one."""
    merged = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    return subprocess.run([str(part) for part in command], **merged, **options)


def build(folder, *options):
    """Configures and builds the library and its C++ tests in `folder`; returns the folder with the programs."""
    # The ninja of now: that of another environment may be gone.
    ninja = f"-DCMAKE_MAKE_PROGRAM={shutil.which('ninja')}"
    common = ["-G", "Ninja", ninja, "-DFIMO_TESTS=ON", "-DFIMO_CUDA=OFF", "-DFIMO_INSTALL_DEV=OFF"]
    for command in (
        ["cmake", "-S", ROOT, "-B", folder, *common, *options],
        ["cmake", "--build", folder, "-j", str(os.cpu_count() or 1)],
    ):
        result = run(*command)
        assert result.returncode == 0, f"{command}\n{result.stdout[-8000:]}"
    return Path(folder) / "tests" / "cpp"

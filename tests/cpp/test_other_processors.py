"""The core on a machine of another kind: the C++ tests, compiled for AArch64 (scalar and NEON), under qemu."""

import re
import shutil
from pathlib import Path

import pytest
from cpp_build import build, run

COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
MISSING = [name for name in (COMPILER, EMULATOR, "cmake", "ninja") if shutil.which(name) is None]

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)} (Debian: g++-aarch64-linux-gnu, qemu-user)"),
]


def sketch_bits(output):
    return dict(re.findall(r"^(\w+): sketch bits ([0-9a-f]{16})$", output, flags=re.MULTILINE))


@pytest.fixture(scope="module")
def emulated_run(request):
    programs = build(
        request.config.cache.mkdir("cpp-aarch64"),
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        f"-DCMAKE_CXX_COMPILER={COMPILER}",
    )
    loader = run(COMPILER, "-print-file-name=ld-linux-aarch64.so.1").stdout.strip()
    return run(EMULATOR, "-L", Path(loader).resolve().parents[1], programs / "core_tests")


def test_core_tests_pass(emulated_run):
    assert emulated_run.returncode == 0, emulated_run.stdout[-8000:]
    for isa in ("scalar", "neon"):
        assert re.search(rf"^{isa}: \d{{4,}} checks, 0 failures$", emulated_run.stdout, flags=re.MULTILINE)


def test_sketches_have_the_bits_of_this_machine(emulated_run, sanitized_run):
    emulated, here = sketch_bits(emulated_run.stdout), sketch_bits(sanitized_run.stdout)
    assert set(emulated) == {"scalar", "neon"} and here
    assert len({*emulated.values(), *here.values()}) == 1, (emulated, here)

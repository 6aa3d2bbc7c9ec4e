"""Fixtures of the tests of CUDA kernels."""

import pytest
from ptx.cases import floats, instructions, integers, structures
from ptx.cases.programs import Programs
from runners import build, missing


@pytest.fixture(scope="session")
def programs(request):
    """The kernels of tests/cuda/ptx/cases, translated and compiled."""
    if request.config.getoption("device") != "cpu":
        pytest.skip("the emulator is of the CPU")
    if reason := missing("ptx"):
        pytest.skip(reason)
    cases = instructions.named(integers.cases() + floats.cases())
    kernels = [instructions.kernel(case, name) for name, case in cases.items()]
    text = instructions.HEADER + structures.TEXT + "\n".join(kernels)
    file = request.config.cache.mkdir("cuda-ptx-programs") / "instructions.ptx"
    if not file.exists() or file.read_text() != text:  # or it would be compiled again
        file.write_text(text)
    folder = build(request.config.cache.mkdir("cuda-ptx"), "ptx", f"-DFIMO_PTX_PROGRAMS={file}", target="programs")
    return Programs(folder / "libprograms.so")

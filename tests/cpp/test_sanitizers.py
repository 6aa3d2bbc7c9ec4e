"""The core's C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer, and that those see a wrong access."""

import os
import re
import shutil
import subprocess

import pytest
from cpp_build import run

from fimo_fast.testing import available_isas

pytestmark = pytest.mark.native
OPERATIONS = ["rademacher", "gaussian", "mask", "sjlt", "srht", "outer_dot", "outer_norm2", "scores", "topk"]
OPERATIONS += ["outer_project_mask", "outer_project_formed", "outer_project_factored", "tensorsketch", "rows_project"]
# What tests/cpp/broken.cpp does wrong, and what must be said about it.
DEFECTS = {
    "read": "AddressSanitizer: heap-buffer-overflow",
    "read_guarded": "AddressSanitizer: SEGV",
    "write": "AddressSanitizer: heap-buffer-overflow",
}


def test_core_tests_pass(sanitized_run):
    assert sanitized_run.returncode == 0, sanitized_run.stdout[-8000:]
    for isa in available_isas():
        assert re.search(rf"^{isa}: \d{{4,}} checks, 0 failures$", sanitized_run.stdout, flags=re.MULTILINE)


def test_all_instruction_sets_give_the_same_sketches(sanitized_run):
    bits = dict(re.findall(r"^(\w+): sketch bits ([0-9a-f]{16})$", sanitized_run.stdout, flags=re.MULTILINE))
    assert set(bits) == set(available_isas()) and len(set(bits.values())) == 1, bits


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("isa", available_isas())
def test_one_element_too_many_is_caught(sanitized_programs, isa, operation):
    environment = {**os.environ, "ASAN_OPTIONS": "symbolize=0"}
    result = run(sanitized_programs / "broken", isa, operation, "none", env=environment)
    assert result.returncode == 0 and "survived" in result.stdout
    for defect, report in DEFECTS.items():
        result = run(sanitized_programs / "broken", isa, operation, defect, env=environment)
        assert result.returncode != 0 and report in result.stdout, f"{defect}: {result.stdout[-2000:]}"


def test_undefined_arithmetic_is_caught(sanitized_programs):
    result = run(sanitized_programs / "broken", "scalar", "outer_norm2", "overflow")
    assert result.returncode != 0 and "runtime error: signed integer overflow" in result.stdout, result.stdout[-2000:]


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm")
def test_every_instruction_set_is_instrumented(sanitized_programs):
    objects = list(sanitized_programs.parents[1].rglob("isa_*.cpp.o"))
    assert len(objects) >= len(available_isas())
    for path in objects:
        symbols = subprocess.run(["nm", str(path)], capture_output=True, text=True, check=True).stdout
        assert "__asan_report_load" in symbols and "__asan_report_store" in symbols, path
        assert "__ubsan_handle_pointer_overflow" in symbols, path

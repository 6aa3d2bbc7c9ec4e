"""The C++ tests, built with sanitizers."""

import os
import shutil

import pytest
from cpp_build import build, run

SANITIZERS = "address,undefined,float-cast-overflow"


@pytest.fixture(scope="session")
def sanitized_programs(request, tmp_path_factory):
    """The folder of the C++ tests, built with sanitizers."""
    if shutil.which("cmake") is None or shutil.which("ninja") is None:
        pytest.skip("needs cmake and ninja")
    probe = tmp_path_factory.mktemp("probe") / "probe.cpp"
    probe.write_text("int main() {}")
    result = run(os.environ.get("CXX", "c++"), f"-fsanitize={SANITIZERS}", probe, "-o", probe.with_suffix(""))
    if result.returncode != 0:
        pytest.skip(f"the C++ compiler has no -fsanitize={SANITIZERS}: {result.stdout[-300:]}")
    return build(request.config.cache.mkdir("cpp-sanitized"), f"-DFIMO_SANITIZE={SANITIZERS}")


@pytest.fixture(scope="session")
def sanitized_run(sanitized_programs):
    """A finished run of all C++ tests with sanitizers."""
    options = {"UBSAN_OPTIONS": "print_stacktrace=1:abort_on_error=1"}
    return run(sanitized_programs / "core_tests", env={**os.environ, **options})

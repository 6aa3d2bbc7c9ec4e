"""What users receive: the source archive, the wheel built from it, and the C++ package."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
VERSION = (ROOT / "VERSION").read_text().strip()

pytestmark = [pytest.mark.native, pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")]


def run(*command, **options):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert result.returncode == 0, f"{command}\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
    return result.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The source archive, made from a copy so that the checkout stays clean."""
    source = tmp_path_factory.mktemp("source") / "fimo_fast"
    ignored = shutil.ignore_patterns("build", "dist", ".git", "*.egg-info", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, source, ignore=ignored)
    target = tmp_path_factory.mktemp("sdist")
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(target)!r})"
    run(sys.executable, "-c", code, cwd=source)
    (archive,) = target.iterdir()
    return archive


@pytest.fixture(scope="module")
def unpacked(sdist, tmp_path_factory):
    target = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(target, filter="data")
    (folder,) = target.iterdir()
    return folder


def test_sdist_has_all_that_a_build_needs(sdist, unpacked):
    assert sdist.name == f"fimo_fast-{VERSION}.tar.gz"
    names = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    for folder in ("csrc", "cmake", "fimo_fast", "tests", "tools", "benchmarks", "docs"):
        for path in (ROOT / folder).rglob("*"):
            built = path.suffix in {".so", ".pyc", ".tmp"} or "__pycache__" in path.parts
            if path.is_file() and not built and not any(part.startswith(".") for part in path.parts):
                assert path.relative_to(ROOT).as_posix() in names, path
    assert {"CMakeLists.txt", "VERSION", "LICENSE", "README.md", "setup.py", "pyproject.toml"} <= names
    assert not [name for name in names if name.endswith((".so", ".o", ".a", ".pyc"))]


def test_wheel_from_sdist_has_the_module_and_nothing_foreign(unpacked, tmp_path):
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    # In the setting of an isolated build: torch must not be needed.
    blocked = tmp_path / "blocked"
    (blocked / "torch").mkdir(parents=True)
    (blocked / "torch" / "__init__.py").write_text("raise ImportError('the build imported torch')")
    environment = {**os.environ, "FIMO_CUDA": "OFF", "PYTHONPATH": str(blocked)}
    run(sys.executable, "-c", code, cwd=unpacked, env=environment)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(f"fimo_fast-{VERSION}.dist-info/METADATA").decode()
        archive.extractall(tmp_path / "installed")
    assert f"Version: {VERSION}" in metadata
    assert "Requires-Dist: torch>=2.4" in metadata
    binaries = [name for name in names if ".so" in name]
    assert len(binaries) == 1 and binaries[0].startswith("fimo_fast/_C."), binaries
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "fimo_fast").rglob("*.py")}
    assert {"fimo_fast/py.typed", "fimo_fast/_C.pyi"} | modules <= set(names)
    templates = [path.name for path in (ROOT / "fimo_fast" / "report").glob("*.j2")]
    assert all(f"fimo_fast/report/{name}" in names for name in templates)
    assert not [name for name in names if name.startswith(("tests/", "tools/", "benchmarks/", "csrc/"))]
    assert not [name for name in names if name.endswith(".json")]  # predictions stay in tools/
    # The module of the wheel itself, loaded without the Python layer and without torch.
    code = (
        "import sys\n"
        "from loading import load_extension\n"
        f"info = load_extension('_C', {str(tmp_path / 'installed' / binaries[0])!r}).build_info()\n"
        f"assert info['version'] == {VERSION!r} and info['cuda'] is False, info\n"
        "assert 'torch' not in sys.modules\n"
    )
    run(sys.executable, "-c", code, env={**os.environ, "PYTHONPATH": str(ROOT / "tests")})
    # And with both: what it says of CUDA, and what CUDA tensors run.
    program = ROOT / "tests" / "cuda" / "without_cuda.py"
    installed = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    assert run(sys.executable, program, env=installed, cwd=tmp_path) == "ok\n"
    if shutil.which("ldd"):
        libraries = run("ldd", tmp_path / "installed" / binaries[0])
        assert "torch" not in libraries and "cuda" not in libraries and "not found" not in libraries


def test_cmake_package_serves_a_cpp_project(unpacked, tmp_path):
    prefix = tmp_path / "prefix"
    build = unpacked / "build" / "package"  # as deep as the wheel's, so that a compiler cache knows what it compiles
    run("cmake", "-S", unpacked, "-B", build, "-DFIMO_CUDA=OFF")
    run("cmake", "--build", build, "-j", "2")
    run("cmake", "--install", build, "--prefix", prefix)
    installed = sorted(p.name for p in (prefix / "include" / "fimo_fast").iterdir())
    assert installed == sorted(p.name for p in (ROOT / "csrc" / "include" / "fimo_fast").iterdir())
    consumer = tmp_path / "consumer"
    run("cmake", "-S", ROOT / "tests" / "cpp", "-B", consumer, f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", consumer, "--target", "consumer")
    assert f"fimo_fast {VERSION}: 0 failures" in run(consumer / "consumer")


def test_wrong_cuda_choice_is_refused(tmp_path):
    result = subprocess.run(
        ["cmake", "-S", str(ROOT), "-B", str(tmp_path), "-DFIMO_CUDA=MAYBE"], capture_output=True, text=True
    )
    assert result.returncode != 0
    assert "FIMO_CUDA: expected AUTO, ON or OFF, got 'MAYBE'" in " ".join(result.stderr.split())

"""Rules of the source tree that no compiler checks."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"

# Each module of fimo_fast may import those on earlier lines, and nothing else of the package.
LAYERS = [
    {"_integers"},
    {"sketch", "_checks", "_native"},
    {"reference", "_sketch_args"},
    {"_torch_kernels"},
    {"_torch_cpu", "_torch_cuda"},
    {"_torch_ops", "_numpy_ops"},
    {"_short_way"},
    {"_score_ops", "_rows_ops"},
    {"ops"},
    {"testing"},
    {"files", "progress", "losses", "_trees", "_swapped"},
    {"_hugging_face", "_sources"},
    {"problem"},
    {"data"},
    {"tokens"},
    {"gradients"},
    {"curvature"},
    {"methods", "oracle"},
    {"evaluate"},
    {"tasks", "report"},
    {"bench"},
    {"experiment"},
    {"cli"},
]
# Narrower still: the report draws numbers from any source and knows none of the code that makes them.
ONLY = {
    "report": {"files"},
    "sketch": {"_integers"},
    "files": set(),
    "progress": set(),
    "reference": {"sketch"},
    "_sketch_args": {"sketch"},
    "bench": {"ops", "sketch", "reference", "testing", "files", "progress", "report"},
}

SOURCES = sorted(path for path in CSRC.rglob("*") if path.suffix in {".h", ".cpp", ".cu", ".cuh"})


def includes(path):
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), flags=re.MULTILINE)


def test_there_are_sources():
    assert len(SOURCES) > 20


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(CSRC)))
def test_includes_stay_in_their_layer(path):
    layer = path.relative_to(CSRC).parts[0]
    for name in includes(path):
        assert not re.match(r"(torch|ATen|c10|caffe2)/", name), f"framework header {name}"
        if name.startswith(("pybind11/", "Python.h", "bindings/")):
            assert layer == "bindings"
        if name.startswith("cuda"):
            assert layer == "cuda" or name == "cuda/device.h"
        if layer == "include":
            assert name.startswith("fimo_fast/") or re.fullmatch(r"[a-z_]+", name), f"{name} is not installed"
            target = CSRC / "include" / name
            assert not name.startswith("fimo_fast/") or target.exists()


def isa_closure():
    """All project headers that files compiled with special flags include."""
    seen, todo = set(), sorted((CSRC / "cpu").glob("isa_*.cpp"))
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in includes(path):
            for folder in (CSRC, CSRC / "cpu", CSRC / "include"):
                if (folder / name).exists():
                    todo.append(folder / name)
    return seen


def test_files_with_special_flags_use_no_standard_library():
    allowed = {"cstdint", "immintrin.h", "arm_neon.h"}
    closure = isa_closure()
    assert CSRC / "cpu" / "kernels.h" in closure
    for path in closure:
        folders = (CSRC, CSRC / "cpu", CSRC / "include")
        outside = {name for name in includes(path) if not any((folder / name).exists() for folder in folders)}
        assert outside <= allowed, f"{path.name}: {outside - allowed}"


def test_objects_with_special_flags_share_no_symbols():
    # A weak symbol may be replaced by, or replace, the copy of another file with other flags.
    objects = sorted((ROOT / "build").rglob("isa_*.cpp.o")) if (ROOT / "build").exists() else []
    if not objects or not shutil.which("nm"):
        pytest.skip("needs nm and objects in build/")
    for path in objects:
        symbols = subprocess.run(["nm", "-C", str(path)], capture_output=True, text=True, check=True)
        weak = re.findall(r"^\S* [uvwVW] .*", symbols.stdout, flags=re.MULTILINE)
        assert not weak, f"{path}: {weak}"


def test_only_one_header_knows_openmp():
    for path in SOURCES:
        if path.name != "parallel.h":
            assert not re.search(r"#\s*pragma\s+omp|omp\.h", path.read_text()), path


def test_no_fast_math():
    for path in [ROOT / "CMakeLists.txt", ROOT / "setup.py", *(ROOT / "cmake").iterdir()]:
        code = re.sub(r"#.*", "", path.read_text())
        assert "fast-math" not in code and "Ofast" not in code, path


def rank(module):
    ranks = [i for i, layer in enumerate(LAYERS) if module in layer]
    assert ranks, f"fimo_fast.{module} is in no layer: add it to LAYERS"
    return ranks[0]


def imported_modules(path):
    """Top-level modules of fimo_fast that a file imports, by any spelling."""
    package = path.relative_to(ROOT).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            names = [source] if source != "fimo_fast" else [f"fimo_fast.{a.name}" for a in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("fimo_fast.")}
    return found


PYTHON = sorted((ROOT / "fimo_fast").rglob("*.py"))


@pytest.mark.parametrize("path", PYTHON, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_imports_go_down(path):
    module = path.relative_to(ROOT / "fimo_fast").parts[0].removesuffix(".py")
    if module == "__init__":
        return
    mine = rank(module)
    for other in imported_modules(path) - {module, "_C", "__version__", "build_info"}:
        allowed = rank(other) < mine and other in ONLY.get(module, {other})
        assert allowed, f"{module} imports {other}"


def test_only_native_imports_the_extension():
    for path in PYTHON:
        if "_C" in imported_modules(path):
            assert path.name == "_native.py", path

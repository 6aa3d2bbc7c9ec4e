"""Rules of the source tree that no compiler checks."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"

# The direction of imports in fimo_fast: what each room may import, besides itself. Those further down stand on those
# above. The docstring of each package ends with its row. Only `ops.native` imports the compiled module.
MAY_IMPORT = {
    "utils": (),
    "sketch": ("utils",),
    "ops": ("sketch", "utils"),
    "testing": ("ops",),
    "problem": ("utils",),
    "gradients": ("problem", "ops", "sketch", "utils"),
    "curvature": ("gradients", "problem", "utils"),
    "oracle": ("problem", "utils"),
    "methods": ("curvature", "gradients", "problem", "sketch", "utils"),
    "evaluate": ("oracle", "utils"),
    "report": ("utils",),  # draws numbers from any source, and knows none of the code that makes them
    "experiments": ("methods", "oracle", "evaluate", "report", "curvature", "problem", "utils"),
    "bench": ("ops", "sketch", "testing", "report", "utils"),
    "cli": ("experiments", "bench", "report", "utils"),
}
# The same for the folders inside a package: the files and folders beside them that they may import.
MAY_IMPORT_INSIDE = {
    "gradients/rules": ("terms", "batch_axis"),
    "gradients/capture": ("rules", "batch_axis", "parameters", "terms", "inner_products"),
    "bench/baselines": ("case", "peak"),
    "bench/operations": ("baselines", "case", "peak"),
}

# Each room of csrc includes itself, the rooms named here, and of other rooms nothing.
_CORE = {"include/fimo_fast", "common"}
_CUDA = _CORE | {"cuda/device"}
ROOMS = {
    "include/fimo_fast": set(),
    "common": {"include/fimo_fast"},
    "cpu/kernels": _CORE,
    "cpu/isa": {"include/fimo_fast", "cpu/kernels"},
    "cpu": _CORE | {"cpu/kernels", "cpu/isa"},
    "cuda/device": _CORE,
    "cuda/dense": _CUDA,
    "cuda/mask": _CUDA,
    "cuda/sjlt": _CUDA,
    "cuda/srht": _CUDA,
    "cuda/score": _CUDA,
    "cuda/rows": _CUDA | {"cuda/sjlt", "cuda/srht"},
    "cuda/outer": _CUDA | {"cuda/sjlt", "cuda/srht", "cuda/score"},
    "bindings": {"include/fimo_fast"},
}
# Headers of others than csrc and the standard library.
OUTSIDE = {
    "cpu/isa": r"(immintrin|arm_neon)\.h|isa_list\.h",
    "cuda/device": r"cuda\w*\.h|emulator/emulator\.h",
    "bindings": r"(pybind11/.*|Python)\.h",
}
STANDARD = r"[a-z_0-9]+"

SOURCES = sorted(path for path in CSRC.rglob("*") if path.suffix in {".h", ".cpp", ".cu", ".cuh"})


def includes(path):
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), flags=re.MULTILINE)


def included_file(name):
    """The file of csrc of this name, or None. CMakeLists.txt gives the compiler the same two folders."""
    return next((folder / name for folder in (CSRC, CSRC / "include") if (folder / name).is_file()), None)


def room(path):
    return path.relative_to(CSRC).parent.as_posix()


def test_there_are_sources_in_every_room():
    assert len(SOURCES) > 100
    assert {room(path) for path in SOURCES} == set(ROOMS)


def test_rooms_have_a_direction():
    # What a room may include, directly or through others, never includes the room.
    def reached(name, seen=frozenset()):
        return seen.union(*(reached(other, seen | {other}) for other in ROOMS[name] - seen))

    assert not [name for name in ROOMS if name in reached(name)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(CSRC)))
def test_includes_stay_in_their_room(path):
    mine = room(path)
    for name in includes(path):
        if file := included_file(name):
            assert room(file) in ROOMS[mine] | {mine}, f"{mine} includes {name}"
            assert name == file.relative_to(CSRC).as_posix().removeprefix("include/"), f"{name}: name the room"
        else:
            assert re.fullmatch(f"{STANDARD}|{OUTSIDE.get(mine, STANDARD)}", name), f"{mine} includes {name}"


def isa_closure():
    """All files of csrc that are compiled with special flags."""
    seen, todo = set(), sorted((CSRC / "cpu" / "isa").glob("isa_*.cpp"))
    assert todo
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo += filter(None, map(included_file, includes(path)))
    return seen


def test_files_with_special_flags_use_no_standard_library():
    allowed = {"cstdint", "immintrin.h", "arm_neon.h"}
    closure = isa_closure()
    assert CSRC / "cpu" / "kernels" / "kernels.h" in closure
    for path in closure:
        outside = {name for name in includes(path) if not included_file(name)}
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


def imported_modules(path):
    """Modules of fimo_fast that a file imports, by any spelling, without the "fimo_fast."."""
    package = path.relative_to(ROOT).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            here = source == "fimo_fast" or (node.level and node.module is None)
            names = [f"{source}.{alias.name}" for alias in node.names] if here else [source]
        found |= {name.removeprefix("fimo_fast.") for name in names if name.startswith("fimo_fast.")}
    return found


PYTHON = sorted((ROOT / "fimo_fast").rglob("*.py"))


def python_room(path):
    return path.relative_to(ROOT / "fimo_fast").parts[0].removesuffix(".py")


def test_every_room_is_in_the_table():
    rooms = {python_room(path) for path in PYTHON} - {"__init__"}
    assert rooms == set(MAY_IMPORT), "add it to MAY_IMPORT"
    for name, others in MAY_IMPORT.items():
        before = list(MAY_IMPORT)[: list(MAY_IMPORT).index(name)]
        assert set(others) <= set(before), f"{name}: imports go up in the table"


@pytest.mark.parametrize("path", PYTHON, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_imports_follow_the_table(path):
    mine = python_room(path)
    if mine == "__init__":
        return
    for module in imported_modules(path) - {"_C", "__version__", "build_info"}:
        other = module.split(".")[0]
        assert other == mine or other in MAY_IMPORT[mine], f"{path.name} imports {module}"


def test_every_folder_is_in_a_table():
    folders = {path.parent.relative_to(ROOT / "fimo_fast").as_posix() for path in PYTHON} - {"."}
    assert folders == {name for name in MAY_IMPORT if (ROOT / "fimo_fast" / name).is_dir()} | set(MAY_IMPORT_INSIDE)


@pytest.mark.parametrize("folder", MAY_IMPORT_INSIDE)
def test_imports_inside_a_package_follow_the_table(folder):
    package, name = folder.split("/")
    for path in (ROOT / "fimo_fast" / folder).glob("*.py"):
        for module in imported_modules(path):
            if module.startswith(f"{package}."):
                other = module.split(".")[1]
                assert other == name or other in MAY_IMPORT_INSIDE[folder], f"{path.name} imports {module}"


DOCSTRINGS = {name: others for name, others in MAY_IMPORT.items() if (ROOT / "fimo_fast" / name).is_dir()}
DOCSTRINGS |= {name: ("what its package may", *others) for name, others in MAY_IMPORT_INSIDE.items()}


@pytest.mark.parametrize("name", DOCSTRINGS)
def test_the_docstring_of_a_folder_ends_with_what_it_may_import(name):
    text = ast.get_docstring(ast.parse((ROOT / "fimo_fast" / name / "__init__.py").read_text()))
    assert text.splitlines()[-1] == f"May import: {', '.join(DOCSTRINGS[name]) or 'nothing of fimo_fast'}."


def test_only_native_imports_the_extension():
    for path in PYTHON:
        if "_C" in imported_modules(path):
            assert path.name == "native.py", path

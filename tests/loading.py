"""Loads modules that lie on no path. Imports neither torch nor fimo_fast: some tests must not have them."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def load_from_root(name: str):
    """A module of `benchmarks` or `tools`, packages in the root of the repository, which stays importable."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    return importlib.import_module(name)


def load_extension(name: str, path: Path | str):
    """The compiled module of a file, under a name that ends with that of its initialization function."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

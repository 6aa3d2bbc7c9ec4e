"""Loads modules that lie on no path. Imports neither torch nor fimo_fast: some tests must not have them."""

import importlib.util
from pathlib import Path


def load_extension(name: str, path: Path | str):
    """The compiled module of a file, under a name that ends with that of its initialization function."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

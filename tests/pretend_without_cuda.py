"""Runs a program with a fimo_fast that says it was built without CUDA: ``python pretend_without_cuda.py PROGRAM``.

In the place of the compiled module stands one that has all of it but the functions for CUDA.
"""

import importlib.util
import runpy
import sys
import types
from importlib.machinery import PathFinder

import torch  # noqa: F401  (before the module, as fimo_fast imports it)
from loading import load_extension

(folder,) = importlib.util.find_spec("fimo_fast").submodule_search_locations
built = load_extension("fimo_fast._C", PathFinder.find_spec("fimo_fast._C", [folder]).origin)


class Without(types.ModuleType):
    """The compiled module without CUDA."""

    def __getattr__(self, name):
        if name.startswith("cuda_"):
            raise AttributeError(name)
        return getattr(built, name)

    def build_info(self):
        return built.build_info() | {"cuda": False, "cuda_runtime": "", "cuda_architectures": "", "cuda_devices": []}


sys.modules["fimo_fast._C"] = Without("fimo_fast._C")
runpy.run_path(sys.argv[1])

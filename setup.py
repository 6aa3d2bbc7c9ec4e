# SPDX-License-Identifier: Apache-2.0
"""Drives CMake for fimo_fast._C.

The build is described in CMakeLists.txt, the metadata in pyproject.toml. The environment variable
FIMO_CUDA (AUTO, ON, OFF; default AUTO) says whether CUDA files are compiled.
"""

import os
import subprocess
import sys
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


class CMakeBuild(build_ext):
    """Builds in a folder that stays, so that a second install compiles only what changed."""

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        build = ROOT / "build" / f"cmake-{sys.implementation.cache_tag}"
        configure = [
            "cmake", "-S", str(ROOT), "-B", str(build),
            "-DCMAKE_BUILD_TYPE=Release",
            # What may differ between two builds is said each time: the cache remembers.
            "-DFIMO_PYTHON=ON",
            "-DFIMO_INSTALL_DEV=OFF",
            f"-DFIMO_CUDA={os.environ.get('FIMO_CUDA', 'AUTO')}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        ]  # fmt: skip
        if not (build / "CMakeCache.txt").exists():
            configure += ["-G", "Ninja"]
        try:
            import ninja  # the wheel; its path changes with pip's isolated environments

            configure.append(f"-DCMAKE_MAKE_PROGRAM={Path(ninja.BIN_DIR) / 'ninja'}")
        except ImportError:
            pass
        subprocess.run(configure, check=True)
        jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count() or 1))
        subprocess.run(["cmake", "--build", str(build), "--target", "_C", "-j", jobs], check=True)
        subprocess.run(
            ["cmake", "--install", str(build), "--component", "python", "--prefix", str(target)],
            check=True,
        )


setup(ext_modules=[Extension("fimo_fast._C", sources=[])], cmdclass={"build_ext": CMakeBuild})

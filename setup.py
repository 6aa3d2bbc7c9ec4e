# SPDX-License-Identifier: Apache-2.0
"""Drives CMake for fimo_fast._C.

The build is described in CMakeLists.txt, the metadata in pyproject.toml. Environment variables:

FIMO_CUDA: whether CUDA files are compiled; AUTO (the default: if nvcc is found), ON or OFF.
FIMO_CUDA_ARCHITECTURES: for which GPUs; by default one architecture, this machine's; `release` for all that the
    project supports, or a list as CMake takes it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


def kept_pybind11(folder: Path) -> Path:
    """The CMake package of pybind11, in a copy that `folder` keeps.

    Each of pip's isolated environments has its own pybind11 at another path: without the copy, every install would
    compile again what includes it.
    """
    cmake, package = Path(pybind11.get_cmake_dir()), Path(pybind11.__file__).parent
    if package not in cmake.parents:
        return cmake  # a system's, which stays where it is
    kept = folder / f"pybind11-{pybind11.__version__}"
    if not kept.exists():
        part = folder / f"{kept.name}.part"
        for name in ("include", "share"):
            shutil.copytree(package / name, part / name, dirs_exist_ok=True)
        part.rename(kept)
    return kept / cmake.relative_to(package)


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
            f"-DFIMO_CUDA_ARCHITECTURES={os.environ.get('FIMO_CUDA_ARCHITECTURES', '')}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={kept_pybind11(build.parent)}",
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

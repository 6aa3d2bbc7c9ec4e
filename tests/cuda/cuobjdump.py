"""What cuobjdump says of compiled kernels: for the gate (resources.py) and the speed model (tools/cuda/speed_model)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


def cuobjdump() -> str:
    """The program: that of the Python package nvidia-cuda-cuobjdump, or of the CUDA toolkit.

    Raises:
        FileNotFoundError: there is none.
    """
    try:
        import nvidia

        for folder in nvidia.__path__:
            for found in sorted(Path(folder).glob("*/bin/cuobjdump")):
                return str(found)
    except ImportError:
        pass
    nvcc = shutil.which("nvcc")
    found_on_path = shutil.which("cuobjdump") or (
        nvcc and shutil.which("cuobjdump", path=str(Path(nvcc).resolve().parent))
    )
    if not found_on_path:
        raise FileNotFoundError("cuobjdump: pip install nvidia-cuda-cuobjdump")
    return found_on_path


def dumped(module: Path, *options: str) -> str:
    """What cuobjdump prints of a module or library."""
    path = os.pathsep.join([str(Path(cuobjdump()).parent), os.environ.get("PATH", "")])  # it calls nvdisasm
    done = subprocess.run(
        [cuobjdump(), *options, str(module)], capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    if done.returncode != 0:
        raise RuntimeError(f"cuobjdump {options} {module}: {done.stderr[-2000:]}")
    return done.stdout


def short_names(symbols: list[str]) -> list[str]:
    """As the emulator's trace has them: ``signs_kernel<float, 4>``."""
    text = subprocess.run(["c++filt"], input="\n".join(symbols), capture_output=True, text=True, check=True).stdout
    return [_short(line) for line in text.splitlines()]


def _short(name: str) -> str:
    depth = 0
    name = name.removeprefix("void ").replace("fimo::cuda::", "").replace("> >", ">>")
    for i, letter in enumerate(name):
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0:
            return name[:i]
    return name

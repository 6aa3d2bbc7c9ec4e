"""Tools for the CUDA kernels (README.md): mutation testing, a model of their speed, random schedules.

They stand on tests/cuda: its cases, its runner and its emulator, whose modules are imported by their plain names.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "cuda"))

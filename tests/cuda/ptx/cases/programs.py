"""Translated kernels as functions of numpy's arrays."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np


class Failed(Exception):
    """What a launch has reported."""


class _Argument(ctypes.Structure):
    _fields_ = (("value", ctypes.c_void_p), ("bytes", ctypes.c_size_t))


class _Shape(ctypes.Structure):
    _fields_ = (("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("shared_bytes", ctypes.c_size_t))


def _three(shape: int | tuple[int, ...]) -> tuple[int, ...]:
    return (*((shape,) if isinstance(shape, int) else shape), 1, 1)[:3]


class Programs:
    """The library that programs.cpp and the translated kernels make."""

    def __init__(self, library: Path) -> None:
        self._launch = ctypes.CDLL(str(library)).launch
        self._launch.restype = ctypes.c_char_p

    def launch(
        self,
        kernel: str,
        *arguments: np.ndarray | np.generic,
        block: int | tuple[int, ...] = 32,
        grid: int | tuple[int, ...] = 1,
        shared_bytes: int = 0,
        schedule: str = "fifo",
    ) -> None:
        """Runs a kernel; of arrays it gets the pointers, and may touch nothing else.

        Raises:
            Failed: it, or its launch, did what is not allowed.
        """
        arrays = [each for each in arguments if isinstance(each, np.ndarray)]
        given = [np.uint64(each.ctypes.data) if isinstance(each, np.ndarray) else each for each in arguments]
        buffers = [ctypes.create_string_buffer(each.tobytes(), each.nbytes) for each in given]
        values = (_Argument * len(given))(*((ctypes.addressof(buffer), len(buffer)) for buffer in buffers))
        ranges = (_Argument * len(arrays))(*((each.ctypes.data, each.nbytes) for each in arrays))
        shape = _Shape(_three(grid), _three(block), shared_bytes)
        counts = [ctypes.c_size_t(len(each)) for each in (given, arrays)]
        name, order = kernel.encode(), schedule.encode()
        text = self._launch(name, ctypes.byref(shape), counts[0], values, counts[1], ranges, order)
        if text:
            raise Failed(text.decode())

"""The compiled module, loaded in the one order that is right.

torch comes first: both use OpenMP, and the copy of libgomp that torch brings is then the only one
in the process, so that ``torch.set_num_threads`` and the kernels mean the same threads.
"""

from __future__ import annotations

from typing import Any

import torch  # noqa: F401  (before _C, see above)

try:
    # Not `from . import _C`, whose error is the same for a missing and for a broken module.
    import fimo_fast._C as _C
except ModuleNotFoundError as error:
    if error.name != "fimo_fast._C":
        raise
    raise ImportError(
        "fimo_fast is installed without its compiled module fimo_fast._C. Install it with "
        "`pip install .` (or `pip install -e .`) in the source folder, with a C++ compiler."
    ) from error

__all__ = ["_C", "build_info"]


def build_info() -> dict[str, Any]:
    """What the compiled module was built with and what it runs on.

    Returns:
        A JSON-able dictionary: ``version``; ``compiler``; ``openmp`` (bool); ``isa``, the
        instruction set in use, and ``isas``, those this machine could use (force one with the
        environment variable ``FIMO_FAST_ISA``); ``cuda`` (bool, CUDA files are compiled in; without
        them CUDA tensors run `fimo_fast.ops.reference`), ``cuda_runtime``, ``cuda_architectures``, and
        ``cuda_devices``, empty where there is no driver.
    """
    info: dict[str, Any] = _C.build_info()
    for device in info["cuda_devices"]:
        device["capability"] = list(device["capability"])
    return info

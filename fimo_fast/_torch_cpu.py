"""What runs ``torch.ops.fimo_fast.*`` on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ._native import _C
from ._torch_kernels import OPS, Kernels

kernels = Kernels(_C, "", lambda x: (torch.get_num_threads(),))
CPU: dict[str, Callable[..., Any]] = {op: getattr(kernels, op) for op in OPS}

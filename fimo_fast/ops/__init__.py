"""The primitives, for torch tensors and NumPy arrays.

Each is a torch op (``torch.ops.fimo_fast.*``): it works eagerly, under
``torch.compile(fullgraph=True)`` and with fake tensors. CPU tensors run the compiled kernels on
``torch.get_num_threads()`` threads, NumPy arrays the same without passing through torch. CUDA tensors
run CUDA kernels on the current stream, without waiting for it, so calls can be captured into CUDA
graphs; float64, and everything where the module was built without CUDA (``build_info()["cuda"]``),
runs `fimo_fast.ops.reference` there, slower and with more memory, with one warning for each op. What is
said of bits below holds for the CPU; docs/numerics.md has CUDA.

Shared rules. Inputs are float32, float64, bfloat16 or float16, all of one type; sums and results
are float64 for float64 and float32 otherwise. `scores` and `topk` also take int8. Rows may have any
stride; inputs whose last dimension is strided are copied first. Ops are deterministic, for every
number of threads. None has a derivative: an input that requires a gradient while gradients are being
recorded, or that has a forward-mode tangent, is refused rather than cut out of the graph silently.
NumPy's bfloat16 is that of ``ml_dtypes``.

May import: sketch, utils.
"""

from __future__ import annotations

from .outer import outer_dot, outer_norm2, outer_project
from .projection import project
from .rows import rows_project
from .scoring import quantize, scores, topk

__all__ = ["outer_dot", "outer_norm2", "outer_project", "project", "quantize", "rows_project", "scores", "topk"]

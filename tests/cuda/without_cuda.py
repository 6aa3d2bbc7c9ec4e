"""What a fimo_fast that was built without CUDA does with CUDA tensors: a program, which prints ok."""

import warnings

import torch

import fimo_fast as ff
from fimo_fast.ops import torch_cuda

info = ff.build_info()
assert info["cuda"] is False and info["cuda_devices"] == [] and info["cuda_runtime"] == "", info
assert torch_cuda.kernels is None

grads, sketch = torch.randn(3, 300), ff.SRHT(300, 24, 4)
factors = torch.randn(3, 4, 10), torch.randn(3, 4, 8)
calls = {  # what torch's dispatcher does for tensors on CUDA
    "project": (ff.project(grads, sketch), (grads, *sketch.native, 0)),
    "outer_norm2": (ff.outer_norm2(*factors), factors),
}
cuda = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for op, (expected, args) in [*calls.items(), *calls.items()]:
        found = getattr(torch.ops.fimo_fast, op).default.redispatch(cuda, *args)
        torch.testing.assert_close(found, expected)
reason = "built without CUDA, running the plain torch reference (slower, and with more memory)"
ours = [str(one.message) for one in said if str(one.message).startswith("fimo_fast.")]
assert ours == [f"fimo_fast.{op}: {reason}" for op in calls], ours
print("ok")

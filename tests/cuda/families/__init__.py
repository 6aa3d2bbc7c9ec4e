"""The cases of each family of kernels: a module `<family>.py` has a function ``cases()``, and is found by itself.

Here is what the families share: the types of elements, and their names in the template arguments of kernels.
"""

import torch

F32, BF16, F16, INT8 = torch.float32, torch.bfloat16, torch.float16, torch.int8
DTYPES = {"float32": F32, "bfloat16": BF16, "float16": F16}
ELEMENTS = {F32: "float", BF16: "__nv_bfloat16", F16: "__half"}
TRAITS = {F32: "Float32", BF16: "BFloat16", F16: "Float16", INT8: "Int8"}

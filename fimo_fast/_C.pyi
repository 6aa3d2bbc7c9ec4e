from collections.abc import Callable, Sequence
from typing import Any

# Arrays are torch tensors, NumPy arrays or other DLPack arrays in CPU memory, with unit stride in the last dimension.
_Array = Any

def project(
    grads: _Array,
    kind: str,
    input_dim: int,
    sketch_dim: int,
    seed: int,
    nonzeros: int,
    offset: int,
    out: _Array,
    num_threads: int,
) -> None: ...
def outer_project(
    a: _Array,
    delta: _Array,
    kinds: str,
    numbers: Sequence[int],
    offset: int | None,
    out: _Array,
    num_threads: int,
) -> None: ...
def rows_project(
    index: _Array,
    delta: _Array,
    kind: str,
    input_dim: int,
    sketch_dim: int,
    seed: int,
    nonzeros: int,
    offset: int,
    out: _Array,
    num_threads: int,
) -> None: ...
def outer_dot(a: _Array, delta: _Array, a2: _Array, delta2: _Array, out: _Array, num_threads: int) -> None: ...
def outer_dot_forms_gradients(batch: int, tokens: int, batch2: int, tokens2: int, n: int, m: int) -> bool: ...
def outer_norm2(a: _Array, delta: _Array, out: _Array, num_threads: int) -> None: ...
def scores(
    queries: _Array,
    features: _Array,
    query_scales: _Array | None,
    feature_scales: _Array | None,
    out: _Array,
    num_threads: int,
) -> None: ...
def topk(
    queries: _Array,
    features: _Array,
    k: int,
    query_scales: _Array | None,
    feature_scales: _Array | None,
    values: _Array,
    indices: _Array,
    num_threads: int,
) -> None: ...

# The same for CUDA memory, in builds with CUDA: allocate(bytes) makes the workspace, uint8 on the arguments' device.
_Allocate = Callable[[int], _Array]
cuda_max_topk: int

def cuda_project(
    grads: _Array,
    kind: str,
    input_dim: int,
    sketch_dim: int,
    seed: int,
    nonzeros: int,
    offset: int,
    out: _Array,
    allocate: _Allocate,
    stream: int,
) -> None: ...
def cuda_outer_project(
    a: _Array,
    delta: _Array,
    kinds: str,
    numbers: Sequence[int],
    offset: int | None,
    out: _Array,
    allocate: _Allocate,
    stream: int,
) -> None: ...
def cuda_rows_project(
    index: _Array,
    delta: _Array,
    kind: str,
    input_dim: int,
    sketch_dim: int,
    seed: int,
    nonzeros: int,
    offset: int,
    out: _Array,
    allocate: _Allocate,
    stream: int,
) -> None: ...
def cuda_outer_dot(
    a: _Array, delta: _Array, a2: _Array, delta2: _Array, out: _Array, allocate: _Allocate, stream: int
) -> None: ...
def cuda_outer_norm2(a: _Array, delta: _Array, out: _Array, allocate: _Allocate, stream: int) -> None: ...
def cuda_scores(
    queries: _Array,
    features: _Array,
    query_scales: _Array | None,
    feature_scales: _Array | None,
    out: _Array,
    allocate: _Allocate,
    stream: int,
) -> None: ...
def cuda_topk(
    queries: _Array,
    features: _Array,
    k: int,
    query_scales: _Array | None,
    feature_scales: _Array | None,
    values: _Array,
    indices: _Array,
    allocate: _Allocate,
    stream: int,
) -> None: ...
def cuda_calls() -> dict[str, int]: ...
def philox(counter: Sequence[int], key: int) -> list[int]: ...
def build_info() -> dict[str, Any]: ...
def set_isa(isa: str) -> None: ...
def calls() -> dict[str, int]: ...
def reset_calls() -> None: ...

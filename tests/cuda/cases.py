"""Cases for tests/cuda/runner/runner.cpp: an op's arguments and what reference.py makes of them, as a file.

One file serves every way to run the kernels: the emulator in several schedules, its sanitizer builds,
translated PTX, and a GPU.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fimo_fast.ops import reference
from fimo_fast.ops.sketch_args import to_args

POISON = float("nan")  # what storage outside a tensor holds: reading it shows
_DTYPES = {
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
    torch.int8: "int8",
    torch.int64: "int64",
}


def dtype_name(dtype: torch.dtype) -> str:
    """As `case.h` reads it."""
    return _DTYPES[dtype]


@dataclass
class Case:
    """One call.

    Attributes:
        name: "family/what is special", unique.
        kernels: prefixes of kernels ("srht_kernel<") that must have run: fast paths are taken, or it fails.
        not_kernels: prefixes of those that must not.
        heavy: takes too long under ThreadSanitizer, and other cases have the same paths.
        piece: bytes of workspace for a piece of what is cut into pieces; so many that small cases have one by default.
        multiprocessors: for which products are planned: few, so that small cases have large tiles.
        workspace: of how many bytes it may be at most.
    """

    name: str
    op: str
    tensors: dict[str, Tensor]
    expected: dict[str, tuple[Tensor, float]]  # contiguous float64 (or int64), absolute tolerance
    kinds: str = ""
    numbers: dict[str, list[int]] = field(default_factory=dict)
    kernels: tuple[str, ...] = ()
    not_kernels: tuple[str, ...] = ()
    heavy: bool = False
    piece: int | None = None
    multiprocessors: int | None = None
    workspace: int | None = None


def padded(x: Tensor, row_padding: int = 0, lead: int = 0) -> Tensor:
    """A copy of ``x`` whose rows lie ``row_padding`` elements apart, ``lead`` elements into its storage."""
    *outer, cols = x.shape
    stride = cols + row_padding
    rows = x[..., 0].numel() if cols else 0
    size = lead + (rows - 1) * stride + cols if rows else lead
    fill = POISON if x.is_floating_point() else -1
    storage = torch.full((size,), fill).to(x.dtype)
    strides = [stride] * (x.ndim - 1) + [1]
    for d in range(x.ndim - 3, -1, -1):
        strides[d] = strides[d + 1] * x.shape[d + 1]
    view = storage.as_strided(x.shape, strides, lead)
    view.copy_(x)
    return view


def normal(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Normal numbers of ``dtype``."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def _tolerance(exact: Tensor, scale: Tensor | float, relative: float) -> float:
    return float(relative * max(float(torch.as_tensor(scale).max()), 1e-30)) if exact.numel() else 1.0


def project(name: str, grads: Tensor, sketch: Any, offset: int = 0, *, out: Tensor | None = None,
            relative: float = 2e-6, **more: Any) -> Case:  # fmt: skip
    """The sketch of ``grads``, added to ``out`` (zeros by default). Tolerance is relative to the norms of rows, of what
    is finite."""
    if out is None:
        out = torch.zeros(len(grads), sketch.sketch_dim)
    exact = reference.project(grads.double(), sketch, offset, out.double().clone())
    finite = grads.double().nan_to_num(0.0, 0.0, 0.0)
    scale = finite.norm(dim=1).max() + out.abs().max() if grads.numel() else 1.0
    kinds, numbers = to_args(sketch)
    return Case(name, "project", {"grads": grads, "out": out},
                {"out": (exact, _tolerance(exact, scale, relative))}, kinds,
                {"sketch": numbers, "offset": [offset]}, **more)  # fmt: skip


def nothing(family: str, kind: Any) -> list[Case]:
    """No rows, and rows without numbers: ``out`` stays as it is, and no kernel runs."""
    sketch, shapes = kind(50, 7, 1), ((0, 5), (2, 0))
    name = f"{family}/{kind.__name__.lower()}"
    return [project(f"{name}-empty-{rows}x{cols}", torch.zeros(rows, cols), sketch, 3, out=normal(rows, 7),
                    not_kernels=("",)) for rows, cols in shapes]  # fmt: skip


def outer_project(name: str, a: Tensor, delta: Tensor, sketch: Any, offset: int | None = None, *,
                  out: Tensor | None = None, relative: float = 4e-6, **more: Any) -> Case:  # fmt: skip
    """a [B, T, n], delta [B, T, m]. Tolerance is relative to sum_t |a_t| |delta_t|."""
    if out is None:
        out = torch.zeros(len(a), sketch.sketch_dim)
    exact = out.double() + reference.outer_project(a.double(), delta.double(), sketch, offset or 0)
    scale = (a.double().norm(dim=2) * delta.double().norm(dim=2)).sum(1).max() + out.abs().max() if a.numel() else 1.0
    kinds, numbers = to_args(sketch)
    given = {"sketch": numbers} | ({} if offset is None else {"offset": [offset]})
    return Case(name, "outer_project", {"a": a, "delta": delta, "out": out},
                {"out": (exact, _tolerance(exact, scale, relative))}, kinds, given, **more)  # fmt: skip


def form_gradients(name: str, a: Tensor, delta: Tensor, begin: int = 0, end: int | None = None, *,
                   out: Tensor | None = None, relative: float = 1e-6, **more: Any) -> Case:  # fmt: skip
    """Entries [begin, end) of the gradients; ``out`` only lends its layout. No op, but the kernels behind several."""
    exact = torch.einsum("btm,btn->bmn", delta.double(), a.double()).flatten(1)[:, begin:end].contiguous()
    scale = (a.double().norm(dim=1).max() * delta.double().norm(dim=1).max()) if a.numel() else 1.0
    out = torch.full(exact.shape, POISON) if out is None else out
    return Case(name, "form_gradients", {"a": a, "delta": delta, "out": out},
                {"out": (exact, _tolerance(exact, scale, relative))}, "", {"begin": [begin]}, **more)  # fmt: skip


def rows_project(name: str, index: Tensor, delta: Tensor, sketch: Any, offset: int = 0, *, out: Tensor | None = None,
                 relative: float = 2e-6, exact: Tensor | None = None, **more: Any) -> Case:  # fmt: skip
    """index int64 [B, T], delta [B, T, d]. ``exact``: the expected result where reference.py raises."""
    if out is None:
        out = torch.zeros(len(delta), sketch.sketch_dim)
    if exact is None:
        exact = reference.rows_project(index, delta.double(), sketch, offset, out.double().clone())
    scale = delta.double().norm(dim=2).nan_to_num(0, 0).sum(1).max() + out.abs().max() if delta.numel() else 1.0
    kinds, numbers = to_args(sketch)
    given = {"sketch": numbers, "offset": [offset]}
    return Case(name, "rows_project", {"index": index, "delta": delta, "out": out},
                {"out": (exact, _tolerance(exact, scale, relative))}, kinds, given, **more)  # fmt: skip


def _sizes(a: Tensor, delta: Tensor) -> Tensor:
    return (a.double().norm(dim=2) * delta.double().norm(dim=2)).sum(1)


def outer_dot(name: str, a: Tensor, delta: Tensor, a2: Tensor, delta2: Tensor, *, relative: float = 4e-6,
              out: Tensor | None = None, **more: Any) -> Case:  # fmt: skip
    """a [B, T, n], delta [B, T, m], a2 [B2, T2, n], delta2 [B2, T2, m]; ``out`` only lends its layout."""
    exact = reference.outer_dot(a.double(), delta.double(), a2.double(), delta2.double())
    scale = _sizes(a, delta).max() * _sizes(a2, delta2).max() if exact.numel() else 1.0
    out = torch.full(exact.shape, POISON) if out is None else out
    return Case(name, "outer_dot", {"a": a, "delta": delta, "a2": a2, "delta2": delta2, "out": out},
                {"out": (exact, _tolerance(exact, scale, relative))}, **more)  # fmt: skip


def outer_norm2(name: str, a: Tensor, delta: Tensor, *, relative: float = 4e-6, **more: Any) -> Case:
    """a [B, T, n], delta [B, T, m]."""
    exact = reference.outer_norm2(a.double(), delta.double())
    scale = _sizes(a, delta).square().max() if exact.numel() else 1.0
    return Case(name, "outer_norm2", {"a": a, "delta": delta, "out": torch.full(exact.shape, POISON)},
                {"out": (exact, _tolerance(exact, scale, relative))}, **more)  # fmt: skip


def _score_tensors(queries: Tensor, features: Tensor, scales: tuple[Tensor, Tensor] | None) -> dict[str, Tensor]:
    tensors = {"queries": queries, "features": features}
    return tensors if scales is None else tensors | {"query_scales": scales[0], "feature_scales": scales[1]}


def _exact_scores(queries: Tensor, features: Tensor, scales: tuple[Tensor, Tensor] | None) -> tuple[Tensor, float]:
    exact = queries.double() @ features.double().T
    scale = queries.double().norm(dim=1).max() * features.double().norm(dim=1).max() if exact.numel() else 1.0
    if scales is not None:
        exact = exact * (scales[0].double()[:, None] * scales[1].double())
        scale = scale * float(scales[0].max()) * float(scales[1].max())
    return exact, float(scale)


def scores(name: str, queries: Tensor, features: Tensor, scales: tuple[Tensor, Tensor] | None = None, *,
           relative: float = 2e-6, out: Tensor | None = None, **more: Any) -> Case:  # fmt: skip
    """queries [M, d], features [N, d]; scales [M], [N] for int8. ``out`` only lends its layout."""
    exact, scale = _exact_scores(queries, features, scales)
    out = torch.full(exact.shape, POISON) if out is None else out
    return Case(name, "scores", _score_tensors(queries, features, scales) | {"out": out},
                {"out": (exact, _tolerance(exact, scale, relative))}, **more)  # fmt: skip


def topk(name: str, queries: Tensor, features: Tensor, k: int, scales: tuple[Tensor, Tensor] | None = None, *,
         relative: float = 2e-6, **more: Any) -> Case:  # fmt: skip
    """The indices must be right: give queries and features whose scores differ by more than rounding, or are equal."""
    exact, scale = _exact_scores(queries, features, scales)
    if scales is not None:
        exact = exact.float().double()  # int8 scores are rounded once: some become equal
    values, indices = exact.sort(dim=1, descending=True, stable=True)
    values, indices = values[:, :k].contiguous(), indices[:, :k].contiguous()
    shape = (len(queries), k)
    tensors = _score_tensors(queries, features, scales)
    return Case(name, "topk", tensors | {"values": torch.full(shape, POISON), "indices": torch.full(shape, -1)},
                {"values": (values, _tolerance(exact, scale, relative)), "indices": (indices, 0.0)}, "", {"k": [k]},
                **more)  # fmt: skip


# --- Files --------------------------------------------------------------------------------------------


def _storage(x: Tensor) -> Tensor:
    """The elements from the start of the storage to the last one of ``x``."""
    last = x.storage_offset() + sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True)) if x.numel() else -1
    return x.as_strided((last + 1,), (1,), 0)


def head(name: str, op: str, kinds: str, numbers: dict[str, list[int]]) -> bytes:
    """The first lines of a case: all but its tensors."""
    lines = [f"case {name} {op}", *([f"kinds {kinds}"] if kinds else [])]
    lines += [f"numbers {key} {' '.join(map(str, some))}" for key, some in numbers.items()]
    return "".join(f"{line}\n" for line in lines).encode()


def dump(case: Case) -> bytes:
    """What `case.h` reads."""
    limits = {"piece": case.piece, "multiprocessors": case.multiprocessors, "workspace": case.workspace}
    given = {key: [number] for key, number in limits.items() if number is not None}
    parts = [head(case.name, case.op, case.kinds, case.numbers | given)]
    for key, x in case.tensors.items():
        storage = _storage(x)
        words = [key, dtype_name(x.dtype), x.ndim, *x.shape, *x.stride(), storage.numel(), x.storage_offset()]
        parts.append(f"tensor {' '.join(map(str, words))}\n".encode())
        parts.append(storage.view(torch.uint8).numpy().tobytes() + b"\n")
    for key, (exact, tolerance) in case.expected.items():
        parts.append(f"expect {key} {tolerance!r}\n".encode())
        parts.append(exact.double().contiguous().numpy().tobytes() + b"\n")
    return b"".join([*parts, b"end\n"])


def write(cases: Iterable[Case], path: Path) -> None:
    """A file of cases."""
    with open(path, "wb") as file:
        file.writelines(map(dump, cases))


def problems(cases: Iterable[Case], results: dict[str, dict[str, Any]], kernels: bool = True) -> list[str]:
    """What is wrong: results, cases that did not run, and (where the runner knows) paths not taken."""
    found = []
    for case in cases:
        result = results.get(case.name)
        if result is None:
            found.append(f"{case.name}: did not run")
            continue
        if result["problem"]:
            found.append(f"{case.name}: {result['problem']}")
        if not kernels:
            continue
        for prefix in case.kernels:
            if not any(kernel.startswith(prefix) for kernel in result["kernels"]):
                found.append(f"{case.name}: expected a kernel {prefix}..., ran {result['kernels']}")
        for prefix in case.not_kernels:
            if any(kernel.startswith(prefix) for kernel in result["kernels"]):
                found.append(f"{case.name}: expected no kernel {prefix}..., ran {result['kernels']}")
    return found

"""Sketches of vectors by Rademacher and Gaussian (csrc/cuda/dense/dense_signs.cuh, dense_normal.cuh)."""

from __future__ import annotations

from typing import Any

import torch
from cases import Case, normal, nothing, padded, project
from torch import Tensor

from fimo_fast.sketch import Gaussian, Rademacher

from . import BF16, ELEMENTS, F16, F32

_NAMES = {F32: "f32", BF16: "bf16", F16: "f16"}
_PARTS = "add_parts_"


def _case(what: str, kind: Any, grads: Tensor, k: int, *kernels: str, offset: int = 0, seed: int = 1,
          out: Tensor | None = None, **more: Any) -> Case:  # fmt: skip
    """Results are about |x| / sqrt(k). Cutting x off after 16 bits would make them wrong by 1e-5 of it; sums of tensor
    cores, which round towards zero, by 24 units of 2^-24."""
    out = normal(len(grads), k, seed=seed + 77) if out is None else out
    name = f"dense/{kind.__name__.lower()}-{what}-{_NAMES[grads.dtype]}"
    sketch = kind(offset + grads.shape[1] + 3, k, seed)
    return project(name, grads, sketch, offset, out=out, relative=4e-6 * k**-0.5, kernels=kernels, **more)


def _signs(dtype: torch.dtype, tiles: int) -> str:
    return f"signs_kernel<{ELEMENTS[dtype]}, {tiles}>"


def _rademacher() -> list[Case]:
    """Stages of 256 coordinates, tiles of 512 columns and 8 or 32 rows, parts from 5 stages on."""
    found = []
    for dtype in (F32, BF16, F16):
        few, many = _signs(dtype, 1), _signs(dtype, 4)
        some = lambda rows, cols, dtype=dtype: normal(rows, cols, dtype=dtype, seed=rows + cols)  # noqa: E731
        case = lambda what, grads, k, *kernels, **more: _case(what, Rademacher, grads, k, *kernels, **more)  # noqa: E731
        found += [
            # Both ends of rows, aligned to 16 bytes or not; two stages; two tiles of columns.
            case("few", some(5, 512), 513, few, not_kernels=(many, _PARTS)),
            case("many", some(19, 320), 140, many, not_kernels=(few, _PARTS)),
            case("few-lead", padded(some(5, 300), 0, 1), 130, few),
            case("many-padded", padded(some(20, 290), 3, 0), 30, many, out=padded(normal(20, 30), 5, 3)),
            # Parts, of which the last is shorter, of two tiles of rows and two of columns each.
            case("few-parts", padded(some(16, 9 * 256 + 91), 5, 8), 520, few, _PARTS, not_kernels=(many,)),
            case("many-parts", some(40, 4 * 256 + 8), 30, few, many, _PARTS, out=padded(normal(40, 30), 5, 3)),
            case("infinite", _with_infinities(some(3, 300)), 150, few),
            case("infinite-many", _with_infinities(some(17, 300)), 150, many),
        ]
        found += [case(f"end-{n}", some(3, 256 + n), 20, few, offset=n) for n in range(1, 9)]
    case = lambda what, rows, cols, k, *kernels, **more: _case(  # noqa: E731
        what, Rademacher, normal(rows, cols, dtype=BF16, seed=rows), k, *kernels, **more)  # fmt: skip
    few, many = _signs(BF16, 1), _signs(BF16, 4)
    for kernels, others, counts in (((few,), (many,), (1, 7, 8, 9, 16)), ((many,), (few,), (17, 32, 49, 64)),
                                    ((few, many), (), (33, 48, 65))):  # fmt: skip
        found += [case(f"rows-{rows}", rows, 40, 24, *kernels, not_kernels=others) for rows in counts]
    found += [case(f"k-{k}", 2, 40, k, few) for k in (1, 31, 32, 33, 63, 127, 128, 129, 255, 257, 385, 511, 512, 1025)]
    found += [case(f"stages-{n}", 2, n, 9, few, not_kernels=(_PARTS,)) for n in (1, 255, 256, 257, 512, 769, 1024)]
    found.append(_case("largest", Rademacher, torch.tensor([[1.0, torch.finfo(F32).max, 2.0]]), 1, _signs(F32, 1)))
    for what, offset in (("2^32", 2**32 - 70), ("2^47", 2**47 + 1), ("unaligned", 131)):
        found.append(case(f"offset-{what}", 2, 400, 140, few, offset=offset, seed=2**63 + 5))
    return found


def _normals(dtype: torch.dtype, rows: int) -> tuple[str, ...]:
    """The kernels of so many rows: tiles of 256 rows, and a smaller one for up to 128 that are left."""
    full, rest = divmod(rows, 256)
    shapes = [8] * (full > 0) + [next((s for s in (1, 2, 4) if rest <= 32 * s), 8)] * (rest > 0)
    return tuple(f"normal_kernel<{ELEMENTS[dtype]}, {s}>" for s in dict.fromkeys(shapes))


def _gaussian() -> list[Case]:
    """Stages of 16 to 64 coordinates; tiles of 32, 64, 128, 256 rows and 512, 256, 128, 64 columns."""
    found = []
    for dtype in (F32, BF16, F16):
        some = lambda rows, cols, dtype=dtype: normal(rows, cols, dtype=dtype, seed=rows + cols)  # noqa: E731
        case = lambda what, grads, k, *kernels, **more: _case(  # noqa: E731
            what, Gaussian, grads, k, *_normals(grads.dtype, len(grads)), *kernels, **more)  # fmt: skip
        found += [
            case("stages", some(5, 64), 130, not_kernels=(_PARTS,)),
            case("lead", padded(some(5, 47), 0, 1), 130),
            case("padded", padded(some(35, 90), 3, 0), 30, out=padded(normal(35, 30), 5, 3)),
            case("parts", padded(some(33, 9 * 32 + 19), 5, 8), 260, _PARTS),
            case("rows-70", some(70, 68), 129),
            case("rows-70-lead", padded(some(70, 47), 3, 1), 30),
            case("rows-70-parts", some(70, 32 * 9 + 5), 70, _PARTS, heavy=dtype != F32),
            case("rows-129", some(129, 68), 65),
            case("rows-40-stages", some(40, 129), 33),
            case("rows-130-stages", some(130, 97), 33, heavy=dtype != F32),
            case("infinite", _with_infinities(some(3, 60)), 150),
        ]
        found += [case(f"end-{n}", some(3, 16 + n), 20, offset=n) for n in range(1, 5)]
        found += [case(f"stages-{n}", some(2, n), 9) for n in (15, 17, 31, 33, 63, 65, 97, 129)]
    case = lambda what, rows, cols, k, **more: _case(  # noqa: E731
        what, Gaussian, normal(rows, cols, dtype=F16, seed=rows), k, *_normals(F16, rows), **more)  # fmt: skip
    rows = (1, 8, 9, 31, 32, 33, 64, 65, 97, 128, 130, 255, 256, 257, 321)
    found += [case(f"rows-{r}", r, 20, 24) for r in rows]
    for r, columns in ((2, (1, 16, 31, 32, 33, 64, 65, 127, 129, 511, 513, 700)), (40, (97, 255, 257, 520)),
                       (70, (65, 127, 129, 200)), (130, (33, 63, 64, 65, 129, 250))):  # fmt: skip
        found += [case(f"k-{k}-rows-{r}", r, 20, k) for k in columns]
    for r, cols in ((2, (1, 15, 16, 17, 32, 33, 65)), (40, (31, 32, 33, 65, 128)), (70, (33, 97)), (130, (33, 100))):
        found += [case(f"stages-{n}-rows-{r}", r, n, 9) for n in cols]
    found += [
        case("parts-rows-2", 2, 16 * 10 - 3, 520),
        case("parts-rows-70", 70, 32 * 9 + 5, 130),
        case("parts-rows-130", 130, 32 * 6 - 7, 70),
        # So many tiles that their parts are long.
        case("long", 129, 165, 64 * 67, not_kernels=(_PARTS,), heavy=True),
    ]
    for what, offset in (("2^32", 2**32 - 70), ("2^47", 2**47 + 1), ("unaligned", 131)):
        found.append(case(f"offset-{what}", 2, 100, 140, offset=offset, seed=2**63 + 5))
    return found


def _with_infinities(x: Tensor) -> Tensor:
    x[0, 7], x[1, 10], x[2, 9] = float("inf"), -float("inf"), float("nan")
    return x


def cases() -> list[Case]:
    return _rademacher() + _gaussian() + nothing("dense", Rademacher) + nothing("dense", Gaussian)

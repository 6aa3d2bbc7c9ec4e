"""Cases of scores and of the tile product behind it (csrc/cuda/device/tile_product.cuh, score/scores.cu)."""

from __future__ import annotations

import cases as build
import torch
from cases import Case, normal, padded
from torch import Tensor

from . import BF16, F16, F32, INT8, TRAITS

_SLICE = {F32: 16, BF16: 32, F16: 32, INT8: 64}  # elements of a row that a stage holds


def _kernel(dtype: torch.dtype, tile: str) -> str:
    wide = {F32: "2, 2, 4, 4, 4, 3", INT8: "4, 2, 4, 10, 4, 1"}.get(dtype, "2, 4, 4, 8, 4, 1")
    shape = {"flat": "1, 8, 1, 4, 4, 2", "small": "2, 2, 2, 4, 4, 4", "wide": wide}[tile]
    return f"product_kernel<fimo::cuda::TileProduct<fimo::cuda::{TRAITS[dtype]}, {shape}>"


def _rows(n: int, d: int, dtype: torch.dtype, seed: int) -> Tensor:
    if dtype != INT8:
        return normal(n, d, dtype=dtype, seed=seed)
    return torch.randint(-128, 128, (n, d), dtype=INT8, generator=torch.Generator().manual_seed(seed))


def _case(name: str, m: int, n: int, d: int, dtype: torch.dtype, *, tile: str = "small", cut: bool = False,
          multiprocessors: int | None = None,
          layout: tuple[int, int, int, int] = (0, 0, 0, 0), out: Tensor | None = None) -> Case:  # fmt: skip
    """layout: padding and lead of the queries' rows, padding and lead of the features'."""
    queries = padded(_rows(m, d, dtype, 1 + d), layout[0], layout[1])
    features = padded(_rows(n, d, dtype, 2 + d), layout[2], layout[3])
    scales = (0.5 + normal(m, seed=3).abs(), 0.5 + normal(n, seed=4).abs()) if dtype == INT8 else None
    finish = "finish_product_kernel<" + ("int" if dtype == INT8 else "float")
    return build.scores(f"scores/{name}-{TRAITS[dtype]}", queries, features, scales, out=out,
                        kernels=(_kernel(dtype, tile), finish) if cut else (_kernel(dtype, tile),),
                        not_kernels=() if cut else ("finish_product_kernel",),
                        multiprocessors=multiprocessors, relative=2e-7 if dtype == INT8 else 6e-7)  # fmt: skip


def cases() -> list[Case]:
    found = []
    for dtype in (F32, BF16, F16, INT8):
        step = _SLICE[dtype]
        # Depths from less than a slice, through fewer slices than stages, to several rounds of them.
        found += [
            _case(f"depth-{d}", 5, 41, d, dtype, tile="flat") for d in (1, step - 1, step, 3 * step + 1, 10 * step)
        ]
        found += [_case(f"small-depth-{d}", 20, 37, d, dtype) for d in (1, 3 * step, 11 * step - 1)]
        # Edges of tiles in rows and columns. (The rows: of a warp's tiles and of the block's.)
        found += [_case(f"flat-{m}x{n}", m, n, 5 * step, dtype, tile="flat") for m, n in ((1, 1), (15, 255), (16, 515))]
        found += [
            _case(f"turned-{m}x{n}", m, n, 5 * step, dtype, tile="flat") for m, n in ((17, 1), (257, 16), (40, 15))
        ]
        found += [
            _case(f"flat-{m}x2", m, 2, 5 * step, dtype, tile="flat") for m in (2, 18)
        ]  # nothing far behind the columns
        sizes = ((17, 17), (64, 64), (65, 63), (127, 33), (128, 131), (31, 129), (259, 40))
        found += [_case(f"small-{m}x{n}", m, n, 2 * step + 3, dtype) for m, n in sizes[:: 1 if dtype == BF16 else 3]]
        # Large tiles, as if there was one multiprocessor: sizes around them for which they are faster than small ones.
        wide = {
            F32: ((383, 63), (384, 64), (128, 192), (129, 191), (513, 65)),
            INT8: ((255, 159), (256, 160), (257, 160), (256, 161)),
        }.get(dtype, ((127, 255), (128, 256), (129, 256), (128, 257), (70, 500)))
        for m, n in wide:
            found.append(_case(f"wide-{m}x{n}", m, n, 2 * step + 3, dtype, tile="wide", multiprocessors=1))
        found.append(_case("wide-depth", 250, 129, 9 * step, dtype, tile="wide", multiprocessors=1,
                           out=padded(torch.full((250, 129), build.POISON), 5, 3)))  # fmt: skip
        # Addresses: multiples of 16 bytes with padding, of 4 bytes, of an element; either side; results apart.
        unit = 16 // dtype.itemsize
        out = padded(torch.full((9, 35), build.POISON), 5, 3)
        ways = {"16": unit, "4": unit // 4, "1": 1}
        for text, a in ways.items():
            for text2, b in ways.items():
                if dtype == F32 and "1" in (text, text2):
                    continue  # an element is 4 bytes
                d = 3 * step + unit
                layout = (a, a, b, 3 * b)
                found.append(_case(f"units-{text}-{text2}", 9, 35, d, dtype, tile="flat", layout=layout, out=out))
        found.append(_case("ends", 9, 35, 3 * step + 3, dtype, tile="flat", layout=(unit // 4, unit, unit - 3, 0)))
        found.append(_case("small-units", 19, 35, 2 * step + 3, dtype, layout=(1, 1, unit - 3, unit), out=None))
        # The depth in parts.
        found.append(_case("parts", 3, 35, 50 * step + 5, dtype, tile="flat", cut=True, layout=(0, 0, 3, 0)))
        found.append(_case("small-parts", 18, 20, 50 * step + 5, dtype, cut=True))
        slices, planned_for = (60, 10) if dtype == F32 else (20, 4)
        found.append(_case("wide-parts", 250, 129, slices * step + 5, dtype, tile="wide", cut=True,
                           multiprocessors=planned_for))  # fmt: skip
        ways = ((1, 1, 0, 0), (unit // 4, 0, 0, 0), (0, 0, unit // 4, 0))[0 if dtype == F32 else 1 :: 2]
        for layout in ways:
            found.append(_case(f"wide-units-{layout[0]}", 250, 129, 2 * step + 3, dtype, tile="wide", multiprocessors=1,
                               layout=layout))  # fmt: skip
        found.append(_case("turned-parts", 18, 3, 50 * step + 5, dtype, tile="flat", cut=True,
                           out=padded(torch.full((18, 3), build.POISON), 2, 1)))  # fmt: skip
    # More tiles of rows than go together, in several tiles of columns.
    found.append(_case("groups", 1170, 270, 16, BF16))
    # Sums beyond 2^31, which only exact integers get right.
    deep = torch.full((2, 132000), -128, dtype=INT8)
    deep[:, ::7] += 1
    ones = (torch.ones(2), torch.ones(2))
    found.append(build.scores("scores/deep", deep, deep.clone(), ones, relative=1e-7,
                              kernels=(_kernel(INT8, "flat"), "finish_product_kernel<int")))  # fmt: skip
    for m, n in ((0, 5), (5, 0)):
        found.append(build.scores(f"scores/nothing-{m}x{n}", normal(m, 7), normal(n, 7), not_kernels=("",)))
    # What is not a number stays where it is.
    queries, features = normal(18, 70), normal(20, 70, seed=1)
    queries[3, 69], features[17, 0] = float("nan"), float("nan")
    found.append(build.scores("scores/nan", queries, features))
    found[-1].expected["out"] = (found[-1].expected["out"][0], 1e-4)
    found.append(build.scores("scores/no-depth", torch.zeros(3, 0), torch.zeros(5, 0)))
    return found

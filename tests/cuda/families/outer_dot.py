"""Cases of outer_dot and outer_norm2 (csrc/cuda/outer/outer_dot.cuh, outer_norm2.cuh)."""

from __future__ import annotations

from typing import Any

import cases as build
import torch
from cases import Case, normal, padded
from torch import Tensor

from . import BF16, F16, F32, TRAITS


def _kernel(name: str, dtype: torch.dtype) -> str:
    return f"{name}<fimo::cuda::{TRAITS[dtype]}>"


def _squares(dtype: torch.dtype, lanes: int) -> str:
    return f"sum_squares_kernel<fimo::cuda::{TRAITS[dtype]}, {lanes}>"


def _tensor(shape: tuple[int, int, int], dtype: torch.dtype, seed: int, layout: tuple[int, int] = (0, 0)) -> Tensor:
    """layout: padding of tokens, lead. Examples lie a token apart from each other besides: they are no matrix."""
    batch, tokens, dim = shape
    return padded(normal(batch, tokens + 1, dim, dtype=dtype, seed=seed), *layout)[:, :tokens]


def _dot(name: str, left: tuple[int, int], right: tuple[int, int], n: int, m: int, dtype: torch.dtype, *kernels: str,
         layouts: tuple[tuple[int, int], ...] = ((0, 0),) * 4, **more: Any) -> Case:  # fmt: skip
    """left, right: examples and tokens."""
    a, delta = _tensor((*left, n), dtype, 1, layouts[0]), _tensor((*left, m), dtype, 2, layouts[1])
    a2, delta2 = _tensor((*right, n), dtype, 3, layouts[2]), _tensor((*right, m), dtype, 4, layouts[3])
    return build.outer_dot(
        f"outer_dot/{name}-{TRAITS[dtype]}", a, delta, a2, delta2, kernels=kernels, relative=1e-6, **more
    )


def _norm(name: str, batch: int, tokens: int, n: int, m: int, dtype: torch.dtype, *kernels: str,
          layouts: tuple[tuple[int, int], ...] = ((0, 0),) * 2, **more: Any) -> Case:  # fmt: skip
    a, delta = _tensor((batch, tokens, n), dtype, 5, layouts[0]), _tensor((batch, tokens, m), dtype, 6, layouts[1])
    return build.outer_norm2(
        f"outer_dot/norm2-{name}-{TRAITS[dtype]}", a, delta, kernels=kernels, relative=1e-6, **more
    )


def cases() -> list[Case]:
    found = []
    for dtype in (F32, BF16, F16):
        tile, grams, norm = _kernel("pair_dot_kernel", dtype), "gram_dot_kernel", _kernel("pair_norm_kernel", dtype)
        step = 16 if dtype == F32 else 32
        some = dtype == BF16  # what does not depend on the type
        finish = (tile, "pair_finish_kernel")
        # Tiles: one token, examples within a tile, cut by tiles, longer than tiles; on either side.
        sizes: list[tuple[tuple[int, int], tuple[int, int], tuple[str, ...]]] = [
            ((1, 1), (1, 1), (tile,)), ((130, 1), (5, 3), (tile,)), ((3, 50), (2, 129), finish),
            ((45, 3), (3, 64), (tile,)), ((2, 131), (129, 1), finish), ((3, 86), (3, 100), finish)]  # fmt: skip
        for left, right, kernels in sizes[:: 1 if some else 2]:
            # (The wider ones: so that forming gradients does not pay.)
            n, m = (133, 99) if dtype == F32 and kernels == finish else (3 * step + 5, step + 3)
            name = "tiles-{}x{}-{}x{}".format(*left, *right)
            found.append(_dot(name, left, right, n, m, dtype, *kernels, not_kernels=(grams,)))
        found.append(_dot("deep", (3, 7), (2, 5), 7 * step, 7 * step + 1, dtype, tile))
        out = padded(torch.full((5, 6), build.POISON), 3, 1)
        found.append(
            _dot("layouts", (5, 2), (6, 3), 21, 26, dtype, tile, layouts=((1, 1), (3, 0), (0, 3), (6, 2)), out=out)
        )
        # Whole Gram matrices.
        found.append(
            _dot(
                "grams",
                (9, 1),
                (11, 1),
                10 * step,
                9 * step + 1,
                dtype,
                grams,
                layouts=((4, 0), (1, 1), (0, 1), (0, 0)),
            )
        )
        found.append(_dot("grams-tokens", (3, 2), (2, 3), 10 * step, 9 * step, dtype, grams,
                          out=padded(torch.full((3, 2), build.POISON), 2, 1)))  # fmt: skip
        if some:
            found.append(_dot("grams-long", (2, 9), (3, 7), 10 * step, 9 * step, dtype, grams))
            found.append(_dot("grams-pairs", (20, 1), (33, 1), 10 * step, 9 * step, dtype, grams))
            # More tokens than one launch takes, on either side.
            found.append(_dot("groups", (8200, 1), (2, 3), 9, 8, dtype, tile))
            found.append(_dot("groups-cut", (3, 20), (250, 33), 9, 8, dtype, *finish))
        # Formed gradients.
        found.append(
            _dot("formed", (2, 200), (3, 300), 8, 9, dtype, _kernel("product_kernel", dtype)[:14], not_kernels=(tile,))
        )

        found.append(_norm("one", 3, 1, 40, 27, dtype, _squares(dtype, 32)))
        found.append(_norm("one-warp", 9, 1, 2048, 1500, dtype, _squares(dtype, 32)))  # the longest that a warp takes
        found.append(_norm("one-block", 2, 1, 2049, 4096, dtype, _squares(dtype, 256)))
        layouts = ((8, 8), (1, 1))
        found.append(_norm("one-parts", 2, 1, 8192 + 40, 3, dtype, _squares(dtype, 256), layouts=layouts))
        found.append(_norm("one-parts2", 2, 1, 3, 16385, dtype, _squares(dtype, 256), layouts=layouts))
        for b, t in ((1, 2), (43, 3), (5, 60), (3, 64), (6, 40)):
            found.append(_norm(f"together-{b}x{t}", b, t, 96, 81, dtype, norm))
        wide = (150, 140) if dtype == F32 else (120, 110)
        for t in (65, 128, 129, 257) if some else (129,) if dtype == F32 else (257,):
            found.append(_norm(f"tiles-{t}", 2, t, *wide, dtype, norm, layouts=layouts))
        found.append(_norm("formed", 2, 400, 9, 8, dtype, _squares(F32, 32)))
    found.append(_norm("formed-parts", 2, 700, 130, 90, BF16, _squares(F32, 256)))
    # Some entries at a time, some examples at a time.
    found.append(_dot("formed-pieces", (2, 200), (3, 300), 8, 9, BF16, "product_kernel", piece=1))
    found.append(_dot("formed-pieces2", (3, 220), (2, 300), 13, 18, F32, "product_kernel", piece=2 * 5 * 128))
    found.append(_norm("formed-piece", 2, 500, 96, 90, BF16, _squares(F32, 256), piece=1))
    found.append(_norm("formed-examples", 3, 300, 9, 8, F16, _squares(F32, 32), piece=4 * 8192))
    found.append(_norm("batch", 300, 1, 3, 2, F32, _squares(F32, 32)))
    # The norm is 1, but with each product rounded once it comes out as -256: rounding must not make it negative.
    a, delta = torch.tensor([[[185.0], [-188.0]]]), torch.tensor([[[251.0], [247.0]]])
    negative = build.outer_norm2("outer_dot/norm2-negative", a.bfloat16(), delta.bfloat16())
    negative.expected["out"] = (negative.expected["out"][0], 100.0)
    found.append(negative)
    # A gradient of zeros from factors that are not; and NaN stays.
    a = normal(3, 2, 70)
    a[0, 1] = -a[0, 0]
    delta = normal(3, 1, 40, seed=1).expand(3, 2, 40).contiguous()
    delta[2, 0, 39] = float("nan")
    zero = build.outer_norm2("outer_dot/norm2-zero", a, delta)
    zero.expected["out"] = (zero.expected["out"][0], 1e-2)
    found.append(zero)
    empty = torch.zeros(2, 0, 3)
    found.append(build.outer_dot("outer_dot/empty", empty, empty, empty[:1], empty[:1]))
    found.append(build.outer_norm2("outer_dot/norm2-empty", empty, empty))
    return found

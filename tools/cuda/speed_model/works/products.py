"""The matrix product of scores, outer_dot and topk."""

# ruff: noqa: D103  (functions are named after their kernels)

from __future__ import annotations

import re

from launches import Launch

from fimo_fast.bench import Case

from ..execution import Work
from .common import RAGGED, SLICE, Before, size_of, up, where, work_of


def tile_of(name: str) -> tuple[int, int]:
    """Rows and columns of a block of TileProduct<type, warp rows, warp columns, row tiles, column tiles, stages>."""
    a, b, c, d = map(int, re.findall(r", (\d+)", name)[:4])
    return 16 * a * c, 8 * b * d


@work_of("product_kernel")
def product(launch: Launch, case: Case, before: Before) -> Work:
    s = case.sizes
    size = {"Float32": 4, "Int8": 1}.get(re.findall(r"<(\w+),", launch.kernel)[0], 2)
    height, width = tile_of(launch.kernel)
    formed = False
    if case.operation == "scores":
        m, n, depth = s["queries"], s["features"], s["dim"]
    elif s["tokens"] * s["batch"] > 512 * 4:
        m, n, depth = s["batch"], s["batch"], min(s["n"] * s["m"], 16777216 // s["batch"])
        formed = True
    else:
        m = n = s["batch"] * s["tokens"]
        depth = (s["n"] + s["m"]) // 2
    slices = up(depth * size, SLICE)
    tiles = up(m, height) * up(n, width)
    parts = max(1.0, launch.blocks / tiles)
    each = slices / parts
    loaded = launch.blocks * each * (min(m, height) + min(n, width)) * SLICE
    once, out = (m + n) * depth * size, (parts if parts > 1 else 1) * m * n * 4
    from_memory = 0.0 if formed and once + out < 30e6 else once + out
    # The few rows of a flat tile are copied by its first warps.
    return Work([(r"^(HMMA|IMMA)", 1, [each]), (r"^DMUL", 2, [0.0])], skip_of(case), from_memory, loaded, parts=parts)


def skip_of(case: Case) -> str:
    """Of a product: what its ways do not have. Rows of tokens are found by division."""
    division = r"|MUFU\.RCP" if case.operation in ("scores", "topk") else ""
    return f"^({RAGGED}{division}" + (")$" if size_of(case) == 1 else "|DMUL)$")


@work_of("finish_product_kernel")
def finish(launch: Launch, case: Case, before: Before) -> Work:
    parts = before[-1][1].parts
    return Work(
        [(r"^LDG", 4, [parts / 4]), (r"^LDG", 1, [0.0])], r"^DMUL", **where(launch.blocks * 256 * 4 * (parts + 1))
    )

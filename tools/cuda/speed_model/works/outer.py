"""Kernels of outer products: formed, sketched, their inner products and norms."""

# ruff: noqa: D103  (functions are named after their kernels)

from __future__ import annotations

import math
import re

from launches import Launch

from fimo_fast.bench import Case

from ..execution import Work
from .common import BY_ELEMENT, RAGGED, SLICE, Before, up, where, work_of
from .sketches import longest_of_32


@work_of("zeros_kernel")
def zeros(launch: Launch, case: Case, before: Before) -> Work:
    return Work([(r"^STG", 1, [0.0])], **where(launch.blocks * 4096))


@work_of("form_few_kernel")
def form_few(launch: Launch, case: Case, before: Before) -> Work:
    s = case.sizes
    side = math.isqrt(s["sketch_dim"])
    lanes = 1
    while lanes < 256 and lanes * 4 < side:
        lanes *= 2
    rows = side * side * s["batch"] / launch.blocks / min(side, lanes * 4)
    trips = rows * lanes / 256
    out = launch.blocks * rows * min(side, lanes * 4) * 4
    return Work(
        [
            (r"^(FFMA|FMUL)", 32 if ", 8>" in launch.kernel else 4, [trips]),
            (r"^STS", 4, [rows * 8 / 256 / 4]),
            (r"^STS", 1, [0.0]),
        ],
        r"^(LDG\.E\.64|STG\.E)$",
        **where(2 * out),
    )


@work_of("form_tile_kernel")
def form_tile(launch: Launch, case: Case, before: Before) -> Work:
    s = case.sizes
    tile = int(re.findall(r", (\d+)>", launch.kernel)[0])
    parts = launch.grid[1]
    steps = up(s["tokens"] / parts, 16)
    size = 4 if "<float" in launch.kernel else 2
    tiles = launch.grid[0]
    read, out = tiles * parts * steps * 16 * 2 * tile * size, launch.blocks * tile * tile * 4
    return Work(
        [(r"^HMMA", 1, [2 * steps, steps])],
        BY_ELEMENT + r"|^LDGSTS\.E$",
        out if out > 30e6 else 0.0,
        read + out,
        rare=(r"^(STG|PLOP3|CS2R)", 1.0),
        parts=parts - 1,
    )


@work_of("outer_mask_kernel")
def outer_mask(launch: Launch, case: Case, before: Before) -> Work:
    s = case.sizes
    examples = s["batch"] * up(s["sketch_dim"], 256) / launch.blocks
    together = int(re.findall(r", (\d)>", launch.kernel)[0])
    turns = examples / together
    loops = (
        [(r"^LDG", 8, [turns * s["tokens"], turns]), (r"^LDG", 4, [turns])]
        if together > 1
        else [(r"^LDG", 16, [0.0]), (r"^LDG", 2, [1.0])]
    )
    return Work(loops, bytes=case.moved + s["batch"] * s["sketch_dim"] * 4)


@work_of("tensor_table_kernel")
def tensor_table(launch: Launch, case: Case, before: Before) -> Work:
    s = case.sizes
    dim, k = s["n"], s["sketch_dim"]
    philox = max(1.0, dim / 4 / 1024)
    buckets = k / 1024
    return Work(
        [
            (r"^(REDG|ATOMG)", 4, [philox]),
            (r"^LDG", 16, [0.0]),
            (r"^LDG", 80, [philox]),
            (r"^(LDG|STG)", 1, [buckets]),
            (r"^LDS", 4, [8.0]),
        ],
        cached=dim * 64.0,
    )


@work_of("tensor_kernel")
def tensor(launch: Launch, case: Case, before: Before) -> Work:
    s = case.sizes
    k, dim = s["sketch_dim"], s["n"]
    together = int(re.findall(r", (\d)>", launch.kernel)[0])
    each = together * k / 256  # floats of a thread in an array
    chunks = up(dim * together, 4096)
    loads = up(min(dim, 4096 / together) / 256, 8 if together == 1 else 4)
    batches = max(1.0, k / 256 / 4)
    longest = longest_of_32(dim / chunks / k, 32 * 4)
    # Passes of four stages and one of what is left; the first transforms are of twice as much as the last ones.
    fours, rest = divmod(k.bit_length() - 1, 4)
    passes = fours + (rest > 0)
    long_pass = (r"^FADD", 64, [1.5 * each / 16 * fours, passes])
    short_pass = (r"^FADD", {0: 2, 1: 2, 2: 8, 3: 24}[rest], [1.5 * each / (1 << rest) if rest else 0.0, passes])
    return Work(
        [
            (r"^LDG", 16, [loads, chunks]),
            (r"^LDG", 8, [batches, chunks]),
            (r"^VIADDMNMX", 1, [passes]),
            (r"^LDG", 4, [each / 4]),
            (r"^STG", 1, [0.0]),
            (r"^ISETP", 5, [longest * batches, batches, chunks]),
            long_pass,
            *([short_pass, (r"^FADD", 24, [0.0])] if rest == 3 else [(r"^FADD", 24, [0.0])]),
            (r"^FMUL", 4, [each / 4]),
            short_pass,
            (r"^FADD", 2, [0.0]),
            (r"^FMUL", 1, [0.0]),
        ],
        "$^",
        case.moved + s["batch"] * k * 4,
        s["batch"] * s["n"] * 2 * 4.0,
    )


@work_of("gram_dot_kernel")
def gram_dot(launch: Launch, case: Case, before: Before) -> Work:
    s = case.sizes
    pairs = (s["batch"] * s["tokens"]) ** 2
    return Work([(r"^LDG", 8, [max(0.0, s["tokens"] ** 2 / 32 / 4)]), (r"^LDG", 2, [1.0])], **where(pairs * 8))


def _own_tiles(tokens: int) -> list[int]:
    """Of each warp of pair_norm_kernel, the tiles of 16 x 32 pairs of tokens that it has (tiles_of_examples)."""
    counts = []
    for row in range(0, 128, 64):
        for col in range(0, 128, 32):
            begin, end = col // tokens * tokens - row, (col + 31) // tokens * tokens + tokens - row
            counts.append(max(0, min(4, up(end, 16)) - max(0, begin // 16)))
    return counts


@work_of("pair_norm_kernel", "pair_dot_kernel")
def pair(launch: Launch, case: Case, before: Before) -> Work:
    s = case.sizes
    counts = _own_tiles(s["tokens"]) if "norm" in launch.kernel and s["tokens"] <= 64 else [4] * 8
    size = {"Float32": 4}.get(re.findall(r"<(\w+)", launch.kernel)[0], 2)
    slices = (s["n"] + s["m"]) * size / SLICE
    loaded = launch.blocks * slices * 128 * SLICE * (1 if s["tokens"] <= 128 else 2)
    return Work(
        [
            (r"^HMMA", 1, [slices, 2.0]),
            (r"^MUFU", 1, [2.0]),  # the division of find_rows
            (r"^FADD", 16, [s["tokens"] / 16 if s["tokens"] < 128 else 8.0]),
            (r"^FADD", 8, [16.0, max(1.0, 128 / s["tokens"])]),
            (r"^(STS|LDS)", 1, [1.0]),
        ],
        f"^({RAGGED})$",
        case.moved,
        loaded,
        shares=[(r"^HMMA", sum(counts) / 32, max(counts) / 4)],
    )


@work_of("sum_squares_kernel")
def squares(launch: Launch, case: Case, before: Before) -> Work:
    s = case.sizes
    formed = s["tokens"] > 1
    lanes = int(re.findall(r", (\d+)>", launch.kernel)[0])
    count = 8192 if formed else (s["n"] + s["m"]) / 2
    size = 4 if "Float32" in launch.kernel else 2
    total = launch.blocks * (256 / lanes) * count * size
    # Four vectors at a time.
    return Work(
        [(r"^LDG\.E\.128", 4, [count * size / 16 / lanes / 4]), (r"^LDG", 1, [0.0])],
        **({"bytes": total} if not formed else where(total)),
    )

"""Kernels that sketch vectors, or rows that were looked up."""

# ruff: noqa: D103  (functions are named after their kernels)

from __future__ import annotations

import math
import re

from launches import Launch

from fimo_fast.bench import Case

from ..execution import Work
from .common import Before, size_of, up, where, work_of


def rows_of(case: Case) -> tuple[int, int, int]:
    """Rows, coordinates and outputs of a dense or sparse sketch of rows: of the case, or of its factors."""
    s = case.sizes
    if case.operation == "project":
        return s["batch"], s["dim"], s["sketch_dim"]
    return s["batch"] * s["tokens"], s["n"], math.isqrt(s["sketch_dim"])


@work_of("signs_kernel")
def signs(launch: Launch, case: Case, before: Before) -> Work:
    rows, dim, k = rows_of(case)
    tiles = int(re.findall(r", (\d)>", launch.kernel)[0])
    parts = launch.blocks / (up(k, 512) * up(rows, 8 * tiles))
    stages = up(dim, 256) / parts
    parts_bytes = 0 if parts == 1 else parts * rows * k * 4
    inner: list[float] = [8 * stages, 2 * stages, stages, stages]
    # 16 bits: one chain a stage, whose steps are two by two.
    trips = inner if size_of(case) == 4 else [4 * stages, stages, stages]
    read = rows * dim * size_of(case)
    return Work([(r"^HMMA", 1, trips)], r"^LDG\.E(\.U16|\.64)?$", read, parts_bytes, turns=True, parts=parts)


@work_of("normal_kernel")
def normal(launch: Launch, case: Case, before: Before) -> Work:
    rows, dim, k = rows_of(case)
    groups = int(re.findall(r", (\d)>", launch.kernel)[0])
    depth = max(1, min(groups // 2, 2 if size_of(case) == 4 else 4))
    columns = up(k, 512 / groups)
    parts = launch.blocks / (columns * up(rows, 32 * groups))
    stages = up(dim, 16 * depth) / parts
    chains = stages * depth / (4 if size_of(case) == 4 else 8)
    # A warp makes one unit of entries a stage, with one row group two.
    trips: list[tuple[str, int, list[float]]] = [(r"^HMMA", 1, [stages, stages, chains])]
    if groups == 1:
        trips = [(r"^MUFU", 1, [2 * stages, stages, stages, chains]), *trips]
    read = rows * dim * size_of(case)
    return Work(
        trips, r"^LDG\.E(\.U16)?$", read, max(parts * rows * k * 4.0, read * columns), parts=parts,
        ways=(r"^MUFU", r"^HMMA"),
    )  # fmt: skip


@work_of("srht_kernel")
def srht(launch: Launch, case: Case, before: Before) -> Work:
    rows, dim, k = rows_of(case)
    tile = 1 << int(re.findall(r", (\d\d), ", launch.kernel)[0])
    groups = launch.threads // (tile // 64)
    tiles = up(dim, tile)
    parts = launch.blocks / rows
    each = tiles / parts / groups
    # A tile that the row does not fill comes vector by vector.
    whole = dim >= tile
    vectors = tile * size_of(case) / 16 / (tile // 64)
    fetch = (r"^LDGSTS.*128.ZFILL", 1, [0.0 if whole else max(1.0, each) * vectors])
    return Work(
        [(r"^FFMA", 32, [each]), (r"^VIADDMNMX", 1, [0.0]), fetch, (r"^POPC", 1, [max(1.0, k / launch.threads / 4)])],
        r"^(LD\.E|LDG\.E(\.U16)?$)",
        rows * dim * size_of(case),
        (parts if parts > 1 else 2) * rows * k * 4,
        parts=parts,
    )


@work_of("srht_short_kernel")
def srht_short(launch: Launch, case: Case, before: Before) -> Work:
    rows, dim, k = rows_of(case)
    size = case.dtype.itemsize
    signs = up(dim, 2048)
    # Shuffles of warps that have parted are not needed; stages of blocks longer than they are stay in.
    return Work(
        [(r"^FADD", 32, [up(dim, 512), signs]), (r"^STS", 4, [signs, signs])],
        r"^(ENDCOLLECTIVE|LDG\.E\.U16$)" if size == 2 else r"^(ENDCOLLECTIVE|LDG\.E$)",
        rows * dim * size,
        2 * rows * k * 4.0,
    )


def longest_of_32(mean: float, lists: int = 32) -> float:
    """The mean of the longest of 32 (or more) lists, which a warp runs through together (Poisson)."""
    longest, below, term, n = 0.0, 0.0, math.exp(-mean), 0
    while below < 1 - 1e-9 and n < 1000:
        below += term
        longest += 1 - min(1.0, below) ** lists
        n += 1
        term *= mean / n
    return longest


def _sjlt_sizes(case: Case) -> tuple[int, int, int, int]:
    """Rows, coordinates, outputs and nonzeros of an SJLT: of the case, or of the second stage of a composition."""
    s = case.sizes
    nonzeros = int(re.findall(r"SJLT-(\d)", case.name)[0]) if "SJLT" in case.name else 1
    if "GraSS" in case.name:
        return s["batch"], 4 * s["sketch_dim"], s["sketch_dim"], nonzeros
    return s["batch"], s["dim"], s["sketch_dim"], nonzeros


@work_of("sjlt_table_kernel")
def sjlt_table(launch: Launch, case: Case, before: Before) -> Work:
    rows, dim, k, nonzeros = _sjlt_sizes(case)
    mean = dim * nonzeros / launch.blocks / k
    entries = dim * nonzeros / launch.blocks
    buckets = k / 1024  # of a thread
    return Work(
        [
            (r"^STG", 16, [entries / 1024 / 16]),
            (r"^STG", 4, [buckets / 4]),
            (r"^STS", 16, [buckets / 16]),
            (r"^LDS", 16, [0.0]),
            (r"^LDS", 4, [buckets / 4]),
            (r"^STG", 1, [0.0]),
            (r"^BSSY", 1, [longest_of_32(mean) * buckets, buckets]),
        ],
        cached=dim * nonzeros * 2 + launch.blocks * k * 2.0,
        shares=[(r"^(ATOMS|IMAD\.HI)", min(1.0, entries / 16384), min(1.0, entries / 16384))],
    )


@work_of("sjlt_kernel", "sjlt_products_kernel")
def sjlt(launch: Launch, case: Case, before: Before) -> Work:
    rows, dim, k, nonzeros = _sjlt_sizes(case)
    products = "products" in launch.kernel
    size = 4 if products or "<float" in launch.kernel else 2
    of_block = 16 // size  # rows
    groups, ranges = up(rows, of_block), up(k, 512 * 32 // of_block)
    if launch.blocks < groups * ranges:  # some rows at a time
        groups, rows = launch.blocks // ranges, launch.blocks // ranges * of_block
    parts = launch.blocks / (groups * ranges)
    chunk = min(4096.0, 16380 // nonzeros, 16 * k / nonzeros, dim)
    chunks = dim / chunk / parts
    mean = chunk * nonzeros / k
    longest = longest_of_32(mean)
    slots = min(32 // of_block, up(min(k, 512 * 32 // of_block), 512))
    unroll = 4 if size == 4 else 1
    # Of a list, three entries are taken before the loop, which takes four at a time. A lane in `longest / mean` has
    # an entry; random places meet in banks: 2.6 passes for 8 lanes.
    conflicts = 2.6 * mean / longest
    add = (r"^FFMA", 16, [chunks * max(longest - 3, 0.0) / 4 * slots / (32 // of_block), chunks])
    if products:  # of sketched factors, which were just written
        tasks = 2 * chunks * chunk / 512
        bring: tuple[str, int, list[float]] = (r"^LDG\.E$", 4, [case.sizes["tokens"] * tasks, tasks, chunks])
        read = 0.0
    else:
        bring, read = (r"^LDG\.E(\.U16)?$", unroll * of_block, [chunks * chunk / 512 / unroll]), rows * dim * size
    return Work(
        [add, bring],
        "$^",
        read,
        max(parts, 2) * rows * k * 4 + groups * (dim * nonzeros * 2 + dim / chunk * k * 2),
        conflicts,
        parts=parts,
    )


@work_of("add_parts_kernel")
def add_parts(launch: Launch, case: Case, before: Before) -> Work:
    outputs = launch.blocks * 1024
    parts = before[-1][1].parts
    vectors = "true" in launch.kernel
    return Work(
        [(r"^LDG", 4 if vectors else 16, [parts / 4]), (r"^LDG", 1, [parts % 4])], **where(4 * outputs * (parts + 2))
    )  # fmt: skip


@work_of("add_parts_sliced_kernel")
def add_parts_sliced(launch: Launch, case: Case, before: Before) -> Work:
    outputs = launch.blocks * 32
    parts = before[-1][1].parts
    return Work([(r"^LDG", 8, [parts / 64]), (r"^LDG", 1, [parts % 64 / 8])], **where(4 * outputs * (parts + 2)))


@work_of("mask_kernel")
def mask(launch: Launch, case: Case, before: Before) -> Work:
    s = case.sizes
    outer = case.operation == "outer_project"
    rows = s["batch"] * s.get("tokens", 1)
    k = s["sketch_dim"] * (4 if "GraSS" in case.name else 1)
    if outer:
        k = math.isqrt(k)
    return Work(skip="$^", bytes=rows * k * (64 + 8))


@work_of("rows_keys_kernel", "rows_sjlt_kernel", "rows_srht_kernel")
def rows(launch: Launch, case: Case, before: Before) -> Work:
    """Of rows_project: a token's numbers are read once by a block that walks over some tokens."""
    s = case.sizes
    parts = max(1.0, launch.blocks / s["batch"])
    return Work(
        [(r"^FADD", 32, [s["tokens"] / parts]), (r"^FADD", 16, [3 * s["tokens"] / parts])],
        bytes=float(case.moved),
        parts=parts,
    )

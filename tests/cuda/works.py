"""What the launches of the benchmark's cases do: trips of loops, ways not taken and bytes, from the sizes of the case.

One function for each kernel. The numbers repeat what the drivers (csrc/cuda/*.cu) decide, so far as a launch's grid
does not
say it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from execution import Work
from launches import Launch

from fimo_fast.bench import Case

Before = Sequence[tuple[Launch, Work]]  # the launches of the case before this one

# Copies of rows that are not made of whole pieces of 16 bytes (slice_copy.cuh).
_RAGGED = r"LDG\.E\.U16|LDG\.E\.U8|LDGSTS\S*\.ZFILL"
_BY_ELEMENT = r"^(LDG\.E(\.U16|\.U8|\.CONSTANT)?$|LDGSTS\.E(\.ZFILL)?$)"


def _up(a: float, b: float) -> int:
    return math.ceil(a / b)


def _rows(case: Case) -> tuple[int, int, int]:
    """Rows, coordinates and outputs of a dense or sparse sketch of rows: of the case, or of its factors."""
    s = case.sizes
    if case.operation == "project":
        return s["batch"], s["dim"], s["sketch_dim"]
    return s["batch"] * s["tokens"], s["n"], math.isqrt(s["sketch_dim"])


def _size(case: Case) -> int:
    return case.dtype.itemsize


def signs(launch: Launch, case: Case, before: Before) -> Work:
    rows, dim, k = _rows(case)
    tiles = int(re.findall(r", (\d)>", launch.kernel)[0])
    parts = launch.blocks / (_up(k, 512) * _up(rows, 8 * tiles))
    stages = _up(dim, 256) / parts
    parts_bytes = 0 if parts == 1 else parts * rows * k * 4
    inner: list[float] = [8 * stages, 2 * stages, stages, stages]
    # 16 bits: one chain a stage, whose steps are two by two.
    trips = inner if _size(case) == 4 else [4 * stages, stages, stages]
    read = rows * dim * _size(case)
    return Work([(r"^HMMA", 1, trips)], r"^LDG\.E(\.U16|\.64)?$", read, parts_bytes, turns=True, parts=parts)


def normal(launch: Launch, case: Case, before: Before) -> Work:
    rows, dim, k = _rows(case)
    groups = int(re.findall(r", (\d)>", launch.kernel)[0])
    depth = max(1, min(groups // 2, 2 if _size(case) == 4 else 4))
    columns = _up(k, 512 / groups)
    parts = launch.blocks / (columns * _up(rows, 32 * groups))
    stages = _up(dim, 16 * depth) / parts
    chains = stages * depth / (4 if _size(case) == 4 else 8)
    # A warp makes one unit of entries a stage, with one row group two.
    trips: list[tuple[str, int, list[float]]] = [(r"^HMMA", 1, [stages, stages, chains])]
    if groups == 1:
        trips = [(r"^MUFU", 1, [2 * stages, stages, stages, chains]), *trips]
    read = rows * dim * _size(case)
    return Work(
        trips, r"^LDG\.E(\.U16)?$", read, max(parts * rows * k * 4.0, read * columns), parts=parts,
        ways=(r"^MUFU", r"^HMMA"),
    )  # fmt: skip


def srht(launch: Launch, case: Case, before: Before) -> Work:
    rows, dim, k = _rows(case)
    tile = 1 << int(re.findall(r", (\d\d), ", launch.kernel)[0])
    groups = launch.threads // (tile // 64)
    tiles = _up(dim, tile)
    parts = launch.blocks / rows
    each = tiles / parts / groups
    # A tile that the row does not fill comes vector by vector.
    whole = dim >= tile
    vectors = tile * _size(case) / 16 / (tile // 64)
    fetch = (r"^LDGSTS.*128.ZFILL", 1, [0.0 if whole else max(1.0, each) * vectors])
    return Work(
        [(r"^FFMA", 32, [each]), (r"^VIADDMNMX", 1, [0.0]), fetch, (r"^POPC", 1, [max(1.0, k / launch.threads / 4)])],
        r"^(LD\.E|LDG\.E(\.U16)?$)",
        rows * dim * _size(case),
        (parts if parts > 1 else 2) * rows * k * 4,
        parts=parts,
    )


def srht_short(launch: Launch, case: Case, before: Before) -> Work:
    rows, dim, k = _rows(case)
    size = case.dtype.itemsize
    signs = _up(dim, 2048)
    # Shuffles of warps that have parted are not needed; stages of blocks longer than they are stay in.
    return Work(
        [(r"^FADD", 32, [_up(dim, 512), signs]), (r"^STS", 4, [signs, signs])],
        r"^(ENDCOLLECTIVE|LDG\.E\.U16$)" if size == 2 else r"^(ENDCOLLECTIVE|LDG\.E$)",
        rows * dim * size,
        2 * rows * k * 4.0,
    )


def _longest_of_32(mean: float, lists: int = 32) -> float:
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
            (r"^BSSY", 1, [_longest_of_32(mean) * buckets, buckets]),
        ],
        cached=dim * nonzeros * 2 + launch.blocks * k * 2.0,
        shares=[(r"^(ATOMS|IMAD\.HI)", min(1.0, entries / 16384), min(1.0, entries / 16384))],
    )


def sjlt(launch: Launch, case: Case, before: Before) -> Work:
    rows, dim, k, nonzeros = _sjlt_sizes(case)
    size = 4 if "<float" in launch.kernel else 2
    of_block = 16 // size  # rows
    groups, ranges = _up(rows, of_block), _up(k, 512 * 32 // of_block)
    if launch.blocks < groups * ranges:  # some rows at a time
        groups, rows = launch.blocks // ranges, launch.blocks // ranges * of_block
    parts = launch.blocks / (groups * ranges)
    chunk = min(4096.0, 16380 // nonzeros, 16 * k / nonzeros, dim)
    chunks = dim / chunk / parts
    mean = chunk * nonzeros / k
    longest = _longest_of_32(mean)
    slots = min(32 // of_block, _up(min(k, 512 * 32 // of_block), 512))
    unroll = 4 if size == 4 else 1
    # Of a list, three entries are taken before the loop, which takes four at a time. A lane in `longest / mean` has
    # an entry; random places meet in banks: 2.6 passes for 8 lanes.
    conflicts = 2.6 * mean / longest
    add = (r"^FFMA", 16, [chunks * max(longest - 3, 0.0) / 4 * slots / (32 // of_block), chunks])
    return Work(
        [add, (r"^LDG\.E(\.U16)?$", unroll * of_block, [chunks * chunk / 512 / unroll])],
        "$^",
        rows * dim * size,
        max(parts, 2) * rows * k * 4 + groups * (dim * nonzeros * 2 + dim / chunk * k * 2),
        conflicts,
        parts=parts,
    )


def add_parts(launch: Launch, case: Case, before: Before) -> Work:
    outputs = launch.blocks * 1024
    parts = before[-1][1].parts
    vectors = "true" in launch.kernel
    return Work(
        [(r"^LDG", 4 if vectors else 16, [parts / 4]), (r"^LDG", 1, [parts % 4])], **_where(4 * outputs * (parts + 2))
    )  # fmt: skip


def add_parts_sliced(launch: Launch, case: Case, before: Before) -> Work:
    outputs = launch.blocks * 32
    parts = before[-1][1].parts
    return Work([(r"^LDG", 8, [parts / 64]), (r"^LDG", 1, [parts % 64 / 8])], **_where(4 * outputs * (parts + 2)))


def _where(size: float) -> dict[str, float]:
    """Bytes that were just written: in the L2 cache if they fit."""
    return {"cached": size} if size < 30e6 else {"bytes": size}


def mask(launch: Launch, case: Case, before: Before) -> Work:
    s = case.sizes
    outer = case.operation == "outer_project"
    rows = s["batch"] * s.get("tokens", 1)
    k = s["sketch_dim"] * (4 if "GraSS" in case.name else 1)
    if outer:
        k = math.isqrt(k)
    return Work(skip="$^", bytes=rows * k * (64 + 8))


def zeros(launch: Launch, case: Case, before: Before) -> Work:
    return Work([(r"^STG", 1, [0.0])], **_where(launch.blocks * 4096))


def form_few(launch: Launch, case: Case, before: Before) -> Work:
    s = case.sizes
    side = math.isqrt(s["sketch_dim"] * (4 if "GraSS" in case.name else 1))
    lanes = 1
    while lanes < 256 and lanes * 4 < side:
        lanes *= 2
    rows = side * side * s["batch"] / launch.blocks / min(side, lanes * 4)
    if "GraSS" in case.name:
        rows = 16 if launch.blocks == 2048 else rows
    trips = rows * lanes / 256
    out = launch.blocks * rows * min(side, lanes * 4) * 4
    return Work(
        [
            (r"^(FFMA|FMUL)", 32 if ", 8>" in launch.kernel else 4, [trips]),
            (r"^STS", 4, [rows * 8 / 256 / 4]),
            (r"^STS", 1, [0.0]),
        ],
        r"^(LDG\.E\.64|STG\.E)$",
        **_where(2 * out),
    )


def form_tile(launch: Launch, case: Case, before: Before) -> Work:
    s = case.sizes
    tile = int(re.findall(r", (\d+)>", launch.kernel)[0])
    parts = launch.grid[1]
    steps = _up(s["tokens"] / parts, 16)
    size = 4 if "<float" in launch.kernel else 2
    tiles = launch.grid[0]
    read, out = tiles * parts * steps * 16 * 2 * tile * size, launch.blocks * tile * tile * 4
    return Work(
        [(r"^HMMA", 1, [2 * steps, steps])],
        _BY_ELEMENT + r"|^LDGSTS\.E$",
        out if out > 30e6 else 0.0,
        read + out,
        rare=(r"^(STG|PLOP3|CS2R)", 1.0),
        parts=parts - 1,
    )


def outer_mask(launch: Launch, case: Case, before: Before) -> Work:
    return Work(
        [(r"^LDG", 16, [0.0]), (r"^LDG", 2, [1.0])],
        bytes=case.moved + case.sizes["batch"] * case.sizes["sketch_dim"] * 4,
    )


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


def tensor(launch: Launch, case: Case, before: Before) -> Work:
    s = case.sizes
    k, dim = s["sketch_dim"], s["n"]
    together = int(re.findall(r", (\d)>", launch.kernel)[0])
    each = together * k / 256  # floats of a thread in an array
    chunks = _up(dim * together, 4096)
    loads = _up(min(dim, 4096 / together) / 256, 8 if together == 1 else 4)
    batches = max(1.0, k / 256 / 4)
    longest = _longest_of_32(dim / chunks / k, 32 * 4)
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


_SLICE = 64


def _tile(name: str) -> tuple[int, int]:
    """Rows and columns of a block of TileProduct<type, warp rows, warp columns, row tiles, column tiles, stages>."""
    a, b, c, d = map(int, re.findall(r", (\d+)", name)[:4])
    return 16 * a * c, 8 * b * d


def product(launch: Launch, case: Case, before: Before) -> Work:
    s = case.sizes
    size = {"Float32": 4, "Int8": 1}.get(re.findall(r"<(\w+),", launch.kernel)[0], 2)
    height, width = _tile(launch.kernel)
    if case.operation == "scores":
        m, n, depth = s["queries"], s["features"], s["dim"]
    elif "finish" in launch.kernel or s["tokens"] * s["batch"] > 512 * 4:
        m, n, depth = s["batch"], s["batch"], min(s["n"] * s["m"], 16777216 // s["batch"])
    else:
        m = n = s["batch"] * s["tokens"]
        depth = (s["n"] + s["m"]) // 2
    slices = _up(depth * size, _SLICE)
    tiles = _up(m, height) * _up(n, width)
    parts = max(1.0, launch.blocks / tiles)
    each = slices / parts
    loaded = launch.blocks * each * (min(m, height) + width) * _SLICE
    features = width * (tiles / _up(m, height)) * depth * size
    once = features + min(m, _up(m, height) * height) * depth * size
    out = (parts if parts > 1 else 1) * m * n * 4
    # The few rows of a flat tile are copied by its first warps.
    return Work([(r"^(HMMA|IMMA)", 1, [each]), (r"^DMUL", 2, [0.0])], _skip(case), once + out, loaded, parts=parts)


def _skip(case: Case) -> str:
    """Of a product: what its ways do not have. Rows of tokens are found by division."""
    division = r"|MUFU\.RCP" if case.operation in ("scores", "topk") else ""
    return f"^({_RAGGED}{division}" + (")$" if _size(case) == 1 else "|DMUL)$")


@dataclass
class _Lists:
    """A query's list between launches of topk: features so far, those when its threshold was found, and its keys."""

    seen: float = 0.0
    known: float = 0.0
    keys: float = 0.0

    def lazy(self, k: int) -> bool:
        """Whether a selection leaves it as it is."""
        return self.keys <= k + max(k, 256)


def _round(launch: Launch, case: Case) -> float:
    """Its features."""
    height, width = _tile(launch.kernel)
    return min(case.sizes["features"], launch.blocks / _up(case.sizes["queries"], height) * width)


def _lists(case: Case, before: Before) -> _Lists:
    """In random order a feature is among the k best of n with probability k / n."""
    lists, k = _Lists(), case.sizes["k"]
    for launch, _ in before:
        if "topk_product" in launch.kernel:
            features = _round(launch, case)
            lists.keys += k * features / lists.known if lists.seen else features
            lists.seen += features
        elif "topk_select" in launch.kernel and not lists.lazy(k):
            lists.known, lists.keys = lists.seen, k
    return lists


def topk_product(launch: Launch, case: Case, before: Before) -> Work:
    s = case.sizes
    size, depth, (height, width) = _size(case), s["dim"], _tile(launch.kernel)
    slices = _up(depth * size, _SLICE)
    m, features = s["queries"], _round(launch, case)
    once = (features + m) * depth * size
    loaded = launch.blocks * slices * (min(m, height) + width) * _SLICE
    lists = _lists(case, before)
    trips: list[tuple[str, int, list[float]]] = [(r"^(HMMA|IMMA)", 1, [slices])]
    if lists.seen == 0:  # all scores become keys, in registers
        return Work(trips, f"{_skip(case)}|^VOTE", once, loaded + m * features * 8)
    # A warp votes on the sums that its lanes have in one place of a tile: the code behind four votes runs if one is
    # yes, and what stores a sum for one yes.
    chance = s["k"] / lists.known
    shares = [(p, x, x) for p, x in ((r"^STS$", 1 - (1 - chance) ** (4 * min(m, 8))),
                                     (r"^POPC", 1 - (1 - chance) ** (8 * min(m, 16))))]  # fmt: skip
    copies = height / 16 / (2 if height > 16 else 1)  # of the code that empties places: one a row of tiles of a warp
    emptied = max(1.0, chance * min(m, height) * width / launch.threads)
    return Work([*trips, (r"^ATOMG", 1, [emptied / copies])], _skip(case), once, loaded, shares=shares, need="^VOTE")


def finish(launch: Launch, case: Case, before: Before) -> Work:
    parts = before[-1][1].parts
    return Work(
        [(r"^LDG", 4, [parts / 4]), (r"^LDG", 1, [0.0])], r"^DMUL", **_where(launch.blocks * 256 * 4 * (parts + 1))
    )


def gram_dot(launch: Launch, case: Case, before: Before) -> Work:
    s = case.sizes
    pairs = (s["batch"] * s["tokens"]) ** 2
    return Work([(r"^LDG", 8, [max(0.0, s["tokens"] ** 2 / 32 / 4)]), (r"^LDG", 2, [1.0])], **_where(pairs * 8))


def _own_tiles(tokens: int) -> list[int]:
    """Of each warp of pair_norm_kernel, the tiles of 16 x 32 pairs of tokens that it has (tiles_of_examples)."""
    counts = []
    for row in range(0, 128, 64):
        for col in range(0, 128, 32):
            begin, end = col // tokens * tokens - row, (col + 31) // tokens * tokens + tokens - row
            counts.append(max(0, min(4, _up(end, 16)) - max(0, begin // 16)))
    return counts


def pair(launch: Launch, case: Case, before: Before) -> Work:
    s = case.sizes
    counts = _own_tiles(s["tokens"]) if "norm" in launch.kernel and s["tokens"] <= 64 else [4] * 8
    size = {"Float32": 4}.get(re.findall(r"<(\w+)", launch.kernel)[0], 2)
    slices = (s["n"] + s["m"]) * size / _SLICE
    loaded = launch.blocks * slices * 128 * _SLICE * (1 if s["tokens"] <= 128 else 2)
    return Work(
        [
            (r"^HMMA", 1, [slices, 2.0]),
            (r"^MUFU", 1, [2.0]),  # the division of find_rows
            (r"^FADD", 16, [s["tokens"] / 16 if s["tokens"] < 128 else 8.0]),
            (r"^FADD", 8, [16.0, max(1.0, 128 / s["tokens"])]),
            (r"^(STS|LDS)", 1, [1.0]),
        ],
        f"^({_RAGGED})$",
        case.moved,
        loaded,
        shares=[(r"^HMMA", sum(counts) / 32, max(counts) / 4)],
    )


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
        **({"bytes": total} if not formed else _where(total)),
    )


def small(launch: Launch, case: Case, before: Before) -> Work:
    """Of what a warp reads and writes once."""
    return Work(cached=launch.blocks * launch.threads * 16.0)


def topk_select(launch: Launch, case: Case, before: Before) -> Work:
    """A block sorts 512 keys in 45 steps, a pair a thread; then what ranks above their k-th."""
    lists = _lists(case, before)
    if lists.seen < case.sizes["features"] and lists.lazy(case.sizes["k"]):
        return Work([(r"^(STG|LDG|LDS)", 1, [0.0])])
    log = math.ceil(math.log2(max(2.0, min(lists.keys, 512))))
    sorts = [45.0, 21.0] if lists.keys > 512 else [0.0, log * (log + 1) / 2]
    return Work(
        [
            (r"^STG", 1, [1.0]),
            (r"^LDS\.64", 8, [0.0]),
            (r"^LDS\.64", 2, [sum(sorts) / 2]),
            (r"^LDG", 4, [_up(lists.keys, 1024)]),
        ],
        cached=launch.blocks * lists.keys * 8.0,
    )


def topk_select_warp(launch: Launch, case: Case, before: Before) -> Work:
    """A warp reads 128 keys at a time, and sorts whenever its buffer has more than so many."""
    lists, k = _lists(case, before), case.sizes["k"]
    if lists.seen < case.sizes["features"] and lists.lazy(k):
        return Work([(r"^(STG|LDG|LDS|SHFL)", 1, [0.0])])
    batches = _up(lists.keys, 128)
    kept, sorts, known = 0.0, 0, 0
    for batch in range(batches):
        kept += min(128.0, lists.keys) * (k / known if known else 1.0)
        if kept > 128:
            kept, sorts, known = float(k), sorts + 1, 128 * (batch + 1)
    # Runs of 16 keys and more, and their steps that are shuffles: of the sorts of 256 keys, and of the last one.
    logs = [8] * sorts + [max(3, math.ceil(math.log2(kept)))]
    runs, steps = sum(log - 3 for log in logs), sum((log - 3) * (log - 2) / 2 for log in logs)
    return Work(
        [
            (r"^STG", 1, [1.0]),
            (r"^LDG", 4, [batches]),
            # The code of a sort stands there twice; ways for lanes that diverged make loops of its begin and end.
            (r"^SHFL", 8, [steps / 2, runs / 2]),
            (r"^LDS", 8, [len(logs) / 2]),
            (r"^STS", 8, [sorts]),
        ],
        cached=launch.blocks * 4 * lists.keys * 8.0,
    )


def rows(launch: Launch, case: Case, before: Before) -> Work:
    """Of rows_project: a token's numbers are read once by a block that walks over some tokens."""
    s = case.sizes
    parts = max(1.0, launch.blocks / s["batch"])
    return Work(
        [(r"^FADD", 32, [s["tokens"] / parts]), (r"^FADD", 16, [3 * s["tokens"] / parts])],
        bytes=float(case.moved),
        parts=parts,
    )


WORKS: Mapping[str, Callable[[Launch, Case, Before], Work]] = {
    "signs_kernel": signs,
    "normal_kernel": normal,
    "srht_kernel": srht,
    "sjlt_table_kernel": sjlt_table,
    "sjlt_kernel": sjlt,
    "add_parts_kernel": add_parts,
    "add_parts_sliced_kernel": add_parts_sliced,
    "srht_short_kernel": srht_short,
    "mask_kernel": mask,
    "zeros_kernel": zeros,
    "form_few_kernel": form_few,
    "form_tile_kernel": form_tile,
    "outer_mask_kernel": outer_mask,
    "mask_positions_kernel": small,
    "tensor_table_kernel": tensor_table,
    "tensor_kernel": tensor,
    "product_kernel": product,
    "topk_product_kernel": topk_product,
    "finish_product_kernel": finish,
    "gram_dot_kernel": gram_dot,
    "pair_norm_kernel": pair,
    "pair_dot_kernel": pair,
    "pair_finish_kernel": small,
    "sum_squares_kernel": squares,
    "norm_finish_kernel": small,
    "topk_select_kernel": topk_select,
    "topk_select_warp_kernel": topk_select_warp,
    "topk_filter_kernel": small,
    "rows_keys_kernel": rows,
    "rows_rank_kernel": small,
    "rows_out_of_range_kernel": small,
    "rows_sjlt_kernel": rows,
    "rows_srht_kernel": rows,
}

"""What topk does around its product: expected lists of candidates, and selections."""

# ruff: noqa: D103  (functions are named after their kernels)

from __future__ import annotations

import math
from dataclasses import dataclass

from launches import Launch

from fimo_fast.bench import Case

from ..execution import Work
from .common import SLICE, Before, size_of, up, work_of
from .products import skip_of, tile_of


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
    height, width = tile_of(launch.kernel)
    return min(case.sizes["features"], launch.blocks / up(case.sizes["queries"], height) * width)


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


@work_of("topk_product_kernel")
def topk_product(launch: Launch, case: Case, before: Before) -> Work:
    s = case.sizes
    size, depth, (height, width) = size_of(case), s["dim"], tile_of(launch.kernel)
    slices = up(depth * size, SLICE)
    m, features = s["queries"], _round(launch, case)
    once = (features + m) * depth * size
    loaded = launch.blocks * slices * (min(m, height) + width) * SLICE
    lists = _lists(case, before)
    trips: list[tuple[str, int, list[float]]] = [(r"^(HMMA|IMMA)", 1, [slices])]
    if lists.seen == 0:  # all scores become keys, in registers
        return Work(trips, f"{skip_of(case)}|^VOTE", once, loaded + m * features * 8)
    # A warp votes on the sums that its lanes have in one place of a tile: the code behind four votes runs if one is
    # yes, and what stores a sum for one yes.
    chance = s["k"] / lists.known
    shares = [(p, x, x) for p, x in ((r"^STS$", 1 - (1 - chance) ** (4 * min(m, 8))),
                                     (r"^POPC", 1 - (1 - chance) ** (8 * min(m, 16))))]  # fmt: skip
    copies = height / 16 / (2 if height > 16 else 1)  # of the code that empties places: one a row of tiles of a warp
    emptied = max(1.0, chance * min(m, height) * width / launch.threads)
    return Work([*trips, (r"^ATOMG", 1, [emptied / copies])], skip_of(case), once, loaded, shares=shares, need="^VOTE")


@work_of("topk_select_kernel")
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
            (r"^LDG", 4, [up(lists.keys, 1024)]),
        ],
        cached=launch.blocks * lists.keys * 8.0,
    )


@work_of("topk_select_warp_kernel")
def topk_select_warp(launch: Launch, case: Case, before: Before) -> Work:
    """A warp reads 128 keys at a time, and sorts whenever its buffer has more than so many."""
    lists, k = _lists(case, before), case.sizes["k"]
    if lists.seen < case.sizes["features"] and lists.lazy(k):
        return Work([(r"^(STG|LDG|LDS|SHFL)", 1, [0.0])])
    batches = up(lists.keys, 128)
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

"""How often the instructions of a kernel run, and what that takes of a multiprocessor.

A loop's trips are given (they follow from sizes); within a loop, and outside all, a warp takes the longest way that
avoids what `Work.skip` names: code for unaligned rows, for other types or for accumulating.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from . import h100
from .sass import Block, Kernel, Loop


@dataclass
class Work:
    """What is known of a launch beside its grid.

    Attributes:
        trips: (what an instruction of the loop is like, how many such it has at least, trips): the first that fits
            counts, and loops that none fits run once each time they are reached. More than one number: of the loop,
            of the one around it, and so on; these are trips of a block, not of each time.
        skip: opcodes whose blocks are not run.
        need: opcodes whose blocks are, where there is another way.
        bytes: that go to or come from memory, of the whole launch.
        cached: bytes that come from or stay in the L2 cache.
        conflicts: how many times longer a load from shared memory by 128 bits takes than without bank conflicts.
        shares: (opcode, share, delay): blocks with it are run by that share of the warps only, and of the warp that
            takes longest `delay` of them.
        rare: (opcode, times): in a loop whose trips are given, the way through blocks with it is taken so often only.
        parts: in how many its sums are left to the next launch.
        turns: each trip of the loops around others is two: one through what is inside, and one past it.
        ways: opcodes: a loop with all of them takes, each trip, one way through each and past the others.
    """

    trips: list[tuple[str, int, list[float]]] = field(default_factory=list)
    skip: str = "$^"
    bytes: float = 0.0
    cached: float = 0.0
    conflicts: float = 1.0
    shares: list[tuple[str, float, float]] = field(default_factory=list)
    rare: tuple[str, float] | None = None
    turns: bool = False
    ways: tuple[str, ...] = ()
    parts: float = 1.0
    need: str = "$^"


@dataclass
class Cost:
    """Of one warp: clocks of each unit, and the shortest time in which it can run alone."""

    units: Counter[str] = field(default_factory=Counter)
    alone: float = 0.0

    def add(self, other: Cost, times: float) -> None:
        """This and `times` the other one."""
        for name, clocks in other.units.items():
            self.units[name] += clocks * times
        self.alone += other.alone * times


def warp_cost(kernel: Kernel, work: Work) -> Cost:
    """Of a warp of an average block, from its first instruction to its last."""
    known: dict[int, float] = {}
    chains: list[tuple[list[Loop], list[float]]] = []

    def visit(loop: Loop, around: list[Loop]) -> None:
        for inner in loop.inner:
            visit(inner, [loop, *around])
        own = kernel.own(loop)
        instructions = [i for b in own for i in kernel.blocks[b].instructions]
        for pattern, count, trips in work.trips:
            if sum(bool(re.match(pattern, i.opcode)) for i in instructions) >= count:
                chains.append(([loop, *around], trips))
                return

    for loop in kernel.loops:
        visit(loop, [])
    for loops, trips in sorted(chains, key=lambda chain: -len(chain[1])):
        for loop, number in zip(loops, trips, strict=False):
            known.setdefault(loop.header, number)

    total = Cost()

    def run(loop: Loop | None, times: float) -> None:
        if work.ways and loop and all(_has([kernel.blocks[b] for b in loop.blocks], p) for p in work.ways) and (
            any(_has([kernel.blocks[b] for b in kernel.own(loop)], p) for p in work.ways)
        ):  # fmt: skip
            for pattern in work.ways:
                others = "|".join(p for p in work.ways if p != pattern)
                way, inner = _way(kernel, loop, f"{work.skip}|{others}", known, need=pattern)
                total.add(_cost(way, work), times)
                for other in inner:
                    run(other, known.get(other.header, times))
            return
        way, inner = _way(kernel, loop, work.skip, known, need=work.need)
        rare = work.rare if work.rare and loop and loop.header in known and _has(way, work.rare[0]) else None
        if rare:
            total.add(_cost(way, work), rare[1])
            way, inner = _way(kernel, loop, f"{work.skip}|{rare[0]}", known)
            times = max(times - rare[1], 0.0)
        # A loop's next trip may wait for what the last one has started: two in a row, less one.
        once = _cost(way, work)
        if loop is not None and times > 1:
            twice = _cost([*way, *way], work)
            once.alone = max(twice.alone - once.alone, 1.0)
        total.add(once, times)
        if work.turns and loop and inner:
            past, _ = _way(kernel, loop, work.skip, known, past=True)
            total.add(_cost(past, work), times)
        for other in inner:
            run(other, known.get(other.header, times))

    run(None, 1.0)
    return total


def _cost(way: list[Block], work: Work) -> Cost:
    cost = Cost()
    ready = [0.0] * 6  # when each barrier is released
    now = 0.0
    memory = "L2" if work.cached > work.bytes else "memory"
    for block in way:
        shares = ((s, d) for p, s, d in work.shares if _has([block], p))
        share, delay = next(shares, (1.0, 1.0))
        before = now
        for i in block.instructions:
            cost.units["issue"] += share / h100.ISSUE
            name, clocks = h100.unit(i)
            if i.opcode == "LDS.128":
                clocks *= work.conflicts
            if name:
                cost.units[name] += share * clocks
            now = max([now, *(ready[b] for b in range(6) if i.waits >> b & 1)])
            if i.writes < 6:
                ready[i.writes] = max(ready[i.writes], now + h100.latency(i, memory))
            if i.reads < 6:
                ready[i.reads] = max(ready[i.reads], now + h100.LATENCY["other"])
            now += max(i.stall, 1)
        if delay != 1.0:  # also of what later blocks wait for
            ready = [before + (at - before) * delay if at > before else at for at in ready]
            now = before + (now - before) * delay
    cost.alone = now
    return cost


def _has(way: list[Block], pattern: str) -> bool:
    return any(re.match(pattern, i.opcode) for block in way for i in block.instructions)


def _way(
    kernel: Kernel, loop: Loop | None, skip: str, known: dict[int, float], past: bool = False, need: str = "$^"
) -> tuple[list[Block], list[Loop]]:
    """The longest way through a loop's own blocks, and the inner loops on it.

    A loop of known trips is as long as these; empty if every way has what is to be avoided. `past`: a way past all
    inner loops; `need`: through blocks with such an opcode.
    """
    own = kernel.own(loop)
    inner = loop.inner if loop else kernel.loops
    entry = {b: i for i in inner for b in i.blocks}
    bad = {b for b in own if any(re.match(skip, x.opcode) for x in kernel.blocks[b].instructions)}

    best: dict[object, tuple[float, tuple[object, ...]]] = {}
    start = loop.header if loop else 0
    blocks = loop.blocks if loop else frozenset(range(len(kernel.blocks)))

    def following(node: object) -> list[object]:
        targets = kernel.blocks[node].next if isinstance(node, int) else [
            t for b in node.blocks for t in kernel.blocks[b].next if t not in node.blocks  # type: ignore[attr-defined]
        ]  # fmt: skip
        nodes: list[object] = []
        for t in targets:
            if t in blocks and not (loop and t == loop.header):
                nodes.append(_Node.of(entry[t]) if t in entry else t)
        return nodes

    def search(node: object, active: frozenset[object]) -> tuple[float, tuple[object, ...]]:
        if node in best:
            return best[node]
        if isinstance(node, int):
            mine = len(kernel.blocks[node].instructions) - (_FAR if node in bad else 0.0)
            mine += _FAR / 100 if _has([kernel.blocks[node]], need) else 0.0
        else:
            body = [kernel.blocks[b] for b in kernel.own(node.loop)]  # type: ignore[attr-defined]
            mine = known.get(node.header, 1.0) * sum(len(b.instructions) for b in body)  # type: ignore[attr-defined]
            # type: ignore[attr-defined]
            mine -= _FAR if past or _has(_way(kernel, node.loop, skip, known)[0], skip) else 0.0
        ways = [search(n, active | {node}) for n in following(node) if n not in active]
        # Ends of the loop or of the kernel count as ways only where there are no others.
        rest = max(ways, key=lambda way: way[0], default=(0.0, ()))
        best[node] = (mine + rest[0], (node, *rest[1]))
        return best[node]

    first: object = _Node.of(entry[start]) if start in entry else start
    length, nodes = search(first, frozenset())
    if past and length < 0:
        return [], []
    return (
        [kernel.blocks[n] for n in nodes if isinstance(n, int)],
        [n.loop for n in nodes if isinstance(n, _Node)],
    )


_FAR = 1e9


@dataclass(frozen=True)
class _Node:
    """A loop as a place on a way."""

    header: int
    blocks: frozenset[int]
    loop: Loop = field(compare=False, hash=False)

    @staticmethod
    def of(loop: Loop) -> _Node:
        return _Node(loop.header, loop.blocks, loop)

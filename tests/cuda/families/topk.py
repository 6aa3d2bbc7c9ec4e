"""Cases of topk.

Most data are small integers: their scores are exact in every order of summation, and many are equal.
"""

from __future__ import annotations

import torch
from cases import Case, normal, padded, topk
from torch import Tensor

from . import TRAITS


def _integers(rows: int, cols: int, dtype: torch.dtype, seed: int, most: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-most, most + 1, (rows, cols), generator=generator).to(dtype)


def _scales(rows: int, seed: int) -> Tensor:
    return 0.01 + torch.rand(rows, generator=torch.Generator().manual_seed(seed)) / 64


def _line(scores: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """One query and features with these scores."""
    return torch.tensor([[1.0]], dtype=dtype), scores[:, None].to(dtype)


def _order(name: str, scores: Tensor, k: int) -> Case:
    return topk(f"topk/{name}", *_line(scores), k)


def _digits(name: str, scores: Tensor, k: int) -> Case:
    """The same in bfloat16, of scores to 2^14: no operand is split there, so that infinities stay what they are."""
    high = (scores / 64).floor()
    low = torch.where(scores.isfinite(), scores - 64 * high, torch.zeros(()))
    queries = torch.tensor([[64.0, 1.0]], dtype=torch.bfloat16)
    return topk(f"topk/{name}", queries, torch.stack([high, low], 1).bfloat16(), k)


def _selection() -> list[Case]:
    """One query, one coordinate: the scores are the features. Rounds end at 2048 (k > 512: 4096) and 65 times that."""
    up, mixed = torch.arange(3000.0), torch.randperm(3100, generator=torch.Generator().manual_seed(1)).float()
    found = [_order(f"shuffled/n{n}/k{k}", mixed[:n].contiguous(), k)
             for n, k in ((1, 1), (2, 1), (2, 2), (3, 2), (255, 17), (257, 257), (1024, 1), (1025, 1024), (2047, 512),
                          (2048, 513), (2049, 100), (2050, 1024), (3100, 512))]  # fmt: skip
    nan, inf = float("nan"), float("inf")
    special = mixed[:2300].clone()
    special[5], special[2100], special[2200] = nan, nan, nan
    special[7], special[2110], special[8], special[2111] = inf, inf, -inf, -inf
    low = torch.full((2300,), -inf)
    low[[3, 2299]] = torch.tensor([-16000.0, 2.0])
    many_nan = torch.full((2300,), nan)
    many_nan[4], many_nan[2298] = 1.0, inf
    nans = mixed[:2300].clone()  # the last of the 12 best is a NaN of a later round
    nans[100:111], nans[2250] = nan, nan
    zeros = torch.zeros(2300)
    zeros[1::2] = -0.0
    zeros[::97] = -1.0
    # A list of 4 batches of a selection, which reads it from the end: each ranks above those before, and fills the
    # buffer.
    later = torch.cat([-torch.arange(2048.0), 9000 - torch.arange(4096.0)])
    # The later round has one score above the 100th best, below the 99th. The best is feature 100, whose place it takes.
    between = 2 * torch.randperm(2048, generator=torch.Generator().manual_seed(2)).float()
    between = torch.cat([between, -torch.arange(300.0)])
    # The same within a list: its last keys, of which a selection reads 512 first, have 99 of the best.
    batches = -torch.arange(2048.0)
    batches[1949:] += 5000
    batches[0] = 10
    batches[1600:1700] = 5 - torch.arange(100.0)
    # Rounds grow more slowly for many queries, of which two have something to do.
    ends = torch.zeros(17, 1)
    ends[0], ends[16] = 1.0, -1.0
    between[100], few = 5000, between.clone()
    between[2200], few[2200] = between[:2048].sort().values[-99] - 1, between[:2048].sort().values[-49] - 1
    return [
        *found,
        _order("between", between, 100),
        _order("between/batches", batches, 100),
        topk("topk/between/warps", torch.ones(17, 1), few[:, None], 50, kernels=("topk_select_warp_kernel",)),
        _order("descending/later/k1", later, 1),
        _order("descending/later", later, 100),
        _order("ascending/two_rounds", up, 100),
        _order("ascending/long_round", torch.arange(19000.0), 30),
        topk("topk/ascending/three_rounds", ends, torch.arange(19000.0)[:, None], 30),
        _order("ascending/k1024", torch.arange(9000.0), 1024),
        _order("descending", up.flip(0).contiguous(), 100),
        _order("equal", torch.ones(2300), 100),
        _order("steps", (up / 40).floor(), 130),
        _order("steps_down", -(up / 40).floor(), 130),
        _digits("special", special, 12),
        _digits("special/all", special[:600].contiguous(), 600),
        _digits("nan", many_nan, 12),
        _digits("nan/last", nans, 12),
        _digits("minus_infinity", low, 12),
        _order("zeros", zeros, 1000),
    ]  # fmt: skip


def _distinct(name: str, m: int, n: int, d: int, k: int, seed: int = 10) -> Case:
    """Normal data whose k + 1 best scores of a query differ by more than rounding."""
    while True:
        q, f = normal(m, d, seed=seed), normal(n, d, seed=seed + 1)
        best = (q.double() @ f.double().T).sort(dim=1, descending=True).values[:, : k + 1]
        if (best.diff(dim=1).abs() > 1e-5 * float(q.norm(dim=1).max() * f.norm(dim=1).max())).all():
            return topk(name, q, f, k)
        seed += 2


def _product(tile: str, name: str) -> tuple[str, ...]:
    shape = "1, 8, 1, 4" if tile == "flat" else {"Float32": "2, 2, 4, 4", "Int8": "4, 2, 4, 10"}.get(name, "2, 4, 4, 8")
    return (f"topk_product_kernel<fimo::cuda::TileProduct<fimo::cuda::{name}, {shape}",)


def _spread(case: Case) -> Case:
    """With rows of values apart."""
    case.tensors["values"] = padded(case.tensors["values"], 3, 1)
    return case


def _shapes() -> list[Case]:
    """Every kernel; around the edges of tiles, groups and rounds."""
    found = []
    for dtype, name in TRAITS.items():
        low = dtype.__str__().split(".")[1]
        for tile, m in (("flat", 5), ("wide", 20)):
            most, scaled = (127, True) if dtype == torch.int8 else (3, False)
            q, f = _integers(m, 37, dtype, 2, most), _integers(2310, 37, dtype, 3, most)
            scales = (_scales(m, 6), _scales(2310, 7)) if scaled else None
            found.append(topk(f"topk/{tile}/{low}", q, f, 50, scales, kernels=_product(tile, name)))
            few = (scales[0], scales[1][:300]) if scales else None
            found.append(_spread(topk(f"topk/{tile}/{low}/any_row", padded(q, 3, 1), padded(f[:300], 5, 3), 20, few)))
            found.append(topk(f"topk/{tile}/{low}/words", padded(q, 3, 0), padded(f[:300], 7, 4), 20, few))
        # Few features, many queries: the other way round. Two groups of queries.
        q, f = _integers(1027 if low == "bfloat16" else 40, 9, dtype, 12), _integers(7, 9, dtype, 13)
        scales = (_scales(len(q), 14), _scales(7, 15)) if dtype == torch.int8 else None
        found.append(_spread(topk(f"topk/turned/{low}", q, f, 5, scales, kernels=_product("flat", name))))
        # The depth in parts: wherever there are few tiles.
        for tile, m, n in (("flat", 3, 2060), ("wide", 17, 140), ("turned", 19, 3)):
            depth, n = 64 // dtype.itemsize * 40 + 7, 130 if tile == "flat" and low != "bfloat16" else n
            q, f = _integers(m, depth, dtype, 16), _integers(n, depth, dtype, 17)
            scales = (_scales(m, 18), _scales(n, 19)) if dtype == torch.int8 else None
            kind = "int" if dtype == torch.int8 else "float"
            kernels = (f"topk_filter_kernel<{kind}>",)
            found.append(topk(f"topk/parts/{tile}/{low}", q, f, min(n, 30), scales, kernels=kernels))
    sizes = (
        (1, 1, 1),
        (1, 255, 3),
        (2, 256, 8),
        (15, 257, 17),
        (16, 515, 16),
        (17, 17, 33),
        (17, 16, 9),
        (16, 16, 5),
        (16, 2300, 8),
        (127, 255, 32),
        (128, 256, 31),
        (129, 257, 33),
        (259, 130, 16),
        (20, 2047, 8),
        (21, 2049, 8),
        (3, 2304, 0),
    )
    for m, n, d in sizes:
        q, f = _integers(m, d, torch.bfloat16, 20), _integers(n, d, torch.bfloat16, 21)
        flat = min(m, n) <= 16
        found.append(
            topk(f"topk/sizes/{m}x{n}x{d}", q, f, min(n, 33), kernels=_product("flat" if flat else "wide", "BFloat16"))
        )
    nothing = torch.zeros(0, 5), _integers(19, 5, torch.float32, 9)
    found.append(topk("topk/sizes/0x19x5", *nothing, 4, not_kernels=("",)))
    q, f = _integers(1027, 3, torch.float32, 8), _integers(19, 3, torch.float32, 9)
    found.append(topk("topk/groups", q, f, 4))
    # Short rounds after the first; one query or two at a time, where only exactness cuts the depth.
    q, f = _integers(3, 5, torch.bfloat16, 50), _integers(2900, 5, torch.bfloat16, 51)
    found.append(topk("topk/short_rounds", q, f, 40, piece=1))
    found.append(topk("topk/short_rounds/turned", f[:37].contiguous(), torch.cat([q, q[:1]]), 3, piece=1))
    q, f = _integers(3, 65600, torch.int8, 52), _integers(40, 65600, torch.int8, 53)
    few = (_scales(3, 54), _scales(40, 55))
    found.append(topk("topk/short_groups", q, f, 7, few, piece=4 * 80, kernels=("topk_filter_kernel<int>",)))
    q, f = _integers(1030, 1100, torch.bfloat16, 56), _integers(20, 1100, torch.bfloat16, 57)
    found.append(topk("topk/groups/parts", q, f, 7, kernels=("topk_filter_kernel<float>",), heavy=True))
    # However many features there are, a round has so many that its candidates fit.
    q, f = torch.ones(40, 1), torch.arange(12000.0)[:, None]
    found.append(topk("topk/bounded", q, f, 30, piece=200_000, workspace=900_000, heavy=True))
    # More features than the machine computes in the time of one tile, which are the first round; few enough to be all.
    # A warp a query sorts more than once, and lists in an order in which every key is kept.
    up, mixed = torch.arange(3500.0), torch.randperm(3500, generator=torch.Generator().manual_seed(60)).float()
    for kind, features, k in (("ascending", up, 64), ("descending", up.flip(0), 64), ("equal", 0 * up, 64),
                              ("mixed", mixed, 20), ("block", up, 65)):  # fmt: skip
        q, f = torch.tensor([1.0, -1.0] * 10)[:, None], features[:, None]
        kernels = ("topk_select_warp_kernel" if k <= 64 else "topk_select_kernel<2048>",)
        few = 21 if kind == "equal" else 16  # of each 192 features
        found.append(topk(f"topk/waves/{kind}", q, f, k, kernels=kernels, multiprocessors=few))
    q, f = _integers(20, 5, torch.bfloat16, 61), _integers(3000, 5, torch.bfloat16, 62)
    found.append(topk("topk/waves/one_round", q, f, 33, multiprocessors=12, kernels=("topk_select_warp_kernel",)))
    found.append(_distinct("topk/normal/flat", 3, 200, 40, 10))
    found.append(_distinct("topk/normal/wide", 18, 400, 200, 5, 30))
    return found


def _alone() -> list[Case]:
    """Later rounds with a score above the threshold here and there: alone in its fragment, in each of the four places
    that a lane has, with scores and thresholds of another size in the rows around it, and other scales."""
    found = []
    for dtype, name in TRAITS.items():
        for tile, m in (("flat", 16), ("wide", 70)):
            rows, n, small = torch.arange(m), 2048 + 16 * m, dtype == torch.int8
            size = 1.0 + rows * 5 % 8
            f = torch.zeros(n, m)
            f[:2048] = (torch.arange(2048) % 64)[:, None] / (1 if small else 32)
            # 16 columns apart: of even rows in an even column, of odd rows in an odd one.
            at = 2048 + 16 * rows + rows % 2 + 2 * (rows // 16 % 4)
            f[at, rows] = 127.0 if small else 4.0
            scales = None
            if small:
                columns = torch.full((n,), 1e-3)
                columns[2048:] = 1e-9
                columns[at] = 1e-3
                scales = 100 * 0.25 ** (rows // 8 % 8), columns
            else:
                size *= 0.25 ** (rows // 8 % 8)
            q = torch.diag(size)
            kernels = _product(tile, name)
            found.append(
                topk(f"topk/alone/{tile}/{name.lower()}", q.to(dtype), f.to(dtype), 20, scales, kernels=kernels)
            )
    return found


def _int8_thresholds() -> list[Case]:
    """Scores close to a threshold, and scales whose product is no float32."""
    generator = torch.Generator().manual_seed(30)
    f = torch.randint(-127, 128, (2500, 4), generator=generator).to(torch.int8)
    q = torch.randint(-127, 128, (3, 4), generator=generator).to(torch.int8)
    near = 1.0 + torch.randint(0, 5, (2500,), generator=generator) * 2.0**-23
    line = torch.full((2500, 4), 100, dtype=torch.int8)
    tiny, low = _scales(2500, 31) * 1e-22, _scales(2500, 38) * 1e-7
    up = torch.full((2500,), 1e-3)
    up[::7] = 0.0
    signs = torch.ones(2500)
    signs[torch.randperm(2500, generator=generator)[:1200]] = -1.0
    zeros = torch.zeros((2500, 4), dtype=torch.int8)
    return [
        topk("topk/int8/zeros_of_both_signs", q, zeros, 40, (_scales(3, 36), signs)),
        topk("topk/int8/near", q, f, 40, (_scales(3, 32), near)),
        topk("topk/int8/nearer", torch.full((3, 4), 99, dtype=torch.int8), line, 40, (_scales(3, 33), near)),
        topk("topk/int8/denormal", q, f, 40, (_scales(3, 34) * 1e-21, tiny)),
        topk("topk/int8/zero_scales", q, f, 1000, (_scales(3, 35), up)),
        # Thresholds far below the scales of queries, in tiles of both shapes.
        topk("topk/int8/large_scales", q, f, 40, (1e3 * _scales(3, 37), low)),
        topk("topk/int8/large_scales/wide", torch.cat([q] * 6), f, 40, (1e3 * _scales(18, 37), low)),
        topk("topk/int8/infinity", q, f, 12, (torch.tensor([1e30, 1e20, 1.0]), torch.full((2500,), 1e15))),
    ]  # fmt: skip


def _nan_rows() -> list[Case]:
    """NaN queries and features, in tiles of both shapes, and in the first and in later rounds."""
    found = []
    for tile, m in (("flat", 4), ("wide", 18)):
        q, f = _integers(m, 5, torch.bfloat16, 40), _integers(2400, 5, torch.bfloat16, 41)
        q[1], f[3, 2], f[2399], f[2050, 0] = float("nan"), float("nan"), float("nan"), float("inf")
        q[3, 0] = 1.0
        found.append(topk(f"topk/nan_rows/{tile}", q, f, 9))
    return found


def cases() -> list[Case]:
    return [*_selection(), *_shapes(), *_alone(), *_int8_thresholds(), *_nan_rows()]

"""Cases of topk.

Most data are small integers: their scores are exact in every order of summation, and many are equal.
"""

from __future__ import annotations

import torch
from cases import Case, normal, padded, topk
from torch import Tensor

_FLOATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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
    """The same in bfloat16, of scores to 2^14: no operand of a product is split, so that infinities stay what they are."""
    high = (scores / 64).floor()
    low = torch.where(scores.isfinite(), scores - 64 * high, torch.zeros(()))
    queries = torch.tensor([[64.0, 1.0]], dtype=torch.bfloat16)
    return topk(f"topk/{name}", queries, torch.stack([high, low], 1).bfloat16(), k)


def _selection() -> list[Case]:
    """One query, one coordinate: the scores are the features. Rounds end at 2048 (k > 512: 4096) and 9 times that."""
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
    zeros = torch.zeros(2300)
    zeros[1::2] = -0.0
    zeros[::97] = -1.0
    return [
        *found,
        _order("ascending/two_rounds", up, 100),
        _order("ascending/three_rounds", torch.arange(19000.0), 30),
        _order("ascending/k1024", torch.arange(9000.0), 1024),
        _order("descending", up.flip(0).contiguous(), 100),
        _order("equal", torch.ones(2300), 100),
        _order("steps", (up / 40).floor(), 130),
        _order("steps_down", -(up / 40).floor(), 130),
        _digits("special", special, 12),
        _digits("special/all", special[:600].contiguous(), 600),
        _digits("nan", many_nan, 12),
        _digits("minus_infinity", low, 12),
        _order("zeros", zeros, 1000),
    ]  # fmt: skip


def cases() -> list[Case]:
    found = _selection()
    for name, dtype in _FLOATS.items():
        q, f = _integers(5, 37, dtype, 2), _integers(2310, 37, dtype, 3)
        found.append(topk(f"topk/integers/{name}", q, f, 50))
        found.append(topk(f"topk/padded/{name}", padded(q, 3, 1), padded(f[:300], 5, 3), 20))
    q, f = _integers(5, 70, torch.int8, 4, 127), _integers(2310, 70, torch.int8, 5, 127)
    found.append(topk("topk/int8", q, f, 50, (_scales(5, 6), _scales(2310, 7))))
    found.append(topk("topk/groups", _integers(1027, 3, torch.float32, 8), _integers(9, 3, torch.float32, 9), 4))
    found.append(topk("topk/normal", normal(3, 40, seed=10), normal(200, 40, seed=11), 10))
    return found

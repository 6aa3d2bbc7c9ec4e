# SPDX-License-Identifier: Apache-2.0
"""Sketches of the gradients of embeddings."""

from __future__ import annotations

from typing import Any

import torch
from cases import Case, normal, padded, rows_project

from fimo_fast.ops import reference, sketch_matrices
from fimo_fast.sketch import SJLT, SRHT, Gaussian, Mask, Rademacher, VectorSketch

from . import DTYPES, ELEMENTS, F32

KINDS: dict[str, tuple[type[VectorSketch], str]] = {
    "rademacher": (Rademacher, "rows_dense_kernel<"),
    "gaussian": (Gaussian, "rows_dense_kernel<"),
    "mask": (Mask, "rows_mask_kernel<"),
    "sjlt": (SJLT, "rows_sjlt_kernel<"),
    "srht": (SRHT, "rows_srht_kernel<"),
}


def _tokens(batch: int, tokens: int, dim: int, rows: int, dtype: torch.dtype = F32, *, zero: float = 0.25,
            loose: bool = True, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """index [batch, tokens] below ``rows`` and delta [batch, tokens, dim], of which a share is zero.

    ``loose``: with space between rows, between examples and in front.
    """
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(0, rows, (batch, tokens), generator=generator)
    delta = normal(batch, tokens + 1, dim, dtype=dtype, seed=seed)
    delta[torch.rand(batch, tokens + 1, generator=generator) < zero] = 0
    if loose:
        return padded(index, 2, 1), padded(delta, 3, 1)[:, 1:]
    return index, delta[:, 1:].contiguous()


def _add(found: list[Case], name: str, kind: str, k: int, tokens: tuple[torch.Tensor, torch.Tensor], rows: int,
         offset: int = 0, *, beyond: int = 0, seed: int = 3, nonzeros: int | None = None,
         **more: Any) -> None:  # fmt: skip
    """A case of ``rows`` rows, into an ``out`` that is not zero. ``beyond``: numbers of the input behind them."""
    index, delta = tokens
    sketch, kernel = KINDS[kind]
    options = {"nonzeros": min(k, nonzeros or 4)} if kind == "sjlt" else {}
    made = sketch(offset + rows * delta.shape[2] + beyond, k, seed, **options)
    out = padded(normal(len(delta), k, seed=k), 3, 2)
    more = {"kernels": (kernel,)} | more
    found.append(rows_project(f"rows_project/{kind}_{name}", index, delta, made, offset, out=out, **more))


def _common_cases() -> list[Case]:
    """What every kind must take."""
    found: list[Case] = []
    for kind in KINDS:
        for name, dtype in DTYPES.items():
            _add(found, name, kind, 200, _tokens(3, 21, 70, 30, dtype, seed=1), 30, 37, beyond=5)
            _add(found, f"tight_{name}", kind, 64, _tokens(2, 10, 64, 20, dtype, zero=0, loose=False), 20)
        for dim in (1, 2, 31, 33, 129):
            _add(found, f"dim_{dim}", kind, 33, _tokens(2, 6, dim, 50, seed=dim), 50, 3)
        for k in (1, 2, 127, 129, 513):
            _add(found, f"k_{k}", kind, k, _tokens(2, 5, 40, 60, seed=k), 60)
        _add(found, "one_row", kind, 40, _tokens(2, 40, 35, 1), 1, 11)
        _add(found, "all_zero", kind, 40, _tokens(3, 7, 35, 9, zero=2), 9)
        _add(found, "one_token", kind, 16, _tokens(5, 1, 20, 7), 7)
        # A part of 8 tokens and more; the parts' sums must fit a piece.
        _add(found, "parts", kind, 48, _tokens(2, 50, 20, 25), 25, 5)
        _add(found, "two_parts", kind, 48, _tokens(2, 50, 20, 25), 25, 5, piece=4 * 2 * 48 * 2)
        _add(found, "one_part", kind, 48, _tokens(2, 50, 20, 25), 25, 5, piece=1, not_kernels=("add_parts_",))
        for offset in (2**32 + 5, 2**48 - 40 * 11 - 3):
            _add(found, f"offset_{offset}", kind, 40, _tokens(2, 6, 11, 40), 40, offset, beyond=3)
        found += [_out_of_range(kind, 40), _not_a_number(kind)]
    return found


def _out_of_range(kind: str, k: int, **more: Any) -> Case:
    """The last row that fits, the first that does not, numbers whose product with dim overflows; of a zero delta."""
    index, delta = _tokens(6, 3, 12, 4, zero=0)
    index[0, 2] = 3
    index[1, 0], index[3, 1], index[4, 2], index[5, 2] = 4, -1, 2**62, -(2**63)
    delta[5, 2] = 0
    sketch = KINDS[kind][0](7 + 4 * 12 + 11, k, 3)
    bad = torch.tensor([1, 3, 4, 5])
    out = normal(6, k)
    right = index.clone()
    right[bad] = 0
    exact = reference.rows_project(right, delta.double(), sketch, 7, out.double().clone())
    exact[bad] = float("nan")
    name = f"rows_project/{kind}_out_of_range_{k}"
    return rows_project(name, index, delta, sketch, 7, out=out, exact=exact, **more)


def _not_a_number(kind: str) -> Case:
    """A NaN is no zero, in the last number of a row; an infinity in another example. Others stay as they are."""
    index, delta = _tokens(3, 4, 70, 10, zero=0)
    sketch = KINDS[kind][0](700, 30, 3)
    out = normal(3, 30)
    exact = reference.rows_project(index, delta.double(), sketch, 0, out.double().clone())
    delta[1, 2], delta[2, 3] = 0.0, 0.0
    delta[1, 2, -1] = float("nan")
    delta[2, 3, 69] = float("inf")
    for b, t in ((1, 2), (2, 3)):
        others = delta[b : b + 1].double().nan_to_num(0, 0)
        exact[b] = reference.rows_project(index[b : b + 1], others, sketch, 0, out[b : b + 1].double().clone())[0]
        column = sketch_matrices.sketch_matrix(sketch, int(index[b, t]) * 70 + 69, int(index[b, t]) * 70 + 70)[:, 0]
        exact[b, column != 0] += float(delta[b, t, 69]) * column[column != 0].sign()
    return rows_project(f"rows_project/{kind}_nan", index, delta, sketch, out=out, exact=exact)


def _list_cases() -> list[Case]:
    """The sort: tiles of 256 keys, groups of 16 examples and of 32768 tokens."""
    found: list[Case] = []
    for tokens in (255, 256, 257, 515):
        _add(found, f"tokens_{tokens}", "sjlt", 9, _tokens(2, tokens, 2, 70), 70)
        _add(found, f"tokens_{tokens}", "rademacher", 9, _tokens(2, tokens, 1, 30), 30)
    for batch in (15, 16, 17, 33):
        for kind in ("rademacher", "gaussian"):
            _add(found, f"batch_{batch}", kind, 20, _tokens(batch, 3, 5, 6), 6)
    index, delta = _tokens(2, 300, 1, 12)
    out, index[0, 5] = normal(2, 9), 12
    exact = torch.full((2, 9), float("nan"), dtype=torch.float64)
    sketch = Rademacher(12, 9, 3)
    exact[1] = reference.rows_project(index[1:], delta[1:].double(), sketch, 0, out[1:].double().clone())[0]
    found.append(rows_project("rows_project/early_out_of_range", index, delta, sketch, out=out, exact=exact))
    index, delta = _tokens(2, 70, 70, 12, zero=0)  # every token has one number that is not zero
    delta[:, torch.eye(70) == 0] = -0.0
    _add(found, "one_number", "srht", 40, (index, delta), 12)
    index, delta = _tokens(2, 33000, 1, 5, zero=2)
    delta[0, 32999], delta[1, 7], delta[1, 32000] = 1.0, 2.0, 3.0
    _add(found, "many_tokens", "rademacher", 5, (index, delta), 5, heavy=True)
    return found


def _dense_cases() -> list[Case]:
    found: list[Case] = []
    for kind, name in (("rademacher", "RowsSigns"), ("gaussian", "RowsNormals")):
        for text, dtype in DTYPES.items():
            more = {"kernels": (f"rows_dense_kernel<{ELEMENTS[dtype]}, fimo::cuda::{name}>",)}
            _add(found, f"long_rows_{text}", kind, 140, _tokens(4, 6, 100, 8, dtype), 8, 9, **more)
        _add(found, "tiles", kind, 1100, _tokens(2, 3, 17, 8), 8)
        # Examples of a group share rows; runs of a row go on in the next part.
        _add(found, "shared_rows", kind, 30, _tokens(20, 9, 9, 3), 3, kernels=("add_parts_",))
    return found


def _mask_cases() -> list[Case]:
    found: list[Case] = []
    for batch in (7, 8, 9, 17):
        _add(found, f"batch_{batch}", "mask", 150, _tokens(batch, 6, 5, 40, seed=batch), 40, 3)
    # Outputs in front of the rows, in the stratum in which they begin, and behind them.
    for offset in (50, 99, 100, 101, 290):
        tokens = _tokens(2, 60, 2, 100, zero=0, seed=offset)
        _add(found, f"offset_{offset}", "mask", 300, tokens, 100, offset, beyond=110)
    _add(found, "every_number", "mask", 120, _tokens(3, 50, 6, 20), 20)
    return found


def _sjlt_cases() -> list[Case]:
    found: list[Case] = []
    for nonzeros in (1, 2, 3, 4, 5, 7, 16):
        _add(found, f"nonzeros_{nonzeros}", "sjlt", 50, _tokens(2, 7, 13, 30), 30, 1, nonzeros=nonzeros)
        _add(found, f"one_number_{nonzeros}", "sjlt", 50, _tokens(2, 9, 1, 30), 30, 2, nonzeros=nonzeros)
    _add(found, "most_nonzeros", "sjlt", 2050, _tokens(1, 1, 3, 30, zero=0), 30, 2**40, nonzeros=2048)
    # Chunks of 4096 nonzeros and of fewer, in one part and in several.
    for parts, piece in (("parts", None), ("one_part", 1)):
        more = {} if piece is None else {"piece": piece}
        _add(found, f"chunks_{parts}", "sjlt", 600, _tokens(1, 40, 301, 20), 20, 1, nonzeros=1, **more)
        _add(found, f"short_chunks_{parts}", "sjlt", 7, _tokens(2, 9, 30, 80), 80, 1, nonzeros=2, **more)
    # A last chunk of one Philox block.
    _add(found, "rest", "sjlt", 1, _tokens(1, 5, 1, 30, zero=0), 30, nonzeros=1)
    for k in (1023, 1024, 1025, 16384):
        _add(found, f"outputs_{k}", "sjlt", k, _tokens(2, 5, 50, 4, seed=k), 4, 1, nonzeros=3)
    wide = {"kernels": ("sjlt_wide_kernel<",), "not_kernels": ("rows_sjlt_kernel<",)}
    for name, dtype in DTYPES.items():
        _add(found, f"wide_{name}", "sjlt", 16385, _tokens(2, 5, 13, 4, dtype), 4, 7, beyond=3, **wide)
    _add(found, "wide_nonzeros", "sjlt", 2100, _tokens(2, 2, 2, 1, zero=0), 1, 7, nonzeros=2049, **wide)
    found.append(_out_of_range("sjlt", 16385, **wide))
    return found


def _srht_cases() -> list[Case]:
    found: list[Case] = []
    # Rows in a block, over several, and both; from any coordinate on.
    for k in (4, 32, 100, 128, 256):
        for dim in (1, 10, 128, 300):
            _add(found, f"k_{k}_dim_{dim}", "srht", k, _tokens(2, 9, dim, 20, seed=dim), 20, 77, beyond=1)
    sizes = ((11, 2048, 700), (12, 2049, 300), (12, 4096, 300), (13, 8000, 90), (14, 8193, 90), (14, 16384, 90))
    for bits, k, dim in sizes:
        for name, dtype in DTYPES.items():
            kernel = f"rows_srht_kernel<{ELEMENTS[dtype]}, {bits}>"
            tokens = _tokens(1, 4, dim, 5, dtype, zero=0, seed=k)
            _add(found, f"{k}_{name}", "srht", k, tokens, 5, 2**bits - dim - 50, kernels=(kernel,))
    _add(found, "crowded", "srht", 64, _tokens(2, 60, 2, 40), 40, 30, piece=1)
    # Tokens of one block in different parts, and a row over many blocks behind it.
    _add(found, "parts_of_a_block", "srht", 512, _tokens(2, 40, 5, 60, zero=0), 60, 300, kernels=("add_parts_",))
    _add(found, "parts_of_a_row", "srht", 8, _tokens(2, 40, 100, 4, zero=0), 4, 3, kernels=("add_parts_",))
    long = {"kernels": ("rows_slots_kernel<", "rows_slots_sum_kernel<"), "not_kernels": ("rows_srht_kernel<",)}
    for name, dtype in DTYPES.items():
        _add(found, f"long_{name}", "srht", 32768, _tokens(2, 3, 90, 5, dtype), 5, 2**15 - 200, heavy=True, **long)
    _add(found, "long_not_all_rows", "srht", 16385, _tokens(1, 2, 60, 3, zero=0), 3, 2**40, beyond=2, **long)
    _add(found, "long_border", "srht", 32768, _tokens(1, 1, 2, 1, zero=0), 1, 2**15 - 1, heavy=True, **long)
    tokens = _tokens(1, 4, 60, 3, zero=0)
    _add(found, "long_pieces", "srht", 16391, tokens, 3, 2**15 - 100, piece=4 * 2**15 * 3, heavy=True, **long)
    # A row over two blocks, one at a time.
    _add(
        found,
        "long_block_by_block",
        "srht",
        16391,
        _tokens(1, 1, 60, 1, zero=0),
        1,
        2**15 - 30,
        piece=4 * 2**15,
        **long,
    )
    found.append(_rows_longer_than_blocks(**long))
    found.append(_out_of_range("srht", 16385, heavy=True, **long))
    return found


def _rows_longer_than_blocks(**more: Any) -> Case:
    """Rows over three blocks of 2^15, of few numbers that are not zero."""
    sketch, dim, offset = SRHT(5 + 3 * 70000, 32768, 4), 70000, 5
    index, delta = torch.tensor([[2, 0]]), torch.zeros(1, 2, dim)
    exact = torch.zeros(1, 32768, dtype=torch.float64)
    for t, column in ((0, 0), (0, 33000), (0, 69999), (1, 1), (1, 32767), (1, 68000)):
        delta[0, t, column] = t + 1.5
        at = offset + int(index[0, t]) * dim + column
        exact[0] += (t + 1.5) * sketch_matrices.sketch_matrix(sketch, at, at + 1)[:, 0]
    return rows_project("rows_project/srht_long_rows", index, delta, sketch, offset, exact=exact, heavy=True, **more)


def _empty_cases() -> list[Case]:
    found: list[Case] = []
    for kind in KINDS:
        sketch = KINDS[kind][0](50, 7, 1)
        for shape in ((0, 3, 5), (2, 0, 5)):
            index, delta = torch.zeros(shape[:2], dtype=torch.int64), torch.zeros(shape)
            out = normal(shape[0], 7)
            name = f"rows_project/{kind}_empty_{shape[0]}x{shape[1]}"
            found.append(rows_project(name, index, delta, sketch, 50, out=out, exact=out.double()))
        # Any number of rows without numbers, but none before the first.
        index, out = torch.tensor([[0, 2**60], [3, -1], [1, 2]]), normal(3, 7)
        exact = out.double().clone()
        exact[1] = float("nan")
        name, delta = f"rows_project/{kind}_no_numbers", torch.zeros(3, 2, 0)
        found.append(rows_project(name, index, delta, sketch, 20, out=out, exact=exact))
    return found


def cases() -> list[Case]:
    found = _common_cases() + _list_cases() + _dense_cases() + _mask_cases()
    return found + _sjlt_cases() + _srht_cases() + _empty_cases()

# SPDX-License-Identifier: Apache-2.0
"""Gradients formed from their factors: no op, but the kernels behind several, most of all outer_project."""

from __future__ import annotations

from typing import Any

import torch
from cases import POISON, Case, form_gradients, normal, padded

from . import DTYPES, ELEMENTS, F32


def factors(batch: int, tokens: int, n: int, m: int, dtype: torch.dtype = F32, row_padding: int = 0, lead: int = 0,
             seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """a [batch, tokens, n] and delta [batch, tokens, m]."""
    a = normal(batch, tokens, n, dtype=dtype, seed=2 * seed)
    delta = normal(batch, tokens, m, dtype=dtype, seed=2 * seed + 1)
    if row_padding or lead:
        a, delta = padded(a, row_padding, lead), padded(delta, row_padding, lead)
    return a, delta


def strided(x: torch.Tensor, batch_stride: int) -> torch.Tensor:
    """x with examples ``batch_stride`` apart."""
    batch, tokens, dim = x.shape
    storage = torch.full((batch * batch_stride,), POISON).to(x.dtype)
    view = storage.as_strided(x.shape, (batch_stride, dim, 1))
    view.copy_(x)
    return view


def form_cases() -> list[Case]:
    found: list[Case] = []

    def add(what: str, kernel: str, batch: int, tokens: int, n: int, m: int, begin: int = 0, end: int | None = None,
            dtype: torch.dtype = F32, row_padding: int = 0, lead: int = 0, out_padding: int = 0, out_lead: int = 0,
            **more: Any) -> None:  # fmt: skip
        a, delta = factors(batch, tokens, n, m, dtype, row_padding, lead, seed=len(found))
        cols = (n * m if end is None else end) - begin
        out = padded(torch.full((batch, cols), POISON), out_padding, out_lead)
        found.append(
            form_gradients(f"outer_project/form_{what}", a, delta, begin, end, out=out, kernels=(kernel,), **more)
        )

    few, parts = "form_few_kernel<", "add_parts_kernel<"
    for name, dtype in DTYPES.items():
        element = ELEMENTS[dtype]
        tile64, tile128 = (f"form_tile_kernel<{element}, {size}>" for size in (64, 128))
        add(f"few_{name}", f"{few}{element}, 1>", 2, 1, 48, 40, dtype=dtype)
        add(f"few_tokens2_{name}", f"{few}{element}, 8>", 2, 2, 48, 40, dtype=dtype)
        add(
            f"few_one_unaligned_{name}",
            f"{few}{element}, 1>",
            2,
            1,
            70,
            33,
            5,
            2001,
            dtype=dtype,
            row_padding=1,
            lead=1,
        )
        add(f"few_unaligned_{name}", few + element, 2, 5, 49, 21, dtype=dtype, row_padding=3, lead=1)
        # Four stages deep, the last of them not full.
        add(f"tile64_{name}", tile64, 2, 55, 40, 72, dtype=dtype)
        add(f"tile64_unaligned_{name}", tile64, 2, 52, 39, 67, dtype=dtype, row_padding=1, lead=1)
        add(f"tile128_{name}", tile128, 1, 50, 136, 72, dtype=dtype)
        add(f"tile128_unaligned_{name}", tile128, 1, 34, 133, 70, dtype=dtype, row_padding=2, lead=3)
        add(f"flush_{name}", tile64, 1, 528, 8, 16, dtype=dtype, piece=1, not_kernels=(parts,))
    # Everything is aligned to 16 bytes but one thing: the end of rows, the start, rows, examples, one of the factors.
    for what, row_padding, lead, n, m in (("dim", 1, 0, 39, 43), ("lead", 0, 2, 40, 44), ("rows", 1, 0, 40, 44)):
        add(f"aligned_but_{what}", "form_tile_kernel<float, 64>", 2, 10, n, m, row_padding=row_padding, lead=lead)
    a, delta = factors(2, 10, 40, 44, seed=3)
    for what, one, other in (
        ("examples", strided(a, 402), strided(delta, 442)),
        ("a", padded(a, 1, 0), delta),
        ("delta", a, padded(delta, 1, 0)),
    ):
        found.append(
            form_gradients(f"outer_project/form_aligned_but_{what}", one, other, kernels=("form_tile_kernel<",))
        )
    # Threads in a row: 1, 2, ... 256; rows and columns over the edge of a tile; more than one tile of each.
    add("few_tokens8", few, 2, 8, 36, 18)
    for n, m in ((1, 1), (1, 300), (3, 70), (5, 9), (1027, 3), (1024, 17), (2052, 2), (260, 33)):
        add(f"few_{n}x{m}", few, 1, 2, n, m)
    add("few_many_examples", few, 300, 1, 4, 4)
    # Ranges of entries: whole rows, within one row, cut rows at both ends; 16-byte stores or not.
    for begin, end in ((0, 1), (20, 60), (21, 29), (8, 403), (7, 397), (44, 88), (12, 400), (100, 401)):
        add(f"few_range_{begin}_{end}", few, 2, 3, 20, 21, begin, end)
        add(f"tile_range_{begin}_{end}", "form_tile_kernel<", 2, 9, 20, 21, begin, end)
    for begin, end in ((4, 407), (40, 398)):  # an end within a vector
        add(f"few_end_{end}", few, 2, 3, 20, 21, begin, end, out_padding=-(end - begin) % 4 + 4)
        add(f"tile_end_{end}", "form_tile_kernel<", 2, 9, 20, 21, begin, end, out_padding=-(end - begin) % 4 + 4)
    found.append(form_gradients("outer_project/form_range_empty", *factors(2, 150, 20, 10), 13, 13))
    add("few_range_wide", few, 1, 1, 3000, 2, 1030, 2950)
    add("tile_range_wide", "form_tile_kernel<float, 64>", 1, 9, 300, 2, 67, 290)
    add("few_out", few, 3, 2, 20, 6, out_padding=4)
    add("few_out_unaligned", few, 3, 2, 20, 6, out_padding=5)
    add("few_out_lead", few, 3, 2, 20, 6, out_padding=4, out_lead=2)
    add("tile_out", "form_tile_kernel<", 3, 9, 20, 6, out_padding=4)
    add("tile_out_unaligned", "form_tile_kernel<", 3, 9, 20, 6, out_padding=5)
    add("tile_out_lead", "form_tile_kernel<", 3, 9, 20, 6, out_padding=4, out_lead=1)
    # Tiles: one row or column less and more than a tile, and a second tile.
    for n, m in ((63, 65), (64, 65), (65, 64), (131, 5)):
        add(f"tile64_{n}x{m}", "form_tile_kernel<float, 64>", 1, 17, n, m)
    for n, m in ((127, 129), (129, 127), (128, 66), (65, 257)):
        add(f"tile128_{n}x{m}", "form_tile_kernel<float, 128>", 1, 9, n, m)
    # The edges of stages and parts: parts of 64 tokens begin with 128.
    for tokens in (9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 127):
        add(f"tokens_{tokens}", "form_tile_kernel<", 1, tokens, 8, 8, not_kernels=(parts,))
    for tokens in (128, 131, 200, 321):
        add(f"parts_{tokens}", parts, 2, tokens, 9, 5)
    add("parts_range", parts, 2, 150, 20, 10, 13, 150, out_padding=2)
    add("parts_end", parts, 2, 150, 20, 10, 4, 29, out_padding=3)  # parts that cannot be vectors beside rows that can
    # Vectors or not; a row of threads less, as much, more than a block; rows without gaps, which are one; many parts.
    vectors, no_vectors = "add_parts_kernel<true>", "add_parts_kernel<false>"
    add("parts_padded", vectors, 3, 130, 12, 5, out_padding=4)
    add("parts_padded_unaligned", no_vectors, 3, 130, 12, 5, out_padding=3)
    add("parts_lead", no_vectors, 3, 130, 12, 5, out_padding=4, out_lead=1)
    add("parts_dense", vectors, 3, 130, 13, 4)
    add("parts_dense_odd", no_vectors, 3, 130, 13, 5)
    add("parts_wide", vectors, 2, 128, 36, 29, out_padding=4)
    add("parts_wide_unaligned", no_vectors, 2, 128, 41, 25, out_padding=3)
    add("parts_8", vectors, 1, 9 * 64, 4, 3, not_kernels=("add_parts_sliced",))
    add("parts_9", "add_parts_sliced_kernel", 1, 10 * 64, 4, 3, not_kernels=(parts,))
    return found

# SPDX-License-Identifier: Apache-2.0
"""Sketches of outer products, and the gradients formed for them."""

from __future__ import annotations

import torch
from cases import POISON, Case, form_gradients, normal, padded

FLOAT, BF16, HALF = torch.float32, torch.bfloat16, torch.float16
DTYPES = {"float32": FLOAT, "bfloat16": BF16, "float16": HALF}


def _factors(batch: int, tokens: int, n: int, m: int, dtype: torch.dtype = FLOAT, row_padding: int = 0, lead: int = 0,
             seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """a [batch, tokens, n] and delta [batch, tokens, m]."""
    a = normal(batch, tokens, n, dtype=dtype, seed=2 * seed)
    delta = normal(batch, tokens, m, dtype=dtype, seed=2 * seed + 1)
    if row_padding or lead:
        a, delta = padded(a, row_padding, lead), padded(delta, row_padding, lead)
    return a, delta


def _form_cases() -> list[Case]:
    few, tile64, tile128 = "form_few_kernel<", "form_tile_kernel<{},64>", "form_tile_kernel<{},128>"
    del tile64, tile128
    found = []

    def add(what: str, kernel: str, batch: int, tokens: int, n: int, m: int, begin: int = 0, end: int | None = None,
            dtype: torch.dtype = FLOAT, row_padding: int = 0, lead: int = 0, out_padding: int = 0, out_lead: int = 0) -> None:  # fmt: skip
        a, delta = _factors(batch, tokens, n, m, dtype, row_padding, lead, seed=len(found))
        cols = (n * m if end is None else end) - begin
        out = padded(torch.full((batch, cols), POISON), out_padding, out_lead)
        found.append(form_gradients(f"outer_project/form_{what}", a, delta, begin, end, out=out, kernels=(kernel,)))

    for name, dtype in DTYPES.items():
        add(f"few_{name}", few, 2, 1, 48, 40, dtype=dtype)
        add(f"tile64_{name}", "form_tile_kernel<", 2, 37, 40, 72, dtype=dtype)
        add(f"tile128_{name}", "form_tile_kernel<", 1, 20, 136, 72, dtype=dtype)
    add("few_tokens8", few, 2, 8, 36, 18)
    return found


def cases() -> list[Case]:
    return _form_cases()

# SPDX-License-Identifier: Apache-2.0
"""Sketches of outer products; _form_gradients.py has the cases of those that are formed for them."""

from __future__ import annotations

from typing import Any

import torch
from cases import Case, normal, outer_project, padded

from fimo_fast.sketch import SJLT, SRHT, Composition, Factored, Gaussian, Mask, Rademacher, TensorSketch

from . import BF16, DTYPES, ELEMENTS, F16, F32
from ._form_gradients import factors, form_cases, strided


def _uneven(batch: int, tokens: int, n: int, m: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors with one token more in memory, whose examples are further apart than their tokens."""
    a, delta = factors(batch, tokens + 1, n, m, dtype)
    return a[:, 1:], delta[:, :-1]


def _outer(found: list[Case], what: str, factors: tuple[torch.Tensor, torch.Tensor], sketch: Any, *kernels: str,
           offset: int | None = None, **more: Any) -> None:  # fmt: skip
    """A case that adds to numbers, in rows that lie apart."""
    batch, k = len(factors[0]), sketch.sketch_dim
    out = padded(normal(batch, k, seed=len(found) + 99), 3, 1)
    found.append(outer_project(f"outer_project/{what}", *factors, sketch, offset, out=out, kernels=kernels, **more))


def _mask_cases() -> list[Case]:
    found: list[Case] = []
    for name, dtype in DTYPES.items():
        _outer(found, f"mask_{name}", factors(3, 5, 19, 23, dtype, 2, 1), Mask(19 * 23, 60, 7), "outer_mask_kernel<")
    _outer(found, "mask_one_entry", factors(2, 1, 1, 1), Mask(1, 1, 7))
    _outer(found, "mask_one_output", factors(2, 3, 30, 20), Mask(600, 1, 8))
    _outer(found, "mask_all_outputs", factors(2, 2, 18, 16), Mask(288, 288, 9))  # a second block of threads
    # Outputs that fill 256 bytes: what stores behind them hits the next array.
    _outer(found, "mask_64", factors(2, 1, 18, 16), Mask(288, 64, 9))
    _outer(found, "mask_seed", factors(1, 1, 40, 30), Mask(1200, 257, 2**64 - 1))
    _outer(found, "mask_parts", factors(2, 101, 12, 10), Mask(120, 30, 3), "outer_mask_kernel<", "add_parts_")
    _outer(found, "mask_parts64", factors(1, 64, 12, 10), Mask(120, 30, 3), "add_parts_")
    for offset in (0, 1, 500, 2**33 + 5, 2**47 + 1):
        sketch = Mask(offset + 900, max(300, min(offset // 7, 4000)), 4)
        _outer(found, f"mask_offset_{offset}", factors(2, 2, 30, 20, seed=1), sketch, offset=offset)
    _outer(found, "mask_pieces", factors(2, 2, 18, 16), Mask(288, 100, 9), piece=12 * 37)
    _outer(found, "mask_slice", factors(2, 2, 30, 20, seed=1), Mask(5000, 4000, 4), offset=2000)
    # Many examples: a thread takes several of them, four at a time; of the last group there are fewer.
    one, four = "outer_mask_kernel<float, 1>", "outer_mask_kernel<float, 4>"
    _outer(found, "mask_groups_none", factors(4223, 1, 5, 4), Mask(20, 3, 2), one)
    _outer(found, "mask_groups_4", factors(4226, 2, 5, 4, seed=1), Mask(20, 3, 2), four)
    _outer(
        found, "mask_groups_8", factors(8453, 3, 5, 4, torch.float16), Mask(20, 3, 2), "outer_mask_kernel<__half, 4>"
    )
    _outer(found, "mask_groups_wide", factors(2115, 1, 18, 16, torch.bfloat16, 2), Mask(288, 260, 9),
           "outer_mask_kernel<__nv_bfloat16, 4>")  # fmt: skip
    _outer(found, "mask_slice_between", factors(2, 1, 3, 2, seed=1), Mask(10**6, 50, 4), offset=1000)  # no output
    return found


def _tensor_cases() -> list[Case]:
    found: list[Case] = []
    for name, dtype in DTYPES.items():
        _outer(
            found, f"tensor_{name}", factors(3, 3, 37, 50, dtype, 2, 1), TensorSketch(37, 50, 64, 5), "tensor_kernel<"
        )
        _outer(found, f"tensor_wide_{name}", factors(2, 2, 21, 30, dtype, 2, 1), TensorSketch(21, 30, 16384, 5),
               "tensor_rows_kernel<", "tensor_pass_kernel<16>", "tensor_pass_kernel<2>",
               "tensor_product_kernel")  # fmt: skip
    for k in (1, 2, 4, 8, 16, 32, 128, 256, 512, 1024, 2048, 4096, 8192):
        _outer(found, f"tensor_k{k}", factors(2, 2, 5, 11, seed=k), TensorSketch(5, 11, k, 6), "tensor_kernel<")
    for n, m in ((1, 1), (3, 1), (1, 4), (5, 4097), (1030, 2)):
        _outer(found, f"tensor_{n}x{m}", factors(1, 1, n, m), TensorSketch(n, m, 256, 2**63 + 7))
    for tokens in (4, 7, 8, 9, 40):
        _outer(found, f"tensor_tokens{tokens}", factors(2, tokens, 10, 12), TensorSketch(10, 12, 32, 1))
    for piece in (8, 8 * 16384 * 3, 8 * 16384 * 11):  # one token at a time, some of one example, several examples
        _outer(found, f"tensor_pieces_{piece}", factors(3, 5, 7, 9), TensorSketch(7, 9, 16384, 1), piece=piece)
    # Four examples a block: the last one has one, two parts of the tokens.
    for name, dtype in DTYPES.items():
        _outer(
            found,
            f"tensor_together_{name}",
            factors(1057, 1, 5, 7, dtype, 1, 1),
            TensorSketch(5, 7, 64, 5),
            f"tensor_kernel<{ELEMENTS[dtype]}, 4>",
            heavy=name != "float32",
        )
    together, alone = "tensor_kernel<float, 4>", "tensor_kernel<float, 1>"
    _outer(found, "tensor_together_tokens", factors(1056, 2, 9, 6), TensorSketch(9, 6, 2, 5), together, heavy=True)
    sketch = TensorSketch(1100, 1, 1024, 5)
    _outer(found, "tensor_together_1024", factors(1058, 1, 1100, 1), sketch, together, heavy=True)
    _outer(found, "tensor_not_together", factors(1055, 1, 5, 7), TensorSketch(5, 7, 8, 5), alone, heavy=True)
    sketch = TensorSketch(5, 7, 2048, 5)
    _outer(found, "tensor_not_together_2048", factors(1056, 1, 5, 7), sketch, alone, heavy=True)
    _outer(found, "tensor_chunks", factors(1, 2, 9000, 2), TensorSketch(9000, 2, 64, 1), "tensor_kernel<float, 1>")
    _outer(found, "tensor_crowded", factors(1, 2, 900, 700), TensorSketch(900, 700, 4, 1))
    _outer(found, "tensor_wide_crowded", factors(1, 2, 400, 3), TensorSketch(400, 3, 16384, 1), "tensor_rows_kernel<")
    return found


def _factored_cases() -> list[Case]:
    found: list[Case] = []
    for name, dtype in DTYPES.items():
        sketch = Factored(Mask(40, 9, 1), SJLT(50, 12, 2))
        _outer(found, f"factored_{name}", factors(3, 5, 40, 50, dtype, 2, 1), sketch, "form_few_kernel<float")
        _outer(found, f"factored_uneven_{name}", _uneven(3, 11, 40, 50, dtype), sketch, "even_tokens_kernel<",
               "form_tile_kernel<float, 64>")  # fmt: skip
    _outer(found, "factored_one_token", _uneven(5, 1, 40, 50, F32), Factored(SJLT(40, 7, 1), Rademacher(50, 6, 2)))
    _outer(
        found,
        "factored_one_example",
        factors(1, 9, 40, 50, row_padding=1),
        Factored(SJLT(40, 8, 1), Gaussian(50, 6, 2)),
    )
    _outer(found, "factored_logra", factors(2, 70, 20, 24), Factored(Rademacher(20, 64, 1), Rademacher(24, 64, 2)),
           "form_tile_kernel<float, 64>")  # fmt: skip
    _outer(found, "factored_parts", factors(2, 130, 10, 12), Factored(Mask(10, 5, 1), Mask(12, 4, 2)), "add_parts_")
    for piece in (8, 500, 1000, 2000):  # one token at a time, some, all of one example, of several
        _outer(
            found,
            f"factored_pieces_{piece}",
            _uneven(4, 7, 9, 13, F32),
            Factored(SJLT(9, 5, 1), SJLT(13, 6, 2)),
            piece=piece,
        )
    # Rows of out that take vectors: in registers, in tiles.
    for tokens, kernel in ((3, "form_few_kernel<float, 8>"), (12, "form_tile_kernel<float, 64>")):
        found.append(outer_project(f"outer_project/factored_vectors_{tokens}", *factors(2, tokens, 10, 12),
                                   Factored(SJLT(10, 8, 1), SJLT(12, 7, 2)), out=normal(2, 56, seed=tokens),
                                   kernels=(kernel,)))  # fmt: skip
    _outer(found, "factored_srht", factors(2, 12, 40, 50), Factored(SRHT(40, 16, 1), SRHT(50, 5, 2)))
    return found


def _formed_cases() -> list[Case]:
    found: list[Case] = []
    n, m = 36, 30
    sketches = {"rademacher": Rademacher, "gaussian": Gaussian, "sjlt": SJLT, "srht": SRHT}
    for kind, sketch in sketches.items():
        for name, dtype in DTYPES.items():
            _outer(found, f"formed_{kind}_{name}", factors(3, 3, n, m, dtype), sketch(n * m, 40, 3),
                   "form_few_kernel<" if kind != "srht" else "srht_outer_kernel<11, true>")  # fmt: skip
        for offset in (0, 37, 2**40 + 64):
            _outer(found, f"formed_{kind}_offset_{offset}", factors(2, 10, n, m), sketch(offset + n * m + 9, 33, 3),
                   "form_tile_kernel<", offset=offset)  # fmt: skip
    # Several tiles, several groups of examples, both; tiles of one SRHT block.
    for piece in (256, 1024, 6000):
        _outer(found, f"formed_pieces_{piece}", factors(4, 2, 14, 15), SJLT(210, 8, 1), piece=piece)
        _outer(found, f"formed_pieces_srht_{piece}", factors(4, 2, 14, 15), SRHT(299, 32, 1), offset=39, piece=piece)
    _outer(found, "formed_one_entry", factors(2, 1, 1, 1), SJLT(1, 3, 1, nonzeros=1))
    return found


def _srht_cases() -> list[Case]:
    """SRHTs of a few tokens, whose gradients are not formed."""
    found: list[Case] = []

    def add(what: str, bits: int, batch: int, tokens: int, n: int, m: int, k: int, offset: int | None = None,
            dtype: torch.dtype = F32, row_padding: int = 0, lead: int = 0) -> None:  # fmt: skip
        sketch = SRHT((offset or 0) + n * m + (offset is not None), k, len(found))
        _outer(found, f"srht_{what}", factors(batch, tokens, n, m, dtype, row_padding, lead, seed=len(found)), sketch,
               f"srht_outer_kernel<{bits}, {str(k <= 1024).lower()}>", offset=offset)  # fmt: skip

    for name, dtype in DTYPES.items():
        add(name, 11, 2, 3, 64, 100, 32, dtype=dtype)  # three tiles and a part of one
        add(f"padded_{name}", 11, 2, 2, 60, 111, 40, dtype=dtype, row_padding=4, lead=4)
    # Rows of a that hold many rows of a tile, and the other way round; with and without 16-byte loads.
    for n, m in ((1, 2500), (2, 1300), (4, 1100), (5000, 1), (4100, 2), (49, 99), (50, 100), (2049, 2)):
        add(f"{n}x{m}", 11, 1, 1, n, m, 33)
    for tokens in (1, 2, 8):
        add(f"tokens_{tokens}", 11, 2, tokens, 36, 60, 64)
    for offset in (2, 5, 40, 1000, 2047, 2048, 4092, 2**34 + 4, 2**46 + 4):
        add(f"offset_{offset}", 11, 2, 2, 72, 90, 32, offset=offset)
    add("lead", 11, 2, 2, 36, 120, 32, lead=1)
    add("row_padding", 11, 2, 2, 36, 120, 32, row_padding=2)
    # Three steps of a group.
    add("many_tiles", 11, 1, 1, 128, 160, 32)
    add("many_tiles_unaligned", 11, 1, 1, 129, 160, 32)
    # Aligned to 16 bytes but for what lies between examples, or tokens.
    a, delta = factors(2, 1, 64, 70, seed=5)
    _outer(found, "srht_aligned_but_examples", (strided(a, 65), delta), SRHT(64 * 70, 32, 6), "srht_outer_kernel<11")
    a, delta = factors(1, 2, 64, 70, seed=6)
    _outer(found, "srht_aligned_but_tokens", (padded(a, 1), delta), SRHT(64 * 70, 32, 6), "srht_outer_kernel<11")
    for bits, k in ((11, 2048), (12, 4096)):
        add(f"bits_{bits}", bits, 2, 2, 8, 40, k, offset=2**bits - 100)
    add("bits_12_aligned", 12, 1, 1, 64, 64, 2049)
    _outer(found, "srht_long_blocks", factors(1, 1, 8, 40), SRHT(320, 5000, 1), "form_few_kernel<")
    return found


def _chain_cases() -> list[Case]:
    found: list[Case] = []
    for kind, sketch in (("mask", Mask(30, 9, 1)), ("tensor", TensorSketch(5, 6, 32, 3)), ("sjlt", SJLT(30, 9, 1)),
                         ("factored", Factored(Mask(5, 2, 1), SJLT(6, 4, 2)))):  # fmt: skip
        _outer(found, f"no_tokens_{kind}", factors(2, 0, 5, 6), sketch)
    masks = Factored(Mask(40, 9, 1), Mask(50, 12, 2))
    skips, forms = ("sjlt_products_kernel",), ("form_",)
    factgrass = Composition(masks, SJLT(108, 20, 3))
    _outer(found, "chain_factgrass", factors(3, 5, 40, 50, BF16), factgrass, *skips, not_kernels=forms)
    _outer(found, "chain_factgrass_8", factors(9, 8, 40, 50, F16), factgrass, *skips)
    _outer(found, "chain_factgrass_9", factors(2, 9, 40, 50), factgrass, *forms, not_kernels=skips)
    # Tokens, tables and parts of an input one after the other; coordinates in several chunks, buckets in ranges.
    _outer(found, "chain_factgrass_pieces", factors(6, 3, 40, 50), factgrass, *skips, piece=8 * 21)
    more = Factored(Mask(40, 21, 1), Mask(50, 25, 2))
    chunks, ranges = Composition(more, SJLT(525, 20, 3, nonzeros=2)), Composition(masks, SJLT(108, 4100, 3))
    _outer(found, "chain_factgrass_chunks", factors(5, 1, 40, 50), chunks, *skips)
    _outer(found, "chain_factgrass_chunks_pieces", factors(2, 2, 40, 50), chunks, *skips, piece=2000)
    _outer(found, "chain_factgrass_ranges", factors(5, 1, 40, 50), ranges, *skips)
    _outer(found, "chain_factgrass_wide", factors(2, 1, 40, 50), Composition(masks, SJLT(108, 16385, 3)),
           "sjlt_wide_kernel<", not_kernels=skips)  # fmt: skip
    _outer(
        found,
        "chain_three",
        factors(2, 2, 40, 50),
        Composition(Composition(masks, SJLT(108, 64, 3)), Rademacher(64, 20, 4)),
    )
    four = Composition(Composition(Composition(masks, SJLT(108, 64, 3)), SJLT(64, 40, 5)), Rademacher(40, 20, 4))
    _outer(found, "chain_four", factors(2, 2, 40, 50), four)
    _outer(found, "chain_tensor", factors(2, 2, 40, 50), Composition(TensorSketch(40, 50, 64, 3), Mask(64, 20, 4)))
    _outer(found, "chain_formed", factors(2, 2, 20, 30), Composition(SJLT(600, 64, 3), SJLT(64, 20, 4)))
    chain = Composition(Mask(5000, 4000, 4), SJLT(4000, 50, 5))
    _outer(found, "chain_mask_slice", factors(2, 2, 30, 20), chain, offset=2000)
    _outer(found, "chain_mask_three", factors(2, 2, 30, 20), Composition(chain, Gaussian(50, 7, 1)), offset=4400)
    for piece in (4, 4 * 64 * 2):
        twice = Composition(Composition(Mask(600, 64, 1), SJLT(64, 30, 3)), SJLT(30, 20, 4))
        _outer(found, f"chain_pieces_{piece}", factors(5, 2, 20, 30), twice, piece=piece)
    _outer(
        found, "chain_mask_nothing", factors(2, 1, 3, 2), Composition(Mask(10**6, 50, 4), SJLT(50, 7, 1)), offset=1000
    )
    return found


def cases() -> list[Case]:
    return (
        form_cases()
        + _mask_cases()
        + _tensor_cases()
        + _factored_cases()
        + _formed_cases()
        + _srht_cases()
        + _chain_cases()
    )

"""SJLT of vectors."""

from __future__ import annotations

import torch
from cases import Case, normal, nothing, padded, project

from fimo_fast import SJLT
from fimo_fast.ops import sketch_matrices

from . import ELEMENTS

_PARTS = ("sjlt_table_kernel", "sjlt_kernel<", "add_parts_")
_WIDE = ("sjlt_wide_entries_kernel", "sjlt_wide_scan_kernel", "sjlt_wide_sort_kernel", "sjlt_wide_kernel<")


def _case(name: str, rows: int, dim: int, k: int, nonzeros: int = 1, dtype: torch.dtype = torch.float32, *,
          offset: int = 0, seed: int = 7, row_padding: int = 0, lead: int = 0, **more: object) -> Case:  # fmt: skip
    """Gradients and sums with padding, into an ``out`` that is not zero."""
    grads = padded(normal(rows, dim, dtype=dtype, seed=dim + rows), row_padding, lead)
    out = padded(normal(rows, k, seed=rows + k), row_padding, lead)
    sketch = SJLT(offset + dim, k, seed, nonzeros)
    name = name.replace(", ", "/").replace(" ", "-")
    return project(f"sjlt/{name}", grads, sketch, offset, out=out, **more)


def _nan() -> Case:
    """A NaN and an infinity reach the outputs of their coordinates, and no others."""
    sketch = SJLT(700, 50, 3, 2)
    grads, out = normal(5, 700), torch.zeros(5, 50)
    case = project("sjlt/nan", grads, sketch, out=out)
    matrix = sketch_matrices.sketch_matrix(sketch, 0, 700)
    exact = case.expected["out"][0]
    for row, column, value in ((1, 600, float("nan")), (4, 3, float("inf"))):
        grads[row, column] = value
        hit = matrix[:, column] != 0
        exact[row, hit] = value * matrix[hit, column].sign()
    return case


def cases() -> list[Case]:
    result = [
        _case("one element", 1, 1, 1),
        _case("one output", 3, 40, 1, seed=1),
        _case("one coordinate", 2, 1, 700, offset=5),
        # 569 chunks of 16 in 264 parts: a block adds two or three.
        _case("many chunks", 3, 9100, 1, kernels=_PARTS),
        _case("parts", 5, 5000, 100, row_padding=3, lead=1, kernels=_PARTS),
        # As many groups of rows as blocks run at once: one part, which adds to out itself.
        _case("one part", 1056, 300, 8, 2, not_kernels=("add_parts_",), heavy=True),
        _case("one part, bfloat16", 2112, 150, 4, 1, torch.bfloat16, not_kernels=("add_parts_",), heavy=True),
        _case("uneven blocks", 4, 1000, 1000, 7),
        _case("all outputs", 4, 90, 37, 37),
        _case("full table", 1, 3264, 1024, 5, offset=1, seed=2**64 - 1),
        _case("full rows", 2, 4096, 600, seed=2**63 + 11),
        # Two chunks would have to be longer than shared memory allows.
        _case("long chunks", 2, 8400, 600, kernels=_PARTS),
        _case("far", 2, 500, 64, 3, offset=2**32 + 3, seed=123456789012345),
        _case("farthest", 2, 300, 65, 3, offset=2**48 - 300),
        _case("two ranges", 5, 1200, 4099, 4),
        _case("three ranges, bfloat16", 9, 700, 4100, 3, torch.bfloat16, lead=1),
        _case("widest", 1, 900, 16384, 2, kernels=("sjlt_kernel<",)),
        _case("most nonzeros", 1, 20, 2050, 2048, offset=2**33),
        # Segments of three chunks, of which the last has fewer chunks than parts; of one chunk.
        _case("segments", 3, 3 * 1536 + 100, 100, 3, row_padding=1, lead=1, offset=11, piece=3 * 3280, kernels=_PARTS),
        _case("segments, one chunk", 2, 700, 30, 2, torch.bfloat16, piece=1, not_kernels=("add_parts_",)),
        _nan(),
        _case("wide", 5, 900, 16385, 1, kernels=_WIDE, not_kernels=("sjlt_kernel",)),
        _case("wide, segments", 66, 40, 2100, 2049, kernels=_WIDE),
        _case("wide, ranges", 2, 130, 66000, 2, torch.bfloat16, offset=2**40, row_padding=1, lead=3, kernels=_WIDE),
        _case("wide, float16", 2, 33, 16400, 50, torch.float16, kernels=_WIDE),
    ]
    for dtype, element in ELEMENTS.items():
        rows = 16 // dtype.itemsize
        kernels = (f"sjlt_kernel<{element}>",)
        for count in (rows - 1, rows, 2 * rows + 3):
            name = f"{str(dtype)[6:]}, {count} rows"
            result.append(
                _case(name, count, 2100 + count, 520, 2, dtype, row_padding=5, lead=count % 3, kernels=kernels)
            )
        for k in (511, 512, 513):
            result.append(_case(f"{str(dtype)[6:]}, {k} outputs", 2, 515, k, 1, dtype, offset=k, lead=1))
    return result + nothing("sjlt", SJLT)

"""Sketches of vectors by Mask."""

from __future__ import annotations

from cases import Case, normal, nothing, padded, project

from fimo_fast.ops import sketch_matrices
from fimo_fast.sketch import Mask

from . import ELEMENTS


def cases() -> list[Case]:
    found = []
    far = int(sketch_matrices.mask_coordinates(Mask(2**47 + 11, 50, 9))[0][49])
    for (dtype, cpp), t in zip(ELEMENTS.items(), ("f32", "bf16", "f16"), strict=True):
        kernels = (f"mask_kernel<{cpp}>",)

        def case(
            what, rows, cols, k, offset=0, input_dim=None, seed=1, pad=0, lead=0, dtype=dtype, t=t, kernels=kernels
        ):
            x = padded(normal(rows, cols, dtype=dtype, seed=seed), pad, lead)
            out = padded(normal(rows, k, seed=seed + 1), pad, lead)
            sketch = Mask(input_dim or offset + cols, k, seed)
            name = f"mask/{what}-{t}"
            return project(name, x, sketch, offset, out=out, relative=1e-6 * (sketch.input_dim / k) ** 0.5,
                           kernels=kernels)  # fmt: skip

        found += [
            case("one", 1, 1, 1),
            case("all", 3, 130, 130),
            case("127", 7, 1000, 127, seed=2),
            case("128", 8, 1000, 128, seed=3),
            case("129", 9, 1000, 129, seed=2**50 + 1),
            case("rows-17", 17, 700, 259, pad=3, lead=1),
            case("slice", 5, 400, 300, offset=301, input_dim=1000, pad=1),
            case("slice-end", 2, 333, 100, offset=667, input_dim=1000),
            # The first coordinate is one that is kept, and so is the one behind the last.
            case("slice-picks", 3, 170, 40, offset=12, input_dim=200, seed=3, pad=1),
            case("long-strata", 2, 3000, 7, offset=2**20, input_dim=2**20 + 3000),
            case("far", 3, 1000, 50, offset=far - 300, input_dim=2**47 + 11, seed=9),
        ]
    return found + nothing("mask", Mask)

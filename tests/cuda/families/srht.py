"""Sketches of vectors by SRHT: tiles of 2^11 to 2^14 coordinates, and the passes for other block lengths."""

from __future__ import annotations

import torch
from cases import Case, normal, nothing, padded
from torch import Tensor

from fimo_fast.ops import reference, sketch_matrices
from fimo_fast.ops.sketch_args import to_args
from fimo_fast.sketch import SRHT

from . import BF16, ELEMENTS, F16, F32


def _hadamard(x: Tensor) -> Tensor:
    """The transform of the last dimension."""
    size = x.shape[-1]
    h = 1
    while h < size:
        pairs = x.reshape(*x.shape[:-1], size // (2 * h), 2, h)
        x = torch.stack([pairs[..., 0, :] + pairs[..., 1, :], pairs[..., 0, :] - pairs[..., 1, :]], dim=-2)
        x = x.reshape(*x.shape[:-3], size)
        h *= 2
    return x


def _signs(start: int, count: int, stream: int, seed: int) -> Tensor:
    """Those of `count` blocks of 128 from block `start` on, float64 [count, 128]."""
    words = sketch_matrices.philox(torch.arange(start, start + count), 0, stream, seed)
    bits = (words[:, :, None] >> torch.arange(32)) & 1
    return 1.0 - 2.0 * bits.reshape(count, 128).double()


def exact(grads: Tensor, sketch: SRHT, offset: int) -> Tensor:
    """The sketch in float64, by fast transforms: a matrix would be too large for long blocks."""
    block, k = sketch.block, sketch.sketch_dim
    rows = torch.tensor(sketch_matrices.srht_rows(sketch))
    first, last = offset // block, (offset + grads.shape[1] - 1) // block + 1
    start = first * block
    x = torch.zeros(len(grads), (last - first) * block, dtype=torch.float64)
    x[:, offset - start : offset - start + grads.shape[1]] = grads.double()
    low = start // 128
    signs = _signs(low, (last * block + 127) // 128 - low, sketch_matrices.STREAM_SRHT_IN, sketch.seed).flatten()
    y = _hadamard((x * signs[start - low * 128 :][: x.shape[1]]).reshape(len(grads), last - first, block))[:, :, rows]
    calls = (k + 127) // 128
    out = _signs(first * calls, (last - first) * calls, sketch_matrices.STREAM_SRHT_OUT, sketch.seed)
    return (y * out.reshape(last - first, -1)[:, :k]).sum(1) * k**-0.5


def _case(what: str, grads: Tensor, k: int, *, seed: int = 1, offset: int = 0, input_dim: int | None = None,
          out: Tensor | None = None, **more: object) -> Case:  # fmt: skip
    sketch = SRHT(input_dim or offset + grads.shape[1], k, seed)
    if out is None:
        out = normal(len(grads), k, seed=seed + 77)
    expected = out.double() + exact(grads, sketch, offset)
    kinds, numbers = to_args(sketch)
    finite = torch.where(grads.isfinite(), grads, 0).double()
    scale = float(finite.norm(dim=1).max() + out.abs().max()) or 1.0
    bits = min(max(11, (sketch.block - 1).bit_length()), 14)
    if "kernels" not in more:
        tile = f"srht_kernel<{ELEMENTS[grads.dtype]}, {bits}, {'true' if sketch.block < 2048 else 'false'}>"
        if short := 32 <= sketch.block <= 128 and (grads.shape[1] <= 1024 or len(grads) >= 132 * 16):
            tile = f"srht_short_kernel<{ELEMENTS[grads.dtype]}>"
        more["kernels"] = (tile,) if 32 <= sketch.block <= 16384 else (f"srht_copy_kernel<{ELEMENTS[grads.dtype]}>",)
        more.setdefault("not_kernels", () if short else ("srht_short_kernel<",))
    return Case(f"srht/{what}", "project", {"grads": grads, "out": out}, {"out": (expected, 2e-6 * scale)}, kinds,
                {"sketch": numbers, "offset": [offset]}, **more)  # type: ignore[arg-type]  # fmt: skip


def cases() -> list[Case]:
    found = []
    name = {F32: "f32", BF16: "bf16", F16: "f16"}
    for dtype in (F32, BF16, F16):
        t = name[dtype]
        some = lambda rows, cols, seed=0, dtype=dtype: normal(rows, cols, dtype=dtype, seed=seed)  # noqa: E731
        # Each tile size: all rows kept and not, steps of a group, a last step without a tile for some groups, parts.
        found += [
            _case(f"tile-11-steps-{t}", some(1, 14 * 2048 + 13), 2048),
            _case(f"tile-11-parts-{t}", some(2, 17 * 2048 - 5, 1), 1500, seed=2**40 + 3),
            _case(f"tile-12-steps-{t}", some(1, 6 * 4096 + 1, 2), 4096, seed=5),
            _case(f"tile-12-kept-{t}", some(1, 8 * 4096, 3), 2049, seed=6),
            _case(f"tile-13-steps-{t}", some(1, 3 * 8192 + 8, 4), 5000 if dtype == F16 else 8192, seed=7),
            _case(f"tile-14-steps-{t}", some(1, 2 * 16384 + 32, 5), 16384 if dtype != F16 else 9000, seed=8),
        ]
        # Blocks that share a tile: of every length, kept rows at the edges of words and of random blocks.
        for k in (17, 32, 33, 64, 100, 128, 129, 500, 1023):
            found.append(_case(f"packed-{k}-{t}", some(1, 5000 + k, k), k, seed=k))
        # Short rows: a warp's. Two blocks of threads; ends within a step and a four; across the end of the signs.
        short = [(32, 9, 1024, 0), (17, 3, 129, 5), (33, 1, 127, 128), (64, 2, 515, 130), (127, 8, 1021, 1600)]
        short += [(128, 2, 640, 2044), (65, 1, 3, 2046), (100, 1, 1024, 2**40 + 1028), (64, 2, 1025, 0),
                  (64, 1, 1000, 1280)]  # fmt: skip
        for k, rows, cols, offset in short:
            found.append(_case(f"short-{k}-{cols}-{t}", some(rows, cols, k), k, seed=k + 5, offset=offset))
        found.append(_case(f"short-padded-{t}", padded(some(3, 600, 14), 8, 4), 40, out=padded(normal(3, 40), 5, 3)))
        found.append(_case(f"short-end-{t}", padded(some(3, 25, 16), 7), 64))  # an end within the four of a lane
        found.append(_case(f"short-begin-{t}", padded(some(3, 27, 18), 5, 5), 64, offset=5))  # and a begin
        found.append(_case(f"short-stride-8-{t}", padded(some(3, 512, 15), 2 if dtype == F32 else 4), 64))
        # Slices: offsets that begin inside a tile or not, aligned to 16 bytes or not, far out.
        found += [
            _case(f"offset-aligned-{t}", some(2, 3 * 2048, 6), 2000, offset=2048 * 3 + 16, input_dim=2048 * 9),
            _case(f"offset-odd-{t}", some(1, 2 * 2048 + 1, 7), 256, offset=777, input_dim=9000),
            _case(f"offset-17-{t}", some(1, 6000, 16), 256, offset=17, input_dim=6100),
            _case(f"offset-far-{t}", some(1, 4096, 8), 300, offset=2**47 - 2048 * 3 + 3, input_dim=2**47 + 7),
            _case(f"offset-2^32-{t}", some(1, 2 * 4096, 9), 4096, offset=2**32 - 4096, input_dim=2**33),
            _case(f"padded-{t}", padded(some(3, 4500, 10), 3, 1), 1024, out=padded(normal(3, 1024), 5, 3)),
            _case(f"padded-aligned-{t}", padded(some(3, 4096, 11), 16, 8), 600, out=padded(normal(3, 600), 1, 1)),
            _case(f"stride-8-{t}", padded(some(2, 4096, 13), 2 if dtype == F32 else 4), 2048),
            _case(f"one-{t}", some(1, 1, 12), 64),
        ]
        # Other lengths.
        few = ((1, 130, 0), (2, 65, 3), (3, 300, 1), (7, 300, 250), (16, 500, 2**33 + 5), (13, 4500, 9))
        for k, cols, offset in few:
            found.append(_case(f"passes-{k}-{t}", some(2, cols, k), k, offset=offset, seed=k + 100))
    found += [
        _case("rows-many", normal(401, 300), 140),
        _case("rows-many-short", normal(132 * 16 + 1, 1100), 40, heavy=True),
        _case("rows-few-short", normal(132, 1100), 40),
        _case("passes-parts", normal(1, 5000), 5, seed=3),
        _case("stride-4097", padded(normal(2, 4096, seed=26), 1), 2048),
        # Some rows at a time, some blocks at a time, with and without parts: blocks of 8.
        _case(
            "passes-rows",
            padded(normal(5, 300, seed=21), 1, 1),
            5,
            offset=3,
            piece=16 * 90,
            out=padded(normal(5, 5), 2),
        ),
        _case("passes-blocks", padded(normal(2, 300, seed=22), 1, 1), 7, offset=3, piece=16 * 10),
        _case("passes-rows-parts", normal(3, 1000, seed=23), 5, piece=16 * 250, kernels=("add_parts_",)),
        _case(
            "passes-blocks-parts",
            normal(2, 1000, dtype=F16, seed=24),
            6,
            offset=6,
            piece=16 * 70,
            kernels=("add_parts_",),
        ),
        _case("tile-no-parts", normal(2, 17 * 2048, seed=25), 2048, piece=1, not_kernels=("add_parts_",)),
        _case("passes-32768", normal(1, 40000), 32768),
        # Two chunks of words. With this seed the low word of step 31716 decides about its pick.
        _case("passes-65536-kept", normal(1, 66000), 33000, seed=2),
        _case("passes-20000-kept", normal(1, 30000, dtype=BF16), 20000, seed=2),
        _case("kept-all-but-one", normal(1, 2048), 2047, seed=11),
    ]
    sketch = SRHT(5000, 100, 9)
    x = normal(2, 3000, seed=4)
    assert torch.allclose(exact(x, sketch, 77), reference.project(x.double(), sketch, 77))
    for dtype in (F32, BF16):
        infinite = torch.zeros(1, 4096, dtype=dtype)
        infinite[0, 1234] = -float("inf")
        found.append(_case(f"infinite-{name[dtype]}", infinite, 64, out=torch.zeros(1, 64)))
    big = torch.zeros(1, 4096)
    big[0, 100], big[0, 3000] = float("inf"), float("nan")
    found.append(_case("not-finite", big, 2048, kernels=("srht_kernel<",)))
    return found + nothing("srht", SRHT)

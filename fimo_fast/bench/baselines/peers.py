"""Other libraries, where they are installed: TRAK and dattri for dense and sparse sketches, FAISS for top-k.

None is a dependency. Each is imported when its call is prepared. A missing one raises `Unavailable`.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from ...sketch import VectorSketch
from ..case import Baseline, Call, Inputs, Unavailable

# Both projectors make their matrix anew for every 100 outputs, so two such blocks cost their share of all.
_BLOCK = 100
_OUTPUTS = 2 * _BLOCK
_CUDA_BATCH = 32  # rows for which both make their matrix once: the largest that they take


def imported(module: str, package: str) -> Any:
    """A module of another library; `Unavailable` where it is not installed or cannot be imported."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name == module.split(".")[0]
        raise Unavailable(f"{package} is not installed" if missing else f"{package}: {error}") from error


def trak_cuda_projector(sketch: VectorSketch, kind: str) -> Baseline:
    """TRAK's CUDA kernel, of the package fast_jl; ``kind`` is ``rademacher`` or ``normal``."""

    def prepare(inputs: Inputs) -> Call:
        imported("fast_jl", "fast_jl")
        trak = imported("trak.projectors", "traker")
        return _cuda_projector(trak, "grad_dim", kind, inputs[0], sketch.sketch_dim)

    return Baseline("peer", prepare, only="cuda")


def dattri_cuda_projector(sketch: VectorSketch, kind: str) -> Baseline:
    """The CUDA projector of dattri: for ``sjlt`` the kernel of the package sjlt, else products with a matrix."""

    def prepare(inputs: Inputs) -> Call:
        if kind == "sjlt":
            imported("sjlt", "sjlt")
        dattri = imported("dattri.func.projection", "dattri")
        return _cuda_projector(dattri, "feature_dim", kind, inputs[0], sketch.sketch_dim)

    stored = 0 if kind == "sjlt" else sketch.input_dim * sketch.sketch_dim * 4
    return Baseline("peer", prepare, memory=stored, only="cuda")


def _cuda_projector(library: Any, dim: str, kind: str, grads: Tensor, outputs: int) -> Call:
    sizes = {dim: grads.shape[1], "proj_dim": outputs}
    made = library.CudaProjector(
        **sizes, seed=0, proj_type=library.ProjectionType(kind), device=grads.device, max_batch_size=_CUDA_BATCH
    )
    return lambda: made.project(grads, 0)


def trak_projector(sketch: VectorSketch, kind: str) -> Baseline:
    """TRAK's projector for devices without its CUDA kernel; ``kind`` is ``rademacher`` or ``normal``."""

    def prepare(inputs: Inputs) -> Call:
        trak = imported("trak.projectors", "traker")
        return _basic_projector(trak.BasicProjector, "grad_dim", trak.ProjectionType(kind), inputs[0], outputs)

    outputs = min(sketch.sketch_dim, _OUTPUTS)
    return Baseline("peer", prepare, outputs / sketch.sketch_dim, sketch.input_dim * _BLOCK * 4)


def dattri_projector(sketch: VectorSketch, kind: str) -> Baseline:
    """The CPU projector of dattri; ``kind`` is ``rademacher`` or ``normal``."""

    def prepare(inputs: Inputs) -> Call:
        dattri = imported("dattri.func.projection", "dattri")
        return _basic_projector(dattri.BasicProjector, "feature_dim", dattri.ProjectionType(kind), inputs[0], outputs)

    outputs = min(sketch.sketch_dim, _OUTPUTS)
    return Baseline("peer", prepare, outputs / sketch.sketch_dim, sketch.input_dim * _BLOCK * 4)


def _basic_projector(projector: Any, dim: str, kind: Any, grads: Tensor, outputs: int) -> Call:
    sizes = {dim: grads.shape[1], "proj_dim": outputs}
    made = projector(**sizes, seed=0, proj_type=kind, device=grads.device, block_size=_BLOCK, dtype=torch.float32)
    return lambda: made.project(grads, 0)


def faiss_index(index: str, k: int, numbers: int) -> Baseline:
    """FAISS's exhaustive search by inner product.

    Args:
        index: ``IndexFlatIP``, or a type of `faiss.ScalarQuantizer` such as ``QT_8bit``.
        k: neighbours.
        numbers: in the features; they are held as float32 and in the index.
    """

    def prepare(inputs: Inputs) -> Call:
        faiss = imported("faiss", "faiss")
        queries, features = (x.float().cpu().numpy() for x in inputs[:2])  # of int8: without scales, the same work
        faiss.omp_set_num_threads(torch.get_num_threads())
        dim = features.shape[1]
        if index == "IndexFlatIP":
            made = faiss.IndexFlatIP(dim)
        else:
            made = faiss.IndexScalarQuantizer(dim, getattr(faiss.ScalarQuantizer, index), faiss.METRIC_INNER_PRODUCT)
            made.train(features)
        made.add(features)
        return lambda: made.search(queries, k)

    return Baseline("peer", prepare, memory=8 * numbers, only="cpu")

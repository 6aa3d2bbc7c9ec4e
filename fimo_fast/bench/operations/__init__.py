"""The cases of each operation: inputs, the kernel's call, its check, the least work, and what it is compared with.

May import: what its package may, baselines, case, peak.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch

from ..case import Case
from . import outer, outer_project, overhead, project, rows_project, scores

_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Operation:
    """The cases of one operation.

    Attributes:
        cases: (dtypes, full) to cases.
        default: dtypes where none are asked for.
        supported: dtypes that can be.
    """

    cases: Callable[[tuple[torch.dtype, ...], bool], Iterable[Case]]
    default: tuple[torch.dtype, ...] = (torch.float32,)
    supported: tuple[torch.dtype, ...] = _FLOATS


OPERATIONS = {
    "project": Operation(project.cases),
    "outer_project": Operation(outer_project.cases),
    "rows_project": Operation(rows_project.cases),
    "outer_dot": Operation(outer.dot_cases),
    "outer_norm2": Operation(outer.norm_cases),
    "scores": Operation(scores.scores_cases, (torch.float32, torch.bfloat16, torch.int8), (*_FLOATS, torch.int8)),
    "topk": Operation(scores.topk_cases, (torch.float32, torch.bfloat16, torch.int8), (*_FLOATS, torch.int8)),
    "overhead": Operation(overhead.cases),
}


def cases(operation: str, dtypes: tuple[torch.dtype, ...] = (), full: bool = False) -> Iterator[Case]:
    """The cases of an operation.

    Args:
        operation: a key of ``OPERATIONS``.
        dtypes: only these, where the operation has them; empty: its default ones.
        full: all sizes of the tables in the documentation, not only those that take seconds.
    """
    found = OPERATIONS[operation]
    yield from found.cases(tuple(d for d in dtypes if d in found.supported) if dtypes else found.default, full)

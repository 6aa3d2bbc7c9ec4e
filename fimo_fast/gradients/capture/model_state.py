"""The state of a model while its gradients are taken, and how what it was before is restored."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Set
from contextlib import contextmanager, nullcontext

import torch

from ...problem import Problem
from ...problem.functional_call import unfused


@contextmanager
def as_captured(problem: Problem, captured: Set[str]) -> Iterator[None]:
    """The model with gradients for these parameters only, and without fused or compiled calls that hooks cannot see.

    Afterwards, also after an exception, flags, buffers and settings are what they were.
    """
    model = problem.model
    names = {id(p): name for name, p in model.named_parameters()}
    flags = [(p, p.requires_grad) for p in model.parameters()]
    buffers = [(b, b._version, b.clone()) for b in model.buffers()]
    # Where nothing was compiled the compiler need not be imported, which takes a second and 100 MB.
    compiled = "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance")
    stance = torch.compiler.set_stance("force_eager") if compiled else nullcontext()
    try:
        for p, was in flags:
            if was != (names[id(p)] in captured):
                p.requires_grad_(not was)
        with unfused(), stance:
            yield
    finally:
        for p, was in flags:
            if p.requires_grad != was:
                p.requires_grad_(was)
        with torch.no_grad():
            for buffer, version, before in buffers:
                if buffer._version != version:
                    buffer.copy_(before)

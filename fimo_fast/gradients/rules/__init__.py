"""How each kind of layer turns one call, (inputs, δ), into pieces of its parameters' per-example gradients.

One short file a layer, which registers itself::

    @rule(nn.Linear)
    def linear(call: Call) -> Pieces:
        ...
        yield "weight", Outer(a, delta)

A rule holds for modules whose ``forward`` is that of the type it names, so a subclass that computes something else does
not match, and whose parameters are their own (no reparametrisation). Every use of a rule is compared with plain
differentiation on a few examples before it is trusted (`fimo_fast.gradients.plan`).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..layout import CallLayout
from ..pieces import Piece

Pieces = Iterator[tuple[str, Piece]]


@dataclass(frozen=True)
class Call:
    """One call of a module, with its examples on the first axis.

    Attributes:
        module: The module.
        inputs: The first tensor it was given, [batch, ...]. Where the layer saw batch and other axes as one
            ([batch · c, ...], as after ``x.view(-1, width)``), they are apart: [batch, c, ...].
        delta: The gradient of the summed quantity by the module's first output, [batch, ...], apart likewise.
        wanted: The parameters to give pieces of, by their names in the module.
        args: All positional arguments, as they came.
        kwargs: All others.
        deltas: The gradients by all leaves of the output, as they came; None for one that is no tensor or was not used.
        batch: How many examples.
        layout: Where they are in each of these.
        autocast: Device, type and whether autocast was on, at the time of the call.
    """

    module: nn.Module
    inputs: Tensor
    delta: Tensor
    wanted: frozenset[str]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    deltas: Sequence[Tensor | None]
    batch: int = 0
    layout: CallLayout | None = None
    autocast: tuple[str, torch.dtype, bool] = ("cpu", torch.bfloat16, False)


Rule = Callable[[Call], Pieces]


@dataclass(frozen=True)
class _Entry:
    rule: Rule
    kind: type[nn.Module] | str
    descendants: bool

    def matches(self, module: nn.Module) -> bool:
        if isinstance(self.kind, str):
            return type(module).__name__ == self.kind
        return isinstance(module, self.kind) and type(module).forward is self.kind.forward


_ENTRIES: list[_Entry] = []


def rule(*kinds: type[nn.Module] | str, descendants: bool = False) -> Callable[[Rule], Rule]:
    """Registers a rule.

    Args:
        kinds: Module types, or the class name of a module that this package does not import (transformers').
        descendants: Whether the rule also gives the gradients of parameters of modules inside the module.
    """

    def register(function: Rule) -> Rule:
        _ENTRIES.extend(_Entry(function, kind, descendants) for kind in kinds)
        return function

    return register


def find(module: nn.Module) -> tuple[Rule, frozenset[str]] | None:
    """The rule of a module and the names, in the module, of the parameters it covers; None without one."""
    for entry in _ENTRIES:
        if entry.matches(module):
            covered = frozenset(name for name, _ in module.named_parameters(recurse=entry.descendants))
            return entry.rule, covered
    return None


for _, _name, _ in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_name}")

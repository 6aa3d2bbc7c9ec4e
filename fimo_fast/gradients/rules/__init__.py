"""How each kind of layer turns one call, (inputs, δ), into terms of its parameters' per-example gradients.

One short file a layer, which registers itself::

    @rule(nn.Linear)
    def linear(call: Call) -> Terms:
        ...
        yield "weight", Outer(a, delta)

A rule holds for modules whose ``forward`` is that of the type it names, so a subclass that computes something else does
not match, and whose parameters are their own (no reparametrisation). Modules of packages that are not imported here are
named by a pattern of their class. Every use of a rule is compared with plain differentiation on a few examples before
it is trusted (`fimo_fast.gradients.capture.plan`), so a class that only has the name of another does no harm.

May import: what its package may, terms, batch_axis.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from ..batch_axis import CallAxes
from ..terms import Term

Terms = Iterator[tuple[str, Term]]


@dataclass(frozen=True)
class Call:
    """One call of a module, with its examples on the first axis.

    Attributes:
        module: The module, of a type that the rule names.
        inputs: The first tensor it was given, [batch, ...]. Where the layer saw batch and other axes as one
            ([batch · c, ...], as after ``x.view(-1, width)``), they are apart: [batch, c, ...].
        delta: The gradient of the summed quantity by the module's first output, [batch, ...], apart likewise.
        wanted: The parameters to give terms of, by their names in the module.
        args: All positional arguments, as they came.
        kwargs: All others.
        deltas: The gradients by all leaves of the output, as they came; None for one that is no tensor or was not used.
        batch: How many examples.
        axes: Where they are in each of these.
        autocast: Device, type and whether autocast was on, at the time of the call.
    """

    module: Any
    inputs: Tensor
    delta: Tensor
    wanted: frozenset[str]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    deltas: Sequence[Tensor | None]
    batch: int
    axes: CallAxes
    autocast: tuple[str, torch.dtype, bool]

    def as_seen(self) -> tuple[Tensor, Tensor]:
        """``inputs`` and ``delta`` with batch and other axes as one, as the layer saw them: [batch · c, ...].

        Both are in the type of ``delta``, in which autocast computed.
        """
        raw = next(value for value in (*self.args, *self.kwargs.values()) if isinstance(value, Tensor))
        apart = max(0, self.inputs.dim() - raw.dim())
        return self.inputs.flatten(0, apart).to(self.delta.dtype), self.delta.flatten(0, apart)

    def summed(self, value: Tensor) -> Tensor:
        """[batch · c, width] summed over c: [batch, width]."""
        batch = len(self.inputs)
        return value if len(value) == batch else value.unflatten(0, (batch, -1)).sum(1)


Rule = Callable[[Call], Terms]


@dataclass(frozen=True)
class _Entry:
    rule: Rule
    kind: type[nn.Module] | str
    descendants: bool
    when: Callable[[Any], bool]

    def matches(self, module: nn.Module) -> bool:
        if isinstance(self.kind, str):
            named = fnmatchcase(type(module).__name__, self.kind)
        else:
            named = isinstance(module, self.kind) and type(module).forward is self.kind.forward
        return named and self.when(module)


_ENTRIES: list[_Entry] = []


def rule(
    *kinds: type[nn.Module] | str, descendants: bool = False, when: Callable[[Any], bool] = lambda module: True
) -> Callable[[Rule], Rule]:
    """Registers a rule.

    Args:
        kinds: Module types, or patterns (``"*RMSNorm"``) of the class names of modules that this package does not
            import (transformers').
        descendants: Whether the rule also gives the gradients of parameters of modules inside the module.
        when: Says of a module of these kinds whether its settings are such that the rule holds.
    """

    def register(function: Rule) -> Rule:
        _ENTRIES.extend(_Entry(function, kind, descendants, when) for kind in kinds)
        return function

    return register


def count() -> int:
    """How many rules there are: part of what a model's plan is kept for."""
    return len(_ENTRIES)


def find(module: nn.Module) -> tuple[Rule, frozenset[str]] | None:
    """The rule of a module and the names, in the module, of the parameters it covers; None without one."""
    for entry in _ENTRIES:
        if entry.matches(module):
            covered = frozenset(name for name, _ in module.named_parameters(recurse=entry.descendants))
            return entry.rule, covered
    return None


for _found in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_found.name}")

"""One forward and one backward pass with hooks, which hand over each layer's terms of per-example gradients.

The gradient of a layer's parameters needs its inputs and the gradient δ by its outputs. Hooks keep the inputs until the
backward pass brings δ; then the layer's rule makes terms of both, the caller takes them, and both are freed. No weight
gradient is computed in it, so the pass itself costs less than a step of training.

Inside a captured call the parameters are replaced by detached ones: whatever gradient still reaches the parameters
themselves comes from a use that no hook saw, and is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from ...problem import Examples, Problem
from ..batch_axis import CallAxes, leaves_of
from ..rules import Call, Terms
from ..terms import Dense, Outer, Term
from .model_state import as_captured
from .row_check import RowCheck
from .tap import Tap

Receive = Callable[[str, Term], None]


@dataclass(frozen=True)
class Site:
    """A module with forward hooks, whose calls are captured.

    Attributes:
        name: The module's name in the model.
        module: The module.
        parameters: {name in the module: name of the parameter in the problem}.
        give: The rule.
        calls: Axes of its calls on the first examples.
        path: What ``paths`` says of its parameters.
        is_layer: Whether it is a layer that makes one new tensor; else it may hold others, or give its inputs back.
    """

    name: str
    module: nn.Module
    parameters: dict[str, str]
    give: Callable[[Call], Terms]
    calls: list[CallAxes]
    path: str
    is_layer: bool

    def axes(self, number: int) -> CallAxes:
        """Of the call with this number."""
        if all(call == self.calls[0] for call in self.calls[1:]):
            return self.calls[0]
        if number >= len(self.calls):
            raise UnlikeTrial([self], f"more often than the {len(self.calls)} times")
        return self.calls[number]


class UnlikeTrial(Exception):
    """Modules are called unlike on the first examples."""

    def __init__(self, sites: Sequence[Site], how: str) -> None:
        names = ", ".join(sorted({site.name for site in sites}))
        super().__init__(f"gradients: {names} was called {how} of the first examples")
        self.sites = sites


def capture(
    problem: Problem,
    sites: Sequence[Site],
    batch: Examples,
    of: str,
    receive: Receive,
    tokens: int | None = None,
    verify: bool = False,
) -> set[str]:
    """Gives ``receive(parameter name, term)`` every term of the sites' parameters' gradients.

    Args:
        problem: Model, loss and parameters.
        sites: Which modules.
        batch: The examples.
        of: ``"loss"`` or ``"output"``.
        receive: Called during the backward pass.
        tokens: Length of the sequences, to have each token as an example of its own wherever a layer knows them apart.
        verify: Whether to make sure that each row of each layer is of the example whose place it has, by one more
            backward pass, of a loss with another weight for each example. ``receive`` is then called after both.

    Returns:
        Parameters of the sites that were also used outside them; empty if the terms are all there is.

    Raises:
        UnlikeTrial: A call unlike those of the trial; nothing was handed over yet.
        RuntimeError: An input changed in place after the call, or reentrant gradient checkpointing.
    """
    read = problem.quantity(of)
    verify = verify and len(batch) > 1
    held: list[tuple[str, Term]] = []
    take: Receive = (lambda name, term: held.append((name, term))) if verify else receive
    captured = {full for site in sites for full in site.parameters.values()}
    with ExitStack() as stack:
        stack.enter_context(as_captured(problem, captured))
        recorder = stack.enter_context(_Recorder(sites, len(batch), tokens, problem.device, take))
        stack.enter_context(torch.enable_grad())
        values = read(problem.call(batch.inputs), batch.targets)
        total = values.sum()
        recorder.forward = False
        own = {name: p for name, p in problem.model.named_parameters() if name in captured}
        if not total.requires_grad:  # nothing selected takes part in this quantity
            return set()
        try:
            if verify:
                recorder.row_check = row_check = RowCheck(len(batch), values)
                weighted = (values * row_check.weights).sum()
                torch.autograd.grad(weighted, recorder.anchor, retain_graph=True, allow_unused=True)
                row_check.weighing = False
            _, *grads = torch.autograd.grad(total, [recorder.anchor, *own.values()], allow_unused=True)
        except RuntimeError as error:
            if "use_reentrant" in str(error):
                raise RuntimeError(
                    "model: expected gradient checkpointing with use_reentrant=False, got the reentrant kind, which "
                    "has no gradients of inner tensors; switch it over or off"
                ) from error
            raise
    if recorder.misplaced:
        raise UnlikeTrial(recorder.misplaced, "with the examples in other places than those")
    for name, term in held:
        receive(name, term)
    return {name for name, grad in zip(own, grads, strict=True) if grad is not None}


class _Recorder:
    """The hooks of one pass."""

    def __init__(
        self, sites: Sequence[Site], batch: int, tokens: int | None, device: torch.device, receive: Receive
    ) -> None:
        self.batch = batch
        self.tokens = tokens
        self.receive = receive
        # What every tapped output depends on, so that a backward pass to it alone visits all taps and no weight.
        self.anchor = torch.zeros((), device=device, requires_grad=True)
        self.forward = True
        self.replaying = False
        self._numbers = dict.fromkeys((site.name for site in sites), 0)
        self._replaced: list[tuple[dict[str, Any], str, Any]] = []
        self._marks: list[int] = []
        self._sites = sites
        self._handles: list[Any] = []
        self.row_check: RowCheck | None = None
        self.misplaced: list[Site] = []

    def __enter__(self) -> _Recorder:
        for site in self._sites:
            before, after = self._hooks(site)
            # First, so that a hook that computes a weight from parameters computes it from the detached ones.
            self._handles.append(site.module.register_forward_pre_hook(before, prepend=True))
            self._handles.append(site.module.register_forward_hook(after, with_kwargs=True, always_call=True))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._restore(0)

    def _restore(self, mark: int) -> None:
        while len(self._replaced) > mark:
            parameters, leaf, was = self._replaced.pop()
            parameters[leaf] = was

    def _hooks(self, site: Site) -> tuple[Callable[..., None], Callable[..., Any]]:
        split = [name.rpartition(".") for name in site.parameters]
        owners = [(site.module.get_submodule(path)._parameters, leaf) for path, _, leaf in split]

        def before(*_: Any) -> None:
            if self.replaying:
                return
            self._marks.append(len(self._replaced))
            for parameters, leaf in owners:
                was: Any = parameters[leaf]
                self._replaced.append((parameters, leaf, was))
                parameters[leaf] = was.detach()

        def after(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            if self.replaying:
                return None
            self._restore(self._marks.pop())
            # Without gradients nothing is learnt here.
            if output is None or not torch.is_grad_enabled():
                return None
            # In a backward pass, checkpointing calls again what was recorded: it must save the same tensors again.
            if not self.forward:
                return self._tapped(site, 0, args, kwargs, output)
            number = self._numbers[site.name]
            self._numbers[site.name] += 1
            return self._tapped(site, number, args, kwargs, output)

        return before, after

    def _tapped(self, site: Site, number: int, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """The output of a call with its tensors behind a `Tap`."""
        axes = site.axes(number)
        leaves, spec = tree_flatten(output)
        inputs = leaves_of(args, kwargs)
        if not axes.fits(inputs, leaves, self.batch, site.is_layer):
            raise UnlikeTrial([site], "with tensors of other forms than those")
        floating = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
        if not floating:
            return None
        versions = [(leaf, leaf._version) for leaf in inputs if isinstance(leaf, Tensor)]
        device = self.anchor.device.type
        autocast = (device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))

        def receive(deltas: Sequence[Tensor | None]) -> bool:
            if self.row_check and self.row_check.weighing:
                self.row_check.weighed((site.name, number), places, deltas)
                return False
            if self.row_check and not self.row_check.holds((site.name, number), places, deltas):
                self.misplaced.append(site)
            if all(delta is None for delta in deltas):
                return True
            if any(leaf._version != version for leaf, version in versions):
                raise RuntimeError(
                    f"gradients: an input of {site.name} was changed in place after the call, so its gradient is lost"
                )
            by_leaf: list[Tensor | None] = [None] * len(leaves)
            for i, delta in zip(floating, deltas, strict=True):
                by_leaf[i] = delta
            x, delta = self._by_example(site, axes, inputs, by_leaf)
            wanted = frozenset(site.parameters)
            self._give(site, Call(site.module, x, delta, wanted, args, kwargs, by_leaf, self.batch, axes, autocast))
            return True

        places = [axes.outputs[i] for i in floating]
        expand = [
            bool(place and place.broadcast and len(leaves[i]) == 1) for i, place in zip(floating, places, strict=True)
        ]
        own = {id(leaf) for leaf in inputs if isinstance(leaf, Tensor)}
        in_place = [site.is_layer and id(leaves[i]) not in own and _may_be_changed(leaves[i]) for i in floating]
        taps = Tap.apply(receive, expand, in_place, self.batch, self.anchor, *(leaves[i] for i in floating))
        for i, tap in zip(floating, taps, strict=True):
            leaves[i] = tap
        return tree_unflatten(leaves, spec)

    def _by_example(
        self, site: Site, axes: CallAxes, inputs: Sequence[Any], deltas: Sequence[Tensor | None]
    ) -> tuple[Any, Any]:
        """The first input and the first output's gradient with the examples (or tokens) first; None for other sites."""
        if not site.is_layer or deltas[0] is None:
            return None, None
        first = next(i for i, leaf in enumerate(inputs) if isinstance(leaf, Tensor))
        of_input, of_output = axes.inputs[first], axes.outputs[0]
        assert of_input and of_output
        x = of_input.batch_first(inputs[first].detach(), self.batch)
        delta = of_output.batch_first(deltas[0], self.batch)
        by_token = self.tokens is not None and x.dim() > 1 and x.shape[1] == delta.shape[1] == self.tokens
        return (x.flatten(0, 1), delta.flatten(0, 1)) if by_token else (x, delta)

    def _give(self, site: Site, call: Call) -> None:
        self.replaying = True
        try:
            with torch.no_grad(), torch.autocast(self.anchor.device.type, enabled=False):
                for leaf, term in site.give(call):
                    if isinstance(term, (Outer, Dense)) and term.partner:
                        term = replace(term, partner=site.parameters[term.partner])
                    self.receive(site.parameters[leaf], term)
        finally:
            self.replaying = False


def _may_be_changed(output: Tensor) -> bool:
    """Whether it can be tapped where it lies: no other tensor has its memory, no hook made a leaf of it."""
    return not output._is_view() and not (output.is_leaf and output.requires_grad)

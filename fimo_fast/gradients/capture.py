"""One forward and one backward pass that hand each layer's pieces of per-example gradients over, and keep none.

The gradient of a layer's parameters needs its inputs and the gradient δ by its outputs. Hooks keep the inputs until the
backward pass brings δ; then the layer's rule makes pieces of both, the caller takes them, and both are freed. No weight
gradient is computed on the way, so the pass costs less than that of training.

Inside a captured call the parameters are replaced by detached ones: whatever gradient still reaches the parameters
themselves comes from a use that no hook saw, and is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from ..data import Examples
from ..problem import Problem
from .functional import reader_of_output
from .layout import CallLayout, leaves_of
from .pieces import Piece
from .rules import Call, Pieces
from .state import as_captured

Receive = Callable[[str, Piece], None]


@dataclass(frozen=True)
class Site:
    """A module whose calls are captured.

    Attributes:
        name: The module's name in the model.
        module: The module.
        parameters: {name in the module: name of the parameter in the problem}.
        give: The rule.
        calls: Layouts of its calls on the first examples.
        path: What ``paths`` says of its parameters.
        whole: Whether the module may contain other sites and give its inputs back, as a rule's layers do not.
    """

    name: str
    module: nn.Module
    parameters: dict[str, str]
    give: Callable[[Call], Pieces]
    calls: list[CallLayout]
    path: str
    whole: bool = False

    def layout(self, number: int) -> CallLayout:
        """Of the call with this number."""
        if all(call == self.calls[0] for call in self.calls[1:]):
            return self.calls[0]
        if number >= len(self.calls):
            raise RuntimeError(
                f"gradients: {self.name} was called more often than on the first examples ({len(self.calls)} times)"
            )
        return self.calls[number]


def capture(problem: Problem, sites: Sequence[Site], batch: Examples, of: str, receive: Receive) -> set[str]:
    """Gives ``receive(parameter name, piece)`` every piece of the sites' parameters' gradients.

    Args:
        problem: Model, loss and parameters.
        sites: Which modules.
        batch: The examples.
        of: ``"loss"`` or ``"output"``.
        receive: Called during the backward pass.

    Returns:
        Parameters of the sites that were also used outside them; empty if the pieces are all there is.

    Raises:
        RuntimeError: A call unlike those of the trial, an input changed in place after the call, or reentrant gradient
            checkpointing.
    """
    read = reader_of_output(problem, of)
    captured = {full for site in sites for full in site.parameters.values()}
    with ExitStack() as stack:
        stack.enter_context(as_captured(problem, captured))
        recorder = stack.enter_context(_Recorder(sites, len(batch), problem.device, receive))
        stack.enter_context(torch.enable_grad())
        output = problem.call(batch.inputs)
        recorder.forward = False
        total = read(output, batch.targets).sum()
        del output
        outside = {name: p for name, p in problem.model.named_parameters() if name in captured}
        if not total.requires_grad:  # nothing selected takes part in this quantity
            return set()
        try:
            _, *grads = torch.autograd.grad(total, [recorder.anchor, *outside.values()], allow_unused=True)
        except RuntimeError as error:
            if "Checkpointing is not compatible with .grad()" in str(error) or "use_reentrant" in str(error):
                raise RuntimeError(
                    "model: expected gradient checkpointing with use_reentrant=False, got the reentrant kind, which "
                    "supports no gradients by inner tensors; switch it over or off"
                ) from error
            raise
    return {name for name, grad in zip(outside, grads, strict=True) if grad is not None}


class _Recorder:
    """The hooks of one pass."""

    def __init__(self, sites: Sequence[Site], batch: int, device: torch.device, receive: Receive) -> None:
        self.batch = batch
        self.receive = receive
        self.anchor = torch.zeros((), device=device, requires_grad=True)
        self.forward = True
        self.replaying = False
        self._numbers = dict.fromkeys((site.name for site in sites), 0)
        self._swapped: list[tuple[dict[str, Any], str, Any]] = []
        self._marks: list[int] = []
        self._sites = sites
        self._handles: list[Any] = []

    def __enter__(self) -> _Recorder:
        for site in self._sites:
            before, after = self._hooks(site)
            module = site.module
            self._handles.append(module.register_forward_pre_hook(before, with_kwargs=True, prepend=True))
            self._handles.append(module.register_forward_hook(after, with_kwargs=True, always_call=True))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._restore(0)

    def _restore(self, mark: int) -> None:
        while len(self._swapped) > mark:
            parameters, leaf, was = self._swapped.pop()
            parameters[leaf] = was

    def _hooks(self, site: Site) -> tuple[Callable[..., None], Callable[..., Any]]:
        owners = [
            (site.module.get_submodule(path), leaf) for path, _, leaf in (n.rpartition(".") for n in site.parameters)
        ]

        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self.replaying:
                return
            self._marks.append(len(self._swapped))
            for owner, leaf in owners:
                was = owner._parameters[leaf]
                self._swapped.append((owner._parameters, leaf, was))
                owner._parameters[leaf] = was.detach()  # type: ignore[assignment,union-attr]

        def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            if self.replaying:
                return None
            self._restore(self._marks.pop())
            # Without gradients nothing is learnt here; in a backward pass checkpointing calls again what was recorded.
            if not self.forward or output is None or not torch.is_grad_enabled():
                return None
            number = self._numbers[site.name]
            self._numbers[site.name] += 1
            return _tapped(self, site, site.layout(number), args, kwargs, output)

        return before, after


def _tapped(
    recorder: _Recorder, site: Site, layout: CallLayout, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
) -> Any:
    """The output of a call, going through `_Tap`."""
    leaves, spec = tree_flatten(output)
    inputs = leaves_of(args, kwargs)
    layout.check(site.name, inputs, leaves, recorder.batch)
    floating = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    if not floating:
        return None
    expand = []
    for i in floating:
        place = layout.outputs[i]
        expand.append(bool(place and place.single))
    versions = [(leaf, leaf._version) for leaf in inputs if isinstance(leaf, Tensor)]
    own = {id(leaf) for leaf in inputs if isinstance(leaf, Tensor)}
    # Tapped where it lies, unless that would change a tensor that others hold.
    fresh = [not site.whole and not leaves[i]._is_view() and id(leaves[i]) not in own for i in floating]
    autocast = _autocast_state(recorder.anchor.device.type)

    def receive(deltas: Sequence[Tensor | None]) -> None:
        if any(leaf._version != version for leaf, version in versions):
            raise RuntimeError(
                f"gradients: an input of {site.name} was changed in place after the call, so its gradient is lost"
            )
        every: list[Tensor | None] = [None] * len(leaves)
        for i, delta in zip(floating, deltas, strict=True):
            every[i] = delta
        first = floating[0]
        delta = every[first]
        x = next(((leaf, at) for leaf, at in zip(inputs, layout.inputs, strict=True) if isinstance(leaf, Tensor)), None)
        if delta is None and not site.whole and sum(d is not None for d in every) == 0:
            return
        call = Call(
            module=site.module,
            inputs=_first(x, recorder.batch),
            delta=None if delta is None else _batch_first(delta, layout.outputs[first], recorder.batch),  # type: ignore[arg-type]
            wanted=frozenset(site.parameters),
            args=args,
            kwargs=kwargs,
            deltas=every,
            layout=layout,
            batch=recorder.batch,
            autocast=autocast,
        )
        recorder.replaying = True
        try:
            with torch.no_grad(), torch.autocast(recorder.anchor.device.type, enabled=False):
                for leaf_name, piece in site.give(call):
                    recorder.receive(site.parameters[leaf_name], piece)
        finally:
            recorder.replaying = False

    taps = _Tap.apply(receive, expand, fresh, recorder.batch, recorder.anchor, *(leaves[i] for i in floating))
    for i, tap in zip(floating, taps, strict=True):
        leaves[i] = tap
    return tree_unflatten(leaves, spec)


def _first(x: tuple[Tensor, Any] | None, batch: int) -> Any:
    if x is None:
        return None
    tensor, place = x
    tensor = tensor.detach()
    return tensor if place.axis is None and not place.single else place.batch_first(tensor, batch)


def _batch_first(delta: Tensor, place: Any, batch: int) -> Tensor:
    if place.single or (place.axis is None):
        return delta
    return place.batch_first(delta, batch)


def _autocast_state(device: str) -> tuple[str, torch.dtype, bool]:
    return device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)


class _Tap(torch.autograd.Function):
    """The identity; its backward pass hands the gradients over."""

    @staticmethod
    def forward(ctx: Any, receive: Any, expand: Any, fresh: Any, batch: int, anchor: Tensor, *outputs: Tensor) -> Any:
        ctx.receive = receive
        ctx.expand = expand
        ctx.set_materialize_grads(False)
        tapped, dirty = [], []
        for output, single, mine in zip(outputs, expand, fresh, strict=True):
            if single:
                output = output.expand(batch, *output.shape[1:]).clone()
            elif mine:
                dirty.append(output)
            else:
                output = output.clone()
            tapped.append(output)
        ctx.mark_dirty(*dirty)
        return tuple(tapped)

    @staticmethod
    def backward(ctx: Any, *deltas: Tensor | None) -> Any:
        receive, ctx.receive = ctx.receive, None  # what it holds is freed with it
        receive(deltas)
        back = [
            delta.sum(0, keepdim=True) if delta is not None and single else delta
            for delta, single in zip(deltas, ctx.expand, strict=True)
        ]
        return (None, None, None, None, None, *back)

"""Checks of data: values, devices, shapes, and the loss on them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import torch
from torch import Tensor

from ..utils.memory import rows_within
from . import hugging_face
from .examples import Examples
from .losses import TokenOutput
from .problem import Problem
from .trees import Tree, equal, first_not_finite, named_leaves, tree_map

_BATCH = 256  # examples of a forward pass that tries the loss, at most


def checked(problem: Problem, inputs: Tree, targets: Tree, in_memory: bool, name: str, start: int) -> Examples:
    """A batch that fits the model; ``start`` examples came before."""
    leaves = [*named_leaves(inputs, f"{name} inputs"), *named_leaves(targets, f"{name} targets")]
    for label, tensor in leaves:
        if in_memory and tensor.device != problem.device:
            raise ValueError(f"{label}: expected on {problem.device} like the model, got {tensor.device}")
        if tensor.is_floating_point() and (row := first_not_finite(tensor)) is not None:
            raise ValueError(f"{label}: expected finite numbers, got NaN or infinity in example {start + row}")
    for label, tensor in named_leaves(inputs, f"{name} inputs"):
        if tensor.is_floating_point() and tensor.dtype != problem.dtype:
            raise ValueError(
                f"{label}: expected {problem.dtype} like the model's parameters, got {tensor.dtype}; "
                "convert one of them"
            )
    inputs, targets = (tree_map(lambda leaf: leaf.to(problem.device), part) for part in (inputs, targets))
    inputs = hugging_face.with_decoder_inputs(problem.model, inputs, targets)
    if isinstance(inputs, dict):
        known = inspect.signature(problem.model.forward).parameters
        unknown = [key for key in inputs if key not in known]
        if unknown and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
            raise ValueError(
                f"{name} inputs: expected arguments of {type(problem.model).__name__}.forward, {list(known)}, got "
                f"{unknown} as well; leave them out"
            )
    return Examples(inputs, targets)


def check_same(batch: Examples, first: Examples, name: str) -> None:
    """Refuses data that change from one pass to the next."""
    again, before = batch[slice(0, len(first))], first[slice(0, len(batch))]
    if not equal((again.inputs, again.targets), (before.inputs, before.targets)):
        raise ValueError(
            f"{name}: expected the same examples each time they are read, got others; leave out random augmentation"
        )


def check_one_length(parts: list[Examples], name: str) -> None:
    """Refuses batches that cannot be joined."""
    first = dict(_shapes(parts[0], name))
    for number, part in enumerate(parts):
        other = dict(_shapes(part, name))
        if other.keys() != first.keys():
            raise ValueError(
                f"{name}: expected batches of one form, got {list(first)} and, in batch {number}, {list(other)}"
            )
        for label, shape in other.items():
            if shape != first[label]:
                raise ValueError(
                    f"{label}: expected one shape of all examples, got {list(first[label])} in batch 0 and "
                    f"{list(shape)} in batch {number}; pad all batches to one length, or use what streams its data"
                )


def _shapes(examples: Examples, name: str) -> Iterator[tuple[str, torch.Size]]:
    for part, tree in (("inputs", examples.inputs), ("targets", examples.targets)):
        for label, tensor in named_leaves(tree, f"{name} {part}"):
            yield label, tensor.shape[1:]


@torch.no_grad()
def check_values(problem: Problem, examples: Examples, name: str, of: str) -> None:
    """Tries the loss or attributed quantity on all examples."""
    first = _forward(problem, examples[slice(0, 1)], name)
    # The size of activations is guessed from the inputs; outputs are counted with the loss's copies of them.
    per_input = sum(leaf[0].numel() * leaf.element_size() for _, leaf in named_leaves(examples.inputs, ""))
    size = rows_within(16 * per_input + 4 * first.numel() * first.element_size(), share=1 / 2)
    start = 0
    for batch in examples.batches(min(_BATCH, size)):
        values = _read(problem, _forward(problem, batch, name), batch.targets, name, of)
        if (row := first_not_finite(values)) is not None:
            what = "losses" if _function(problem, of) == "loss_fn" else "outputs"
            raise ValueError(f"{name}: expected finite {what}, got {values[row].item()} for example {start + row}")
        start += len(batch)


@torch.no_grad()
def check_few(problem: Problem, few: Examples, name: str, of: str) -> None:
    """Checks that the loss is the model's own, reads no parameters, and does not depend on the rest of the batch."""
    read = problem.quantity(of)
    function = _function(problem, of)
    together = _forward(problem, few, name)
    with torch.enable_grad():
        if _read(problem, together.detach(), few.targets, name, of).requires_grad:
            raise ValueError(
                f"{function}: expected a function of output and target alone, got one that reads parameters; use the "
                "optimizer's weight_decay for a penalty"
            )
    singles = few.batches(1)
    apart = torch.cat([_forward(problem, one, name) for one in singles])
    each = torch.cat([read(together[i : i + 1], one.targets) for i, one in enumerate(singles)])
    for what, joint, single in (("model", together, apart), (function, read(together, few.targets), each)):
        tolerance = 1e4 * torch.finfo(problem.dtype).eps * joint.abs().max()
        if ((joint - single).abs() > tolerance).any():
            raise ValueError(
                f"{what}: expected values for an example that do not depend on the rest of the batch, got "
                f"{joint.flatten()[:6].tolist()} for examples together and {single.flatten()[:6].tolist()} one by one"
            )
    # Targets of the user's own output_fn need not be labels.
    if problem.infers_loss and (function == "loss_fn" or isinstance(problem.output_fn, TokenOutput)):
        _check_inferred(problem, singles, name)


def _check_inferred(problem: Problem, singles: list[Examples], name: str) -> None:
    digits = 5e-2 if torch.finfo(problem.dtype).bits == 16 else 1e-4
    for one in singles:
        reported = hugging_face.own_loss(problem.model, one.inputs, one.targets)
        mine = problem.loss(_forward(problem, one, name), one.targets)[0]
        if reported is None or not torch.isfinite(reported):
            continue  # without a labelled token transformers divides 0 by 0
        if (mine - reported).abs() > digits * (1 + reported.abs()):
            raise ValueError(
                f"loss_fn: the loss inferred for {type(problem.model).__name__} is {mine.item():.6g} for an example "
                f"for which the model reports {reported.item():.6g}; give a loss_fn"
            )


def _function(problem: Problem, of: str) -> str:
    return "loss_fn" if of == "loss" or problem.output_fn is None else "output_fn"


def _read(problem: Problem, output: Tensor, targets: Tree, name: str, of: str) -> Tensor:
    try:
        return problem.quantity(of)(output, targets)
    except RuntimeError as error:
        kinds = {label: (list(leaf.shape), leaf.dtype) for label, leaf in named_leaves(targets, f"{name} targets")}
        scores = list(output.shape)
        raise ValueError(f"{name} targets: no {of} of scores {scores} and {kinds}; torch says: {error}") from error


def _forward(problem: Problem, batch: Examples, name: str) -> Tensor:
    try:
        output = problem.forward(problem.parameters(), batch.inputs)
    except (IndexError, RuntimeError) as error:
        kinds = {label: (list(leaf.shape), leaf.dtype) for label, leaf in named_leaves(batch.inputs, f"{name} inputs")}
        called = type(problem.model).__name__
        raise ValueError(f"{name} inputs: {called} cannot be called with {kinds}; torch says: {error}") from error
    if output.dim() == 0 or len(output) != len(batch):
        raise ValueError(
            f"model: expected a tensor with the {len(batch)} examples of the batch on its first axis, got a tensor of "
            f"shape {list(output.shape)}; wrap the model"
        )
    return output

"""Losses and attributed quantities of each example: classes, numbers, tokens.

All are functions of (model output, target) → [batch] and read nothing else. 16-bit outputs are converted to float32
first, as a loss in bfloat16 has two digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

PerExample = Callable[[Tensor, Any], Tensor]
IGNORED = -100  # the label of tokens that do not count, in torch as in transformers
_QUANTITIES = ("loss", "margin", "logit")


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """−log softmax(output)[target], [batch].

    Args:
        output: Scores of the classes, [batch, classes].
        target: Classes, [batch].
    """
    return nn.functional.cross_entropy(_wide(output), target, reduction="none")


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """(output − target)², averaged over the numbers of an example's output, [batch].

    Args:
        output: [batch, ...]; [batch, 1] for targets [batch] is taken, too.
        target: [batch, ...].

    Raises:
        ValueError: Shapes that differ; they would broadcast.
    """
    if output.shape == (*target.shape, 1):
        output = output.squeeze(-1)
    if output.shape != target.shape:
        raise ValueError(
            f"target: expected the shape {list(output.shape)} of the model's output, got {list(target.shape)}"
        )
    squares = (_wide(output) - target).square()
    return squares if squares.dim() == 1 else squares.flatten(1).mean(1)


@dataclass(frozen=True)
class TokenCrossEntropy:
    """−log p of the labelled tokens of each sequence, averaged or summed over the sequence's own: [batch].

    Transformers' own loss averages over all tokens of the *batch*, so an example's loss depends on how many tokens its
    neighbours have. This one agrees with it for one sequence at a time. A sequence without a labelled token has loss 0
    and gradient 0.

    Called with logits [batch, T, vocabulary] and labels [batch, T]; a token with the label −100 does not count.

    Args:
        shift: Whether the logits at t predict the label at t + 1 (causal language models).
        reduction: ``"mean"`` or ``"sum"`` over the tokens.

    Raises:
        ValueError: Another reduction; called, logits and labels whose shapes do not fit.
    """

    shift: bool
    reduction: str = "mean"

    def __post_init__(self) -> None:
        if self.reduction not in ("mean", "sum"):
            raise ValueError(f'reduction: expected "mean" or "sum", got {self.reduction!r}')

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of each sequence, [batch]."""
        return self.over_tokens(cross_entropy, logits, labels)

    def over_tokens(self, quantity: Callable[[Tensor, Tensor], Tensor], logits: Tensor, labels: Tensor) -> Tensor:
        """Another quantity (scores [n, vocabulary], classes [n]) → [n] of these tokens, reduced likewise, [batch]."""
        if logits.dim() != 3 or labels.shape != logits.shape[:2]:
            raise ValueError(
                "labels: expected logits [batch, T, vocabulary] and a label for each token, [batch, T], got "
                f"{list(logits.shape)} and {list(labels.shape)}"
            )
        if self.shift:
            logits, labels = logits[:, :-1], labels[:, 1:]
        valid = labels != IGNORED
        classes = labels.masked_fill(~valid, 0)
        each = quantity(logits.flatten(0, 1), classes.flatten()).reshape(labels.shape)
        total = torch.where(valid, each, 0).sum(1)
        return total if self.reduction == "sum" else total / valid.sum(1).clamp_min(1)


def margin(output: Tensor, target: Tensor) -> Tensor:
    """Log-odds of the target class, log p/(1 − p) (Park et al. 2023, arXiv 2303.14186), [batch].

    Computed as z_y − log Σ_{j≠y} exp z_j, which loses no digits where p is near 0 or 1.

    Args:
        output: Scores z of the classes, [batch, classes].
        target: Classes y, [batch].

    Raises:
        ValueError: Not class scores with class labels, or a single class, whose odds are infinite.
    """
    if not _of_classes(output, target):
        raise ValueError(
            "margin: expected class scores [batch, classes] and class labels [batch], got an output of shape "
            f"{list(output.shape)} and a {target.dtype} target of shape {list(target.shape)}"
        )
    if output.shape[1] < 2:
        raise ValueError("margin: expected at least 2 classes, got 1, whose odds are infinite")
    output = _wide(output)
    is_target = torch.arange(output.shape[1], device=output.device) == target[:, None]
    return _score(output, target) - output.masked_fill(is_target, -math.inf).logsumexp(1)


def logit(output: Tensor, target: Tensor) -> Tensor:
    """Raw score of the target class, or the only number of the output, [batch].

    Args:
        output: Scores of the classes [batch, classes], or one number an example, [batch] or [batch, 1].
        target: Classes [batch]; not read for one number.

    Raises:
        ValueError: Several numbers an example and no class labels.
    """
    if output[0].numel() == 1:
        return _wide(output).flatten()
    if not _of_classes(output, target):
        raise ValueError(
            "logit: expected class scores [batch, classes] and class labels [batch], or one number an example, got an "
            f"output of shape {list(output.shape)} and a {target.dtype} target of shape {list(target.shape)}"
        )
    return _score(_wide(output), target)


def margin_or_output(output: Tensor, target: Tensor) -> Tensor:
    """What TRAK attributes, f (arXiv 2303.14186): the margin of a classifier, the output of a regression, [batch].

    Raises:
        ValueError: Neither.
    """
    if _of_classes(output, target) and output.shape[1] > 1:
        return margin(output, target)
    if output[0].numel() == 1:
        return logit(output, target)
    raise ValueError(
        f"model_output: expected one for an output of shape {list(output.shape)} and a target of shape "
        f"{list(target.shape)}: only class scores with class labels and one real output have a default"
    )


@dataclass(frozen=True)
class TokenOutput:
    """``margin`` or ``logit`` of the labelled tokens, with the shift and the reduction of a token loss: [batch].

    Args:
        quantity: A function (scores [n, vocabulary], classes [n]) → [n].
        loss: Whose tokens and reduction.
    """

    quantity: Callable[[Tensor, Tensor], Tensor]
    loss: TokenCrossEntropy

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The quantity of each sequence, [batch]."""
        return self.loss.over_tokens(self.quantity, logits, labels)


def output_function(name: str, loss_fn: PerExample) -> PerExample | None:
    """The attributed quantity of that name, for a problem with this loss; None for the loss itself.

    Args:
        name: ``"loss"``, ``"margin"`` or ``"logit"``.
        loss_fn: The problem's.

    Raises:
        ValueError: Another name, or the margin of a squared error.
    """
    if name not in _QUANTITIES:
        raise ValueError(
            f"output_fn: expected a callable (output, target) -> [batch] or one of {_QUANTITIES}, got {name!r}"
        )
    if name == "loss":
        return None
    if name == "margin" and loss_fn is squared_error:
        raise ValueError('output_fn: expected a classifier for "margin", got a squared error; "logit" is the output')
    return _for_tokens(margin if name == "margin" else logit, loss_fn)


def trak_output(loss_fn: PerExample) -> PerExample:
    """``margin_or_output``, or the tokens' margins if the loss is a token loss."""
    return _for_tokens(margin if isinstance(loss_fn, TokenCrossEntropy) else margin_or_output, loss_fn)


def _for_tokens(quantity: PerExample, loss_fn: PerExample) -> PerExample:
    return TokenOutput(quantity, loss_fn) if isinstance(loss_fn, TokenCrossEntropy) else quantity


def _score(output: Tensor, target: Tensor) -> Tensor:
    return output.gather(1, target[:, None])[:, 0]


def _of_classes(output: Tensor, target: Any) -> bool:
    return isinstance(target, Tensor) and output.dim() == 2 and target.dim() == 1 and not target.is_floating_point()


def _wide(output: Tensor) -> Tensor:
    return output.float() if output.dtype in (torch.bfloat16, torch.float16) else output

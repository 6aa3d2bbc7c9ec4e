"""Token by token: each labelled token of a sequence as an example of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from .data import Data, Examples, load
from .losses import IGNORED, TokenCrossEntropy
from .problem import Problem
from .trees import index


def by_token(problem: Problem, data: Data, name: str = "queries") -> tuple[Examples, Tensor]:
    """One example for each labelled token: its whole sequence, all other labels masked with −100.

    Summed over the tokens of a sequence (averaged, with ``reduction="mean"``), the scores of these queries are the
    scores of the sequence. A sequence is repeated for each of its tokens, so select the sequences first.

    Args:
        problem: With a ``losses.TokenCrossEntropy``.
        data: Sequences of any kind that methods take.
        name: What errors call it.

    Returns:
        The examples, and which token each of them is: [tokens, 2] of (sequence, position of the label).

    Raises:
        TypeError: As for all data.
        ValueError: Another loss, no labelled token, or as for all data.
    """
    loss = problem.loss_fn
    if not isinstance(loss, TokenCrossEntropy):
        raise ValueError(f"problem: expected a losses.TokenCrossEntropy as its loss_fn, got {loss!r}")
    examples = load(problem, data, name)
    counted = examples.targets != IGNORED
    if loss.shift:
        counted[:, 0] = False  # predicted by no logit
    which = counted.nonzero()
    if len(which) == 0:
        raise ValueError(f"{name}: expected at least one labelled token, got none")
    sequence, position = which.unbind(1)
    labels = torch.full_like(examples.targets[sequence], IGNORED)
    labels.scatter_(1, position[:, None], examples.targets[sequence, position][:, None])
    return Examples(index(examples.inputs, sequence), labels), which

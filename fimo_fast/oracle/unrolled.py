"""Unrolled differentiation (the metagradient): the effect of each example on further training, to first order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import jvp, vmap

from ..problem import Data, Problem
from ..problem.functional_call import untransformable
from ..utils.integers import integer
from ..utils.progress import Plan, track
from .differentiate import Change, Differentiation
from .further_training import FurtherTraining, check_indices
from .sampling import steps_per_epoch

_MODES = ("auto", "forward", "reverse")


class UnrolledDerivative:
    """−d g(θ_T) / d w_i, w_i the weight of example i in further training (unrolled differentiation, metagradient).

    To first order this is the effect of giving example i weight 0, with the sign, scale and units of
    ``FurtherTraining``'s effects. It is exact for SGD, Adam and AdamW as ``FurtherTraining`` runs them: the derivative
    goes through every step, Hessians and optimizer state included. Jumps at kinks of the loss (ReLU) are left out.

    Reverse mode costs about three training steps for each step, query and seed, and gives all training examples.
    Forward mode costs the same for each step, *example* and seed, and gives all queries at every epoch.

    Args:
        further_training: Its trajectories are differentiated; with matched batches. To compare fairly with the oracle,
            use other seeds than the oracle's: ``further_training.with_seeds(range(8, 16))``.

    Raises:
        TypeError: Not a FurtherTraining.
        ValueError: Shifted batches, where removing an example is not a change of its weight.
    """

    _reading = "derivative"

    def __init__(self, further_training: FurtherTraining) -> None:
        if not isinstance(further_training, FurtherTraining):
            raise TypeError(f"further_training: expected FurtherTraining, got {type(further_training).__name__}")
        if further_training.batches != "matched":
            raise ValueError(f'further_training: expected batches="matched", got {further_training.batches!r}')
        self.further_training = further_training

    def attribute(self, problem: Problem, train: Data, queries: Data, progress: bool | Plan = False) -> Tensor:
        """Scores of all training examples at the end of further training, [n_train, n_queries], mean over the seeds.

        Args:
            problem: ``further_training.problem`` itself. It is an argument because all methods are called alike;
                another object is refused, also one made from the same model and loss.
            train: As for ``by_epoch``.
            queries: As for ``by_epoch``.
            progress: As for ``by_epoch``.

        Raises:
            ValueError: As for ``by_epoch``.
            FloatingPointError: As for ``by_epoch``.
        """
        return self.by_epoch(problem, train, queries, epochs=[self.further_training.epochs], progress=progress)[0]

    def by_epoch(
        self,
        problem: Problem,
        train: Data,
        queries: Data,
        examples: Sequence[int] | None = None,
        epochs: Sequence[int] | None = None,
        mode: str = "auto",
        progress: bool | Plan = False,
    ) -> Tensor:
        """Scores of some examples after some epochs.

        Args:
            problem: ``further_training.problem`` itself, as for ``attribute``.
            train: A pair of tensors, a dict with labels, a Dataset, a DataLoader (see ``data.load``).
            queries: The same.
            examples: Training indices; all, unless given.
            epochs: Numbers of epochs, increasing, from 1; all, unless given.
            mode: ``"reverse"``, ``"forward"``, or ``"auto"`` for the one with fewer directions to carry.
            progress: True shows a bar with the time left; a ``Plan`` shows it as part of a larger bar.

        Returns:
            [epochs, examples, queries], mean over the seeds.

        Raises:
            ValueError: Another problem than the further training's, indices, epochs or a mode out of range.
            FloatingPointError: Scores that are not finite.
        """
        readings = (self._reading,)
        found = unrolled_scores(
            self.further_training, problem, train, queries, examples, epochs, mode, readings, progress
        )
        return found[self._reading]


class UnrolledResponse(UnrolledDerivative):
    """Unrolled differentiation of the model output only: g at the linearised output without example i, minus g.

    Each query's model output f is moved by its first-order change δf, seed by seed, and g is evaluated there: mean over
    seeds of g(f + δf) − g(f). ``UnrolledDerivative`` linearises g, too. The two differ if a query's loss is near its
    minimum: its gradient is then near 0, and the square of δf decides (docs/findings.md).
    Forward mode costs the same; reverse mode carries one direction for each number of each query's model output.

    Args:
        further_training: As for ``UnrolledDerivative``.
    """

    _reading = "response"


@torch.no_grad()
def unrolled_scores(
    training: FurtherTraining,
    problem: Problem,
    train: Data,
    queries: Data,
    examples: Sequence[int] | None = None,
    epochs: Sequence[int] | None = None,
    mode: str = "auto",
    readings: tuple[str, ...] = ("derivative", "response"),
    progress: bool | Plan = False,
) -> dict[str, Tensor]:
    """``UnrolledDerivative`` and ``UnrolledResponse`` from one pass.

    Returns {"derivative" or "response", one for each of ``readings``: [epochs, examples, queries]}.

    Arguments and errors as for ``UnrolledDerivative.by_epoch``.
    """
    if problem is not training.problem:
        raise ValueError(
            f"problem: expected further_training.problem itself, {training.problem}, got another object, {problem}"
        )
    if mode not in _MODES:
        raise ValueError(f"mode: expected one of {_MODES}, got {mode!r}")
    replicas, train_examples, query_examples = training.prepare(train, queries)
    n = len(train_examples)
    index = torch.arange(n) if examples is None else torch.tensor(check_indices("examples", examples, n))
    ends = list(range(1, training.epochs + 1)) if epochs is None else [integer("epochs", epoch, 1) for epoch in epochs]
    if not ends or ends != sorted(set(ends)) or ends[-1] > training.epochs:
        raise ValueError(f"epochs: expected increasing numbers from 1 to {training.epochs}, got {ends}")
    differentiation = Differentiation(replicas, query_examples, training.batch_size, ends)
    of_model = readings != ("derivative",)
    per_epoch = steps_per_epoch(n, training.batch_size)
    reverse_cost = len(query_examples) * differentiation.values_per_query(of_model) * sum(ends) * per_epoch
    forward_cost = len(index) * ends[-1] * per_epoch
    forward = mode == "forward" or (mode == "auto" and forward_cost < reverse_cost)
    index = index.to(replicas.problem.device)
    scores = dict.fromkeys(readings, torch.zeros((), dtype=torch.float64, device=index.device))
    total = len(training.seed_values) * (forward_cost if forward else reverse_cost)
    with track(progress, f"unrolling, {'forward' if forward else 'reverse'} mode", total) as advance:
        for seed in training.seed_values:
            try:
                if forward:
                    changes = differentiation.forward(seed, index, advance)
                else:
                    everyone = differentiation.reverse(seed, of_model, advance)
                    changes = [Change(change.theta, change.values[index]) for change in everyone]
            except NotImplementedError as error:  # forward-mode differentiation does not know an operation
                raise untransformable(problem.model, "unrolling", error) from error
            for reading in readings:
                read = [_read(differentiation, reading, change, forward or of_model) for change in changes]
                scores[reading] = scores[reading] + torch.stack(read).double() / len(training.seed_values)
    if not all(torch.isfinite(values).all() for values in scores.values()):
        raise FloatingPointError(
            "the derivative of further training is not finite; training may diverge, lower the learning rate "
            f"({training.rule.learning_rate:g})"
        )
    return {reading: values.to(replicas.problem.dtype) for reading, values in scores.items()}


def _read(differentiation: Differentiation, reading: str, change: Change, of_model: bool) -> Tensor:
    """Change of the attributed quantity that follows from the change of the model outputs, [examples, queries]."""
    if not of_model:
        return change.values
    outputs, targets = differentiation.model_outputs(change.theta), differentiation.queries.targets

    def attributed(output: Tensor) -> Tensor:
        return differentiation.problem.attributed(output, targets)

    if reading == "derivative":
        return vmap(lambda moved: jvp(attributed, (outputs,), (moved,))[1])(change.values)
    return vmap(lambda moved: attributed(outputs + moved) - attributed(outputs))(change.values)

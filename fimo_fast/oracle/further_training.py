"""The gold standard: train the final model further with and without an example, averaged over seeds."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..problem import Data, Examples, Problem, load
from ..utils.integers import integer
from ..utils.memory import rows_within
from ..utils.progress import Advance, Plan, track
from .optimizers import OptimizerChoice, StepNumber, UpdateRule, update_rule
from .replicas import Replicas
from .result import FurtherTrainingResult
from .sampling import SAMPLERS, steps_per_epoch


@dataclass(frozen=True)
class FurtherTraining:
    """Further training from the final parameters, fresh optimizer state, no schedule (arXiv 2412.03906, sec. 3).

    a_i(z) = mean over seeds of g(z, θ after training on D without i) − g(z, θ after training on D), both runs with
    the same randomness. g is the attributed quantity: the query's loss, unless the problem has an output_fn. Positive
    means that removing example i raises g. Effects are in the units of g.

    Args:
        problem: The final model and its loss.
        optimizer: torch.optim.SGD, Adam or AdamW with its arguments: ``(torch.optim.SGD, {"lr": 0.03})`` or
            ``functools.partial(torch.optim.SGD, lr=0.03)``.
        epochs: Passes over the training data.
        batch_size: Examples a step; the last batch of an epoch may be smaller.
        seeds: How many (seeds 0, 1, ...) or which.
        batches: ``"matched"``: all runs of a seed see the same batches, the left-out example with weight 0 and the
            divisor unchanged. ``"shifted"``: the left-out example is removed and later examples move up, as in the
            paper's reference code; noisier.
        dtype: Floating-point type of the training; the model's, unless given. Effects of single examples are small
            differences, so prefer float64 if it is affordable.

    Raises:
        TypeError: An argument of the wrong kind.
        ValueError: An argument out of range, or an optimizer that is not supported.
    """

    problem: Problem
    optimizer: OptimizerChoice
    epochs: int
    batch_size: int
    seeds: int | Sequence[int] = 8
    batches: str = "matched"
    dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.problem, Problem):
            raise TypeError(f"problem: expected a fimo_fast.Problem, got {type(self.problem).__name__}")
        for name in ("epochs", "batch_size"):
            object.__setattr__(self, name, integer(name, getattr(self, name), 1))
        seeds = self.seeds if isinstance(self.seeds, Iterable) else range(integer("seeds", self.seeds, 1))
        seeds = tuple(integer("seeds", seed, 0) for seed in seeds)
        if not seeds or len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds: expected how many, or distinct seeds, got {self.seeds!r}")
        object.__setattr__(self, "seeds", seeds)
        if self.batches not in SAMPLERS:
            raise ValueError(f"batches: expected one of {sorted(SAMPLERS)}, got {self.batches!r}")
        dtype = self.dtype or self.problem.dtype
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"dtype: expected torch.float32 or torch.float64, got {dtype}"
                f"{'' if self.dtype else ' from the model'}: effects of single examples are below its resolution"
            )
        update_rule(self.optimizer)

    @property
    def rule(self) -> UpdateRule:
        """The optimizer's update as a function."""
        return update_rule(self.optimizer)

    @property
    def seed_values(self) -> tuple[int, ...]:
        """The seeds themselves."""
        return tuple(self.seeds)  # type: ignore[arg-type]

    def with_seeds(self, seeds: int | Sequence[int]) -> FurtherTraining:
        """The same further training with other seeds."""
        return dataclasses.replace(self, seeds=seeds)

    def prepare(self, train: Data, queries: Data) -> tuple[Replicas, Examples, Examples]:
        """Checks the data and puts everything into the floating-point type of the training."""
        train_examples = load(self.problem, train, "train")
        query_examples = load(self.problem, queries, "queries", "output")
        if self.batch_size > len(train_examples):
            raise ValueError(
                f"batch_size: expected at most the {len(train_examples)} training examples, got {self.batch_size}"
            )
        dtype = self.dtype or self.problem.dtype
        problem = self.problem.to(dtype)
        train_examples, query_examples = train_examples.to(dtype), query_examples.to(dtype)
        return Replicas(problem, train_examples, self.rule), train_examples, query_examples

    def steps(self, n_train: int) -> int:
        """Optimizer steps in all."""
        return self.epochs * steps_per_epoch(n_train, self.batch_size)

    @torch.no_grad()
    def run(
        self, train: Data, queries: Data, leave_out: Sequence[int] | Tensor, progress: bool | Plan = False
    ) -> FurtherTrainingResult:
        """Trains the full run and one run for each left-out example, for every seed.

        Args:
            train: A pair of tensors, a dict with labels, a Dataset, a DataLoader (see ``data.load``).
            queries: The same; what is measured after each epoch.
            leave_out: Training indices, each left out alone.
            progress: True shows a bar with the time left; a ``Plan`` shows it as part of a larger bar.

        Raises:
            ValueError: Empty or mismatched data, indices out of range or repeated, a batch size above the training
                set, losses that are not finite.
            FloatingPointError: Training diverged; the message says when.
        """
        replicas, train_examples, query_examples = self.prepare(train, queries)
        left_out = check_indices("leave_out", leave_out, len(train_examples))
        everyone = torch.tensor([-1, *left_out], device=replicas.problem.device)
        # Larger groups of replicas gain nothing once the vector units are busy.
        size = rows_within(replicas.bytes_per_replica(train_examples[slice(0, self.batch_size)]), share=1 / 2)
        groups = everyone.tensor_split(-(-len(everyone) // size))
        began = time.perf_counter()
        outputs, distances = [], []
        total = len(self.seed_values) * len(everyone) * self.steps(len(train_examples))
        with track(progress, "further training", total) as advance:
            for seed in self.seed_values:
                runs = [self._train(replicas, group, seed, query_examples, advance) for group in groups]
                outputs.append(torch.cat([run for run, _ in runs], dim=1))
                distances.append(runs[0][1])
        values = torch.stack(outputs).double().cpu()  # [seeds, epochs, 1 + left out, queries]
        seconds = time.perf_counter() - began
        return FurtherTrainingResult(
            per_seed=(values[:, :, 1:] - values[:, :, :1]).transpose(2, 3).contiguous(),
            full=values[:, :, 0].contiguous(),
            distance=torch.stack(distances).double().cpu(),
            parameter_norm=float(replicas.problem.vector().double().norm()),
            left_out=left_out,
            seeds=self.seed_values,
            n_train=len(train_examples),
            seconds=seconds,
            run_epochs_per_second=len(self.seed_values) * len(everyone) * self.epochs / seconds,
        )

    def _train(
        self, replicas: Replicas, group: Tensor, seed: int, queries: Examples, advance: Advance
    ) -> tuple[Tensor, Tensor]:
        """Queries' values [epochs, replicas, queries], and the first replica's distance from its start [epochs]."""
        theta, state = replicas.start(len(group))
        origin = theta[0]
        taken: StepNumber = 0  # a tensor once some replica has skipped a step
        outputs, distance = [], []
        for epoch in range(self.epochs):
            n = len(replicas.train)
            for batch in SAMPLERS[self.batches](n, self.batch_size, seed, epoch, group, theta):
                theta, state = replicas.step(theta, state, batch, taken + 1)
                taken = taken + (1 if batch.active is None else batch.active[:, None].to(theta.dtype))
                advance(len(group))
            outputs.append(replicas.outputs(theta, queries))
            distance.append((theta[0] - origin).norm())
            if not torch.isfinite(outputs[-1]).all():
                row, query = (~torch.isfinite(outputs[-1])).nonzero()[0].tolist()
                run = f"without example {int(group[row])}" if group[row] >= 0 else "on all examples"
                raise FloatingPointError(
                    f"further training diverged: query {query} is not finite after epoch {epoch + 1} of the run {run}, "
                    f"seed {seed}; lower the learning rate ({self.rule.learning_rate:g})"
                )
        return torch.stack(outputs), torch.stack(distance)


def check_indices(name: str, indices: Sequence[int] | Tensor, n: int) -> tuple[int, ...]:
    """Distinct indices within [0, n), as integers.

    Raises:
        ValueError: None, out of range or repeated.
    """
    values = tuple(integer(name, i, 0) for i in _listed(name, indices))
    if not values:
        raise ValueError(f"{name}: expected at least one training index, got none")
    if bad := [i for i in values if i >= n]:
        raise ValueError(f"{name}: expected indices from 0 to {n - 1}, got {bad[:5]}")
    if len(set(values)) < len(values):
        repeated = sorted({i for i in values if values.count(i) > 1})
        raise ValueError(f"{name}: expected distinct indices, got {repeated[:5]} more than once")
    return values


def _listed(name: str, indices: Iterable[int] | Tensor) -> list[int]:
    """A list of numbers; strings and single numbers are refused."""
    if isinstance(indices, Tensor):
        indices = indices.tolist()
    if isinstance(indices, (str, bytes)) or not isinstance(indices, Iterable):
        raise TypeError(f"{name}: expected training indices, got {indices!r}")
    return list(indices)

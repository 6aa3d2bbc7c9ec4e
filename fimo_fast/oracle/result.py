"""Results of further training: effects, their standard errors and reliability, and their file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..utils.files import atomic_write

_FORMAT = "fimo_fast.FurtherTrainingResult/1"
_TENSORS = ("per_seed", "full", "distance")


@dataclass(frozen=True)
class FurtherTrainingResult:
    """Effects of leaving examples out of further training.

    Attributes:
        per_seed: Effect of each left-out example on each query, [seeds, epochs, queries, left_out] float64; positive:
            removing the example raises the attributed quantity (the loss or output_fn), in its units.
        full: The queries' attributed quantity in the run on all examples, [seeds, epochs, queries].
        distance: ‖θ − θ_final‖ of the run on all examples, [seeds, epochs].
        parameter_norm: ‖θ_final‖.
        left_out: Training indices, the last axis of the effects.
        seeds: The seeds, the first axis of ``per_seed``.
        n_train: Training examples.
        seconds: Wall time of all runs.
        run_epochs_per_second: Runs times epochs over that time.
    """

    per_seed: Tensor
    full: Tensor
    distance: Tensor
    parameter_norm: float
    left_out: tuple[int, ...]
    seeds: tuple[int, ...]
    n_train: int
    seconds: float
    run_epochs_per_second: float

    @property
    def effects(self) -> Tensor:
        """Mean over the seeds, [epochs, queries, left_out]."""
        return self.per_seed.mean(0)

    @property
    def stderr(self) -> Tensor:
        """Standard error of ``effects`` over the seeds, [epochs, queries, left_out]; NaN for one seed."""
        if len(self.seeds) < 2:
            return torch.full_like(self.per_seed[0], float("nan"))
        return self.per_seed.std(0) / len(self.seeds) ** 0.5

    @property
    def split_half(self) -> Tensor:
        """Cosine between the means of two disjoint halves of the seeds, [epochs]: mean over splits and queries."""
        return self._half_cosines().mean(1)

    @property
    def reliability(self) -> Tensor:
        """The ceiling, [epochs]: expected cosine of the effects with a repetition on as many other seeds.

        Each query's split-half cosine r of halves of h seeds is extended to all S seeds by the Spearman-Brown formula
        c r / (1 + (c − 1) r), c = S / h, and averaged over queries. NaN for one seed. A method without noise of its own
        could reach the square root of this.
        """
        return self.reliability_by_query.mean(1)

    @property
    def reliability_by_query(self) -> Tensor:
        """The same for each query, [epochs, queries]."""
        ratio = len(self.seeds) / max(1, len(self.seeds) // 2)
        # Below −1/3 the formula leaves [−1, 1]; such values are noise around zero.
        half = self._half_cosines().clamp_min(-1 / 3)
        return ratio * half / (1 + (ratio - 1) * half)

    def _half_cosines(self) -> Tensor:
        """Mean over splits, [epochs, queries]."""
        count = len(self.seeds)
        if count < 2:
            return torch.full(self.per_seed.shape[1:3], float("nan"), dtype=torch.float64)
        gram = torch.einsum("seql,teql->eqst", self.per_seed, self.per_seed)
        first, second = (torch.from_numpy(half) for half in _halves(count))
        cross = torch.einsum("ns,eqst,nt->neq", first, gram, second)
        norms = [torch.einsum("ns,eqst,nt->neq", half, gram, half).clamp_min(0).sqrt() for half in (first, second)]
        return (cross / (norms[0] * norms[1]).clamp_min(torch.finfo(torch.float64).tiny)).mean(0)

    def save(self, path: str | Path) -> None:
        """Writes one safetensors file; an existing one is replaced only when the new one is complete."""
        small = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _TENSORS}
        metadata = {"format": _FORMAT, "values": json.dumps(small)}
        with atomic_write(Path(path)) as temporary:
            save_file({name: getattr(self, name).contiguous() for name in _TENSORS}, temporary, metadata)

    @classmethod
    def load(cls, path: str | Path) -> FurtherTrainingResult:
        """Reads what ``save`` wrote.

        Raises:
            FileNotFoundError: No such file.
            ValueError: Another kind of file, or a damaged one.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"path: no such file: {path}")
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != _FORMAT:
                    raise ValueError(f"path: expected a file of {_FORMAT}, got {metadata.get('format')!r} in {path}")
                tensors = {name: file.get_tensor(name) for name in _TENSORS}
        except SafetensorError as error:
            raise ValueError(f"path: {path} is damaged or no safetensors file: {error}") from error
        small = json.loads(metadata["values"])
        small["left_out"], small["seeds"] = tuple(small["left_out"]), tuple(small["seeds"])
        return cls(**tensors, **small)


def _halves(count: int, most: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Averaging weights of disjoint halves of the seeds, two of [splits, seeds]: all splits or ``most`` random ones."""
    size = count // 2
    pairs: list[tuple[Sequence[int], Sequence[int]]]
    if count <= 10:
        pairs = [
            (a, b)
            for a in itertools.combinations(range(count), size)
            for b in itertools.combinations(sorted(set(range(count)) - set(a)), size)
            if a < b
        ]
    else:
        random = np.random.default_rng(0)
        shuffled = [random.permutation(count).tolist() for _ in range(most)]
        pairs = [(s[:size], s[size : 2 * size]) for s in shuffled]
    first, second = np.zeros((len(pairs), count)), np.zeros((len(pairs), count))
    for row, (a, b) in enumerate(pairs):
        first[row, list(a)] = second[row, list(b)] = 1 / size
    return first, second

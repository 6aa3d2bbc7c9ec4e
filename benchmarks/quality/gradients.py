"""Per-example gradients to be sketched: as rows of numbers, or as the factors of linear layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fimo_fast import ops
from fimo_fast.gradients import GradientStream, Outer, per_example_gradients
from fimo_fast.problem import Examples as Data
from fimo_fast.problem.trees import check_finite

from .kinds import Kind
from .problems import Examples, Trained


@dataclass(frozen=True)
class Rows:
    """Gradients by all parameters, [n, parameters] float32."""

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def first(self, n: int) -> Rows:
        """The first n."""
        return Rows(self.values[:n].contiguous())

    def read(self) -> Tensor:
        """Their sum: what reading them costs."""
        return self.values.sum()

    def inner(self, other: Rows) -> Tensor:
        """All inner products in float64, [n, other n]."""
        parts = zip(self.values.split(4096, dim=1), other.values.split(4096, dim=1), strict=True)
        return torch.stack([mine.double() @ theirs.double().T for mine, theirs in parts]).sum(0)

    def norms(self) -> Tensor:
        """[n]."""
        return self.values.double().norm(dim=1)

    def sketch(self, kind: Kind, sketch_dim: int, seed: int) -> Tensor:
        """[n, sketch_dim]."""
        return ops.project(self.values, kind.make(self.values.shape[1], sketch_dim, seed))


@dataclass(frozen=True)
class Layers:
    """Gradients of linear layers as factors; each layer gets an equal part of a sketch."""

    factors: list[Outer]

    def __len__(self) -> int:
        return len(self.factors[0].a)

    def first(self, n: int) -> Layers:
        """The first n."""
        return Layers([Outer(f.a[:n].contiguous(), f.delta[:n].contiguous()) for f in self.factors])

    def read(self) -> list[Tensor]:
        """Sums of the factors: what reading them costs."""
        return [part.sum() for f in self.factors for part in (f.a, f.delta)]

    def inner(self, other: Layers) -> Tensor:
        """All inner products in float64, [n, other n]."""
        pairs = zip(self.factors, other.factors, strict=True)
        products = [ops.outer_dot(*(x.double() for x in (f.a, f.delta, g.a, g.delta))) for f, g in pairs]
        return torch.stack(products).sum(0)

    def norms(self) -> Tensor:
        """[n]."""
        squares = [ops.outer_norm2(f.a.double(), f.delta.double()) for f in self.factors]
        return torch.stack(squares).sum(0).sqrt()

    def sketch(self, kind: Kind, sketch_dim: int, seed: int) -> Tensor:
        """[n, sketch_dim]."""
        share = sketch_dim // len(self.factors)
        parts = []
        for i, f in enumerate(self.factors):
            made = kind.make(f.a.shape[2], f.delta.shape[2], share, seed * len(self.factors) + i)
            parts.append(ops.outer_project(f.a, f.delta, made))
        return torch.cat(parts, dim=1)


@dataclass(frozen=True)
class Gradients:
    """Of training examples and queries, with a title and facts for people."""

    title: str
    facts: str
    train: Rows | Layers
    queries: Rows | Layers


def rows(trained: Trained, advance: Callable[[float], None]) -> Gradients:
    """Gradients by all parameters, formed."""
    total = len(trained.train[0]) + len(trained.queries[0])
    parts = []
    for inputs, targets in (trained.train, trained.queries):
        values = torch.empty(len(inputs), trained.problem.numel)
        for batch in torch.arange(len(inputs)).split(50):
            found = per_example_gradients(trained.problem, inputs[batch], targets[batch])
            values[batch] = check_finite(trained.problem.ravel(found), f"gradients of {trained.title}")
            advance(len(batch) / total)
        parts.append(Rows(values))
    return Gradients(trained.title, trained.facts, *parts)


def layers(trained: Trained, pattern: str) -> Gradients:
    """Gradients of the linear layers whose names begin so, as factors."""
    linear = {name for name, module in trained.problem.model.named_modules() if isinstance(module, nn.Linear)}
    chosen = [name for name in sorted(linear) if name.startswith(pattern)]
    names = [name for name in trained.problem.shapes if name.rpartition(".")[0] in chosen]
    problem = trained.problem.with_parameters(names)

    def captured(examples: Examples) -> Layers:
        data = Data(*examples)
        pieces = GradientStream(problem, data).collect(data)
        factors = [piece for each in pieces.values() for piece in each if isinstance(piece, Outer)]
        # The bias is a last column of the weight, its input always 1.
        return Layers([Outer(F.pad(f.a, (0, 1), value=1.0) if f.partner else f.a, f.delta) for f in factors])

    train = captured(trained.train)
    entries = sum(f.a.shape[2] * f.delta.shape[2] for f in train.factors)
    tokens = train.factors[0].a.shape[1]
    facts = f"{len(chosen)} linear layers of {entries:,} parameters; {tokens} tokens, given as factors"
    return Gradients(f"{trained.title}’s linear layers", facts, train, captured(trained.queries))


def noise(n_train: int, n_queries: int, dim: int) -> Gradients:
    """Independent normal numbers: no structure for a sketch to suffer from, and no scores to find."""
    generator = torch.Generator().manual_seed(0)
    train, queries = (Rows(torch.randn(n, dim, generator=generator)) for n in (n_train, n_queries))
    return Gradients("Gaussian noise", f"independent normal numbers, {dim:,} an example", train, queries)

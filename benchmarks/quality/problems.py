"""Models to take gradients of: a convolutional network on CIFAR-10 and a transformer on SST-2, both trained here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fimo_fast import Problem
from fimo_fast.experiments import fit
from fimo_fast.problem.losses import cross_entropy

Examples = tuple[Tensor, Tensor]
WORDS = 2000  # the most frequent ones have a vector of their own
LENGTH = 24  # words of a sentence that are read
PADDING, UNKNOWN = 0, 1


@dataclass(frozen=True)
class Trained:
    """A trained model and the examples whose gradients are wanted.

    Attributes:
        title: for people.
        facts: what was trained on what, and how well it does.
        problem: the model with its loss.
        train, queries: inputs and targets; the model has not seen the queries.
    """

    title: str
    facts: str
    problem: Problem
    train: Examples
    queries: Examples


def cifar(path: Path, n_train: int, n_queries: int, epochs: int, advance: Callable[[float], None]) -> Trained:
    """A network of three convolutions on the images of an .npz file with x_train, y_train, x_test and y_test."""
    with np.load(path) as data:
        sets = tuple(
            _shuffled(_images(data[f"x_{part}"]), torch.from_numpy(data[f"y_{part}"]).long())
            for part in ("train", "test")
        )
    torch.manual_seed(0)
    side = sets[0][0].shape[-1] // 8
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128 * side * side, 10),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    return _train("CIFAR-10, CNN", model, optimizer, sets, (n_train, n_queries), epochs, advance)


def sst2(
    train: Path, test: Path, n_train: int, n_queries: int, epochs: int, advance: Callable[[float], None]
) -> Trained:
    """A transformer of two layers on the sentences and labels of two tab-separated files."""
    tables = [_sentences(path) for path in (train, test)]
    counts = Counter(word for words, _ in tables[0] for word in words)
    # Ties by the word, so that the order does not depend on the file's.
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[:WORDS]
    numbers = {word: i + UNKNOWN + 1 for i, word in enumerate(frequent)}
    sets = tuple(_shuffled(*_encode(table, numbers)) for table in tables)
    torch.manual_seed(0)
    model = Transformer(len(numbers) + UNKNOWN + 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return _train("SST-2, transformer", model, optimizer, sets, (n_train, n_queries), epochs, advance)


class Transformer(nn.Module):
    """Two pre-norm layers over words with learned positions; the mean over the words gives the two classes."""

    def __init__(self, words: int, dim: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.words = nn.Embedding(words, dim)
        self.positions = nn.Parameter(0.02 * torch.randn(LENGTH, dim))
        self.layers = nn.ModuleList(Layer(dim) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.classes = nn.Linear(dim, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """[batch, LENGTH] word numbers → [batch, 2]."""
        read = tokens != PADDING
        x = self.words(tokens) + self.positions
        for layer in self.layers:
            x = layer(x, read)
        weights = read.to(x.dtype) / read.sum(1, keepdim=True)
        return self.classes((self.norm(x) * weights[:, :, None]).sum(1))


class Layer(nn.Module):
    """Self-attention and a perceptron, each added to its input."""

    def __init__(self, dim: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.inputs, self.output = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.perceptron = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor, read: Tensor) -> Tensor:
        """[batch, LENGTH, dim] and which words are there, [batch, LENGTH] → [batch, LENGTH, dim]."""
        parts = self.inputs(self.norms[0](x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(*parts, attn_mask=read[:, None, None, :])
        x = x + self.output(mixed.transpose(1, 2).flatten(2))
        return x + self.perceptron(self.norms[1](x))


def _train(
    title: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    sets: tuple[Examples, ...],
    sizes: tuple[int, int],
    epochs: int,
    advance: Callable[[float], None],
) -> Trained:
    """Trains on all of the first set; keeps its first examples, and the first ones of the second as queries."""
    for name, (inputs, _), size in zip(("training examples", "queries"), sets, sizes, strict=True):
        if len(inputs) < size:
            raise ValueError(f"{title}: expected at least {size} {name}, got {len(inputs)}")
    for epoch in range(epochs):
        fit(model, cross_entropy, sets[0], optimizer, epochs=1, batch_size=64, seed=epoch)
        advance(1 / epochs)
    right = [_accuracy(model, *examples) for examples in sets]
    problem = Problem(model.eval(), cross_entropy)
    facts = (
        f"{problem.numel:,} parameters, {epochs} epoch{'' if epochs == 1 else 's'} on {len(sets[0][0]):,} examples; "
        f"{right[0]:.0%} of the training labels and {right[1]:.0%} of the others right"
    )
    train, queries = ((inputs[:size], targets[:size]) for (inputs, targets), size in zip(sets, sizes, strict=True))
    return Trained(title, facts, problem, train, queries)


@torch.no_grad()
def _accuracy(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    found = torch.cat([model(batch).argmax(1) for batch in inputs.split(500)])
    return (found == targets).double().mean().item()


def _images(pixels: np.ndarray) -> Tensor:
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25


def _sentences(path: Path) -> list[tuple[list[str], int]]:
    """Words and label of each line that has both, in lower case; a header has no label."""
    table = []
    for line in path.read_text(encoding="utf-8").splitlines():
        sentence, _, label = line.rpartition("\t")
        if sentence.split() and label.strip() in ("0", "1"):
            table.append((sentence.lower().split(), int(label)))
    return table


def _encode(table: list[tuple[list[str], int]], numbers: dict[str, int]) -> Examples:
    tokens = torch.full((len(table), LENGTH), PADDING)
    for row, (words, _) in zip(tokens, table, strict=True):
        known = torch.tensor([numbers.get(word, UNKNOWN) for word in words[:LENGTH]])
        row[: len(known)] = known
    return tokens, torch.tensor([label for _, label in table])


def _shuffled(inputs: Tensor, targets: Tensor) -> Examples:
    """In an order fixed here: files may be sorted by class."""
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    return inputs[order], targets[order]

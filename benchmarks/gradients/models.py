"""The models whose per-example gradients are timed, each with a batch of random numbers of the real shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

_TOKENS = 128
_SEED = 0


@dataclass(frozen=True)
class Subject:
    """A model and one batch.

    Attributes:
        name: as on the command line.
        title: for the table.
        model: in evaluation mode.
        inputs: [batch, ...].
        targets: [batch, ...].
        loss: (output, targets) -> [batch].
    """

    name: str
    title: str
    model: nn.Module
    inputs: Tensor
    targets: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]

    @property
    def numel(self) -> int:
        """Parameters; a tied one counts once."""
        return sum(p.numel() for p in self.model.parameters())

    def first(self, count: int) -> Subject:
        """The same with the first ``count`` examples."""
        parts = (self.inputs[:count], self.targets[:count])
        return Subject(self.name, self.title, self.model, *parts, self.loss)


class Logits(nn.Module):
    """A language model of transformers as a function from token ids [batch, T] to logits [batch, T, V]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(input_ids=ids, use_cache=False).logits


def class_losses(output: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each example, [batch]."""
    return functional.cross_entropy(output.flatten(1), targets, reduction="none")


def token_losses(logits: Tensor, ids: Tensor) -> Tensor:
    """Cross-entropy of the next token, averaged over each sequence: [batch]."""
    # Classes stay the last axis: over a strided one torch takes several times as long.
    predicted, following = logits[:, :-1], ids[:, 1:]
    losses = functional.cross_entropy(predicted.flatten(0, 1), following.flatten(), reduction="none")
    return losses.view_as(following).mean(1)


def mlp(widths: tuple[int, ...], batch: int) -> Subject:
    """Linear layers with ReLU between them."""
    torch.manual_seed(_SEED)
    layers: list[nn.Module] = []
    for narrow, wide in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(narrow, wide), nn.ReLU()]
    model = nn.Sequential(*layers[:-1]).eval()
    inputs, targets = torch.randn(batch, widths[0]), torch.randint(0, widths[-1], (batch,))
    title = f"MLP {'-'.join(map(str, widths))}"
    return Subject("mlp", title, model, inputs, targets, class_losses)


def resnet9(batch: int) -> Subject:
    """The ResNet-9 of TRAK's CIFAR-10 example, 2.3M parameters; BatchNorm by its running statistics."""

    def block(ins: int, outs: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> nn.Sequential:
        conv = nn.Conv2d(ins, outs, kernel, stride, padding, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(outs), nn.ReLU())

    torch.manual_seed(_SEED)
    model = nn.Sequential(
        block(3, 64),
        block(64, 128, kernel=5, stride=2, padding=2),
        _Residual(nn.Sequential(block(128, 128), block(128, 128))),
        block(128, 256),
        nn.MaxPool2d(2),
        _Residual(nn.Sequential(block(256, 256), block(256, 256))),
        block(256, 128, padding=0),
        nn.AdaptiveMaxPool2d((1, 1)),
        nn.Flatten(),
        nn.Linear(128, 10, bias=False),
    ).eval()
    inputs, targets = torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,))
    return Subject("resnet9", "ResNet-9, images of 32 × 32", model, inputs, targets, class_losses)


class _Residual(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return x + self.module(x)


def gpt(vocabulary: int, batch: int, name: str) -> Subject:
    """Four layers of GPT-2, 256 wide; the output layer is tied to the embedding."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(_SEED)
    config = GPT2Config(
        n_layer=4,
        n_embd=256,
        n_head=4,
        n_positions=_TOKENS,
        vocab_size=vocabulary,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = Logits(GPT2LMHeadModel(config)).eval()
    ids = torch.randint(0, vocabulary, (batch, _TOKENS))
    return Subject(name, f"GPT-2, 4 layers, {vocabulary:,} tokens", model, ids, ids, token_losses)


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "mlp": lambda: mlp((100, 256, 256, 10), 1024),
    "resnet9": lambda: resnet9(32),
    "gpt": lambda: gpt(50257, 8, "gpt"),
    "gpt-small": lambda: gpt(4096, 8, "gpt-small"),
}

"""One row a rule: exact on a layer alone, taken inside a model, and exact there. A new rule needs a row here."""

import pytest
import torch
from one_layer import assert_exact
from torch import nn

import fimo_fast as ff
from fimo_fast.gradients import rules


class Conv1D(nn.Module):  # as transformers' Conv1D: a linear layer with its weight transposed
    def __init__(self):
        super().__init__()
        self.nf = 3
        self.weight, self.bias = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(3))

    def forward(self, x):
        return x @ self.weight + self.bias


class ScaledWordEmbedding(nn.Embedding):
    embed_scale = 2.0

    def forward(self, index):
        return super().forward(index) * self.embed_scale


def numbers(*shape):
    return torch.randn(3, *shape, dtype=torch.float64)


# rule: (layer, a batch of three for it)
ROWS = {
    "attention": (nn.MultiheadAttention(4, 2, batch_first=True), (numbers(5, 4),) * 3),
    "batch_norm": (nn.BatchNorm1d(4), (numbers(4, 5),)),
    "convolution": (nn.Conv2d(2, 3, 2), (numbers(2, 4, 4),)),
    "embedding": (nn.Embedding(7, 3), (torch.tensor([[1, 2], [3, 3], [0, 6]]),)),
    "group_norm": (nn.GroupNorm(2, 4), (numbers(4, 5),)),
    "hf_conv1d": (Conv1D(), (numbers(5, 4),)),
    "instance_norm": (nn.InstanceNorm1d(4, affine=True), (numbers(4, 5),)),
    "layer_norm": (nn.LayerNorm(4), (numbers(5, 4),)),
    "linear": (nn.Linear(4, 3), (numbers(5, 4),)),
    "rms_norm": (nn.RMSNorm(4), (numbers(5, 4),)),
    "scaled_embedding": (ScaledWordEmbedding(7, 3), (torch.tensor([[1, 2], [3, 3], [0, 6]]),)),
    "transposed_convolution": (nn.ConvTranspose1d(2, 3, 2), (numbers(2, 4),)),
}


def test_every_rule_has_a_row():
    assert {entry.rule.__name__ for entry in rules._ENTRIES if entry.rule.__module__.startswith("fimo_fast.")} == set(
        ROWS
    )


@pytest.mark.parametrize("name", ROWS)
def test_on_the_layer_alone(name):
    layer, inputs = ROWS[name]
    assert_exact(layer.double().eval(), *inputs, rule=name)


class Model(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, *inputs):
        output = self.layer(*inputs)
        return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize("name", ROWS)
def test_inside_a_model(name):
    layer, inputs = ROWS[name]
    problem = ff.Problem(Model(layer.double().eval()), lambda output, y: output.flatten(1).square().sum(1) * y)
    data = inputs, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert set(ff.gradients.paths(problem, data).values()) == {name}
    assert ff.gradients.check(problem, data).ok

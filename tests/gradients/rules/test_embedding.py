import importlib

import pytest
import torch
from one_layer import assert_exact
from torch import nn

from fimo_fast.gradients.rules import find


@pytest.mark.parametrize("shape", [(4,), (1, 6), (4, 6), (4, 2, 3)])
@pytest.mark.parametrize("padding", [None, 0, -1])
def test_shapes(shape, padding):
    layer = nn.Embedding(5, 3, padding_idx=padding).double()
    index = torch.randint(5, shape)
    index[0] = 1
    assert_exact(layer, index, rule="embedding")


def test_int32_and_folded_axes():
    index = torch.randint(5, (6, 2), dtype=torch.int32)
    assert_exact(nn.Embedding(5, 3).double(), index, apart=(2, 3), rule="embedding")


def test_no_rule_where_a_row_depends_on_the_batch():
    assert find(nn.Embedding(5, 3, scale_grad_by_freq=True)) is None


@pytest.mark.packages
@pytest.mark.parametrize(
    ("model", "name"), [("gemma3", "Gemma3TextScaledWordEmbedding"), ("bart", "BartScaledWordEmbedding")]
)
@pytest.mark.parametrize("padding", [None, 0])
def test_scaled(model, name, padding):
    pytest.importorskip("transformers")
    kind = getattr(importlib.import_module(f"transformers.models.{model}.modeling_{model}"), name)
    layer = kind(5, 3, padding, embed_scale=3.0).double()
    assert_exact(layer, torch.tensor([[1, 2, 0], [4, 1, 1]]), rule="scaled_embedding")

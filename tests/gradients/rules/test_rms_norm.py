import importlib

import pytest
import torch
from one_layer import assert_exact, one_call
from torch import nn

from fimo_fast.gradients.rules import find


def randn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize(("shape", "normalised"), [((4, 3), 3), ((1, 5, 3), 3), ((4, 2, 5, 3), (5, 3))])
def test_torch(shape, normalised):
    layer = nn.RMSNorm(normalised, eps=0.1).double()
    layer.weight.data.uniform_(0.5, 2)
    assert_exact(layer, randn(*shape), rule="rms_norm")


@pytest.mark.packages
@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("t5", "T5LayerNorm"),
        ("mt5", "MT5LayerNorm"),
        *[
            (model, f"{model.capitalize()}RMSNorm")
            for model in ("llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3", "olmo2")
        ],
    ],
)
def test_transformers(model, name):
    pytest.importorskip("transformers")
    kind = getattr(importlib.import_module(f"transformers.models.{model}.modeling_{model}"), name)
    layer = kind(8).double()
    layer.weight.data.uniform_(0.5, 2)
    # They compute in float32, and so does the derivative that this is compared with.
    assert_exact(layer, randn(4, 3, 8), rule="rms_norm", tolerance=1e-6)
    assert_exact(layer, randn(6, 8), apart=(2, 3), rule="rms_norm", tolerance=1e-6)


def test_the_weight_is_put_back_after_an_error():
    layer = nn.RMSNorm(3).double()
    call, _ = one_call(layer, randn(4, 3))
    weight = layer.weight
    layer.forward = None
    with pytest.raises(TypeError):
        list(find(nn.RMSNorm(3))[0](call))
    assert layer.weight is weight and isinstance(weight, nn.Parameter)


def test_a_gated_norm_has_no_rule():
    class GatedRMSNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

        def forward(self, x, gate):
            return self.weight * nn.functional.rms_norm(x * gate, (4,))

    assert find(GatedRMSNorm()) is None

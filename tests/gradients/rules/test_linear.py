import pytest
import torch
from one_layer import assert_exact, one_call
from torch import nn

from fimo_fast.gradients.rules import find


@pytest.mark.parametrize("shape", [(5, 3), (1, 3), (4, 2, 3), (2, 4, 2, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_shapes(shape, bias):
    layer = nn.Linear(3, 2, bias=bias).double()
    assert_exact(layer, torch.randn(shape, dtype=torch.float64), rule="linear", outer={"weight"})


def test_folded_axes():
    assert_exact(nn.Linear(3, 2).double(), torch.randn(6, 3, dtype=torch.float64), apart=(2, 3), rule="linear")


def test_batch_on_the_second_axis():
    assert_exact(nn.Linear(3, 2).double(), torch.randn(5, 4, 3, dtype=torch.float64), axis=1, rule="linear")


@pytest.mark.parametrize("wanted", ["weight", "bias"])
def test_only_what_is_wanted(wanted):
    call, _ = one_call(nn.Linear(3, 2).double(), torch.randn(4, 3, dtype=torch.float64), wanted={wanted})
    assert {name for name, _ in find(call.module)[0](call)} == {wanted}


def test_another_forward_has_no_rule():
    class Twice(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    assert find(Twice(3, 2)) is None


def test_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        call, exact = one_call(nn.Linear(3, 2), torch.randn(4, 5, 3))
    (_, weight), _ = find(call.module)[0](call)
    assert weight.a.dtype == weight.delta.dtype == torch.bfloat16
    torch.testing.assert_close(weight.formed(), exact["weight"], rtol=0.02, atol=0.02)

import pytest
import torch
from one_layer import assert_exact, one_call

from fimo_fast.gradients.rules import find

pytestmark = pytest.mark.packages
Conv1D = pytest.importorskip("transformers.pytorch_utils").Conv1D


@pytest.mark.parametrize("shape", [(5, 3), (1, 3), (4, 2, 3)])
def test_shapes(shape):
    assert_exact(Conv1D(2, 3).double(), torch.randn(shape, dtype=torch.float64), rule="hf_conv1d", outer={"weight"})


def test_folded_axes():
    assert_exact(Conv1D(2, 3).double(), torch.randn(6, 3, dtype=torch.float64), apart=(2, 3), rule="hf_conv1d")


@pytest.mark.parametrize("wanted", ["weight", "bias"])
def test_only_what_is_wanted(wanted):
    call, _ = one_call(Conv1D(2, 3).double(), torch.randn(4, 3, dtype=torch.float64), wanted={wanted})
    assert {name for name, _ in find(call.module)[0](call)} == {wanted}

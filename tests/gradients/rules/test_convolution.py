import itertools

import pytest
import torch
from one_layer import assert_exact, one_call
from torch import nn

from fimo_fast.gradients.rules import find

CONVOLUTIONS = [nn.Conv1d, nn.Conv2d, nn.Conv3d]
TRANSPOSED = [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d]


def images(axes, n=2, channels=4, size=7):
    return torch.randn(n, channels, *range(size, size + axes), dtype=torch.float64)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"stride": 2, "padding": 1},
        {"dilation": 2},
        {"dilation": 2, "stride": 3, "padding": 2},
        {"padding": "valid"},
        {"padding": "same"},
        {"padding": "same", "kernel_size": 2},
        {"padding": "same", "kernel_size": 4, "dilation": 2},
        {"kernel_size": 1},
        {"kernel_size": 1, "stride": 2, "bias": False},
        {"padding": 2, "padding_mode": "reflect"},
        {"padding": 2, "padding_mode": "replicate"},
        {"padding": 2, "padding_mode": "circular"},
        {"padding": "same", "padding_mode": "circular", "kernel_size": 2},
        {"groups": 2, "padding": 1},
        {"groups": 4, "stride": 2, "padding": "valid"},
    ],
    ids=str,
)
def test_settings(axes, settings):
    layer = CONVOLUTIONS[axes - 1](4, 8, **({"kernel_size": 3} | settings)).double()
    assert_exact(layer, images(axes), rule="convolution")
    assert_exact(layer, images(axes, n=1), rule="convolution")


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"dilation": 2, "padding": 2},
        {"stride": 3, "output_padding": 2},
        {"groups": 2, "stride": 2},
        {"groups": 4, "bias": False},
    ],
    ids=str,
)
def test_transposed(axes, settings):
    layer = TRANSPOSED[axes - 1](4, 8, 3, **settings).double()
    assert_exact(layer, images(axes, size=3), rule="transposed_convolution")
    assert_exact(layer, images(axes, size=3, n=6), apart=(2, 3), rule="transposed_convolution")


@pytest.mark.parametrize("unequal", [{"kernel_size": (3, 2)}, {"kernel_size": 2, "padding": (0, 1), "stride": (1, 2)}])
def test_axes_that_differ(unequal):
    assert_exact(nn.Conv2d(4, 8, **unequal).double(), images(2), rule="convolution")
    assert_exact(nn.ConvTranspose2d(4, 8, **unequal).double(), images(2), rule="transposed_convolution")


@pytest.mark.parametrize(("size", "factored"), [(2, {"weight"}), (16, set())])
def test_factors_where_they_are_smaller(size, factored):
    layer = nn.Conv2d(4, 8, 3, padding=1).double()
    x = torch.randn(3, 4, size, size, dtype=torch.float64)
    for axes, bias in itertools.product((torch.contiguous_format, torch.channels_last), (True, False)):
        layer.bias = layer.bias if bias else None
        assert_exact(layer, x.to(memory_format=axes), rule="convolution", outer=factored)


def test_large_ones_example_by_example():
    """Above some size each example goes through the convolution's own kernel."""
    layer = nn.Conv2d(32, 64, 5, stride=2, dilation=2, padding=(3, 2)).double()
    x = torch.randn(2, 32, 20, 18, dtype=torch.float64)
    assert_exact(layer, x, rule="convolution")
    assert_exact(layer, torch.cat([x, x.flip(0)]), apart=(2, 2), rule="convolution")


@pytest.mark.parametrize("size", [2, 16])
@pytest.mark.parametrize("groups", [1, 4])
def test_folded_axes(size, groups):
    layer = nn.Conv2d(4, 8, 3, padding=1, groups=groups).double()
    assert_exact(layer, torch.randn(6, 4, size, size, dtype=torch.float64), apart=(2, 3), rule="convolution")


@pytest.mark.parametrize("wanted", ["weight", "bias"])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_only_what_is_wanted(kind, wanted):
    call, _ = one_call(kind(4, 8, 3).double(), images(2), wanted={wanted})
    assert {name for name, _ in find(call.module)[0](call)} == {wanted}


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_float32(kind):
    layer = kind(4, 8, 3)
    assert_exact(layer, images(2).float(), rule=find(layer)[0].__name__, tolerance=1e-5)


def test_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        call, exact = one_call(nn.Conv2d(4, 8, 3), images(2, size=4).float())
    terms = dict(find(call.module)[0](call))
    torch.testing.assert_close(terms["weight"].formed().float(), exact["weight"], rtol=0.05, atol=0.2)

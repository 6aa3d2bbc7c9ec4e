"""Norms: all shapes they take, and the settings for which a rule must not hold."""

import pytest
import torch
from one_layer import assert_exact, one_call
from torch import nn

from fimo_fast.gradients.rules import find


def randn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def trained(module):
    """With weights, biases and running statistics that are not 0 and 1."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            tensor.data.uniform_(0.5, 2)
    return module.double().eval()


@pytest.mark.parametrize(
    ("shape", "normalised"), [((4, 3), 3), ((1, 5, 3), 3), ((4, 2, 5, 3), (5, 3)), ((4, 3), (3,)), ((4, 2, 2, 3), 3)]
)
@pytest.mark.parametrize("bias", [True, False])
def test_layer_norm(shape, normalised, bias):
    assert_exact(trained(nn.LayerNorm(normalised, bias=bias, eps=0.1)), randn(*shape), rule="layer_norm")


def test_layer_norm_with_folded_axes():
    assert_exact(trained(nn.LayerNorm(3)), randn(6, 3), apart=(2, 3), rule="layer_norm")


@pytest.mark.parametrize("shape", [(4, 6), (1, 6, 5), (4, 6, 5), (2, 6, 3, 3), (2, 6, 2, 2, 2)])
@pytest.mark.parametrize("groups", [1, 3])
def test_group_norm(shape, groups):
    assert_exact(trained(nn.GroupNorm(groups, 6, eps=0.1)), randn(*shape), rule="group_norm")


def test_group_norm_with_folded_axes():
    assert_exact(trained(nn.GroupNorm(2, 4)), randn(6, 4, 3), apart=(3, 2), rule="group_norm")


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (nn.BatchNorm1d, (4, 3)),
        (nn.BatchNorm1d, (4, 3, 5)),
        (nn.BatchNorm2d, (1, 3, 4, 4)),
        (nn.BatchNorm2d, (4, 3, 4, 4)),
        (nn.BatchNorm3d, (2, 3, 2, 2, 2)),
    ],
)
def test_batch_norm(kind, shape):
    assert_exact(trained(kind(3, eps=0.1)), randn(*shape), rule="batch_norm")


def test_batch_norm_channels_last_and_folded():
    x = randn(6, 3, 4, 4).to(memory_format=torch.channels_last)
    assert_exact(trained(nn.BatchNorm2d(3)), x, apart=(3, 2), rule="batch_norm")


def test_no_rule_for_batch_statistics():
    assert find(nn.BatchNorm2d(3)) is None  # in training
    assert find(nn.BatchNorm2d(3, track_running_stats=False).eval()) is None


@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("kind", "shape"),
    [(nn.InstanceNorm1d, (4, 3, 5)), (nn.InstanceNorm2d, (1, 3, 4, 4)), (nn.InstanceNorm3d, (2, 3, 2, 2, 2))],
)
def test_instance_norm(kind, shape, tracked, training):
    layer = trained(kind(3, eps=0.1, affine=True, track_running_stats=tracked)).train(training)
    assert_exact(layer, randn(*shape), rule="instance_norm")


def test_instance_norm_leaves_the_statistics_alone():
    layer = trained(nn.InstanceNorm1d(3, affine=True, track_running_stats=True)).train()
    call, _ = one_call(layer, randn(4, 3, 5))
    before = [buffer.clone() for buffer in layer.buffers()]
    list(find(layer)[0](call))
    assert all(torch.equal(a, b) for a, b in zip(before, layer.buffers(), strict=True))


@pytest.mark.parametrize("build", [nn.LayerNorm, lambda n: nn.GroupNorm(1, n), nn.BatchNorm1d])
@pytest.mark.parametrize("wanted", ["weight", "bias"])
def test_only_what_is_wanted(build, wanted):
    call, _ = one_call(trained(build(3)), randn(4, 3), wanted={wanted})
    assert {name for name, _ in find(call.module)[0](call)} == {wanted}


@pytest.mark.parametrize("build", [nn.LayerNorm, lambda n: nn.GroupNorm(1, n), nn.BatchNorm1d])
def test_float32(build):
    assert_exact(trained(build(3)).float(), torch.randn(4, 3), rule=find(trained(build(3)))[0].__name__, tolerance=1e-5)

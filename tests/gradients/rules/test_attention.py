import pytest
import torch
from one_layer import assert_exact, one_call
from torch import nn

from fimo_fast.gradients.rules import find

BATCH, LENGTH, KEYS, WIDTH, HEADS = 3, 4, 5, 8, 2


def sources(batch_first, kind, batch=BATCH, kdim=WIDTH, vdim=WIDTH):
    """Query, key and value: the same, key and value the same, or all different."""

    def one(length, width):
        shape = (batch, length, width) if batch_first else (length, batch, width)
        return torch.randn(shape, dtype=torch.float64)

    query, key, value = one(LENGTH, WIDTH), one(KEYS, kdim), one(KEYS, vdim)
    return {"self": (query,) * 3, "memory": (query, key, key), "different": (query, key, value)}[kind]


def layer(**settings):
    module = nn.MultiheadAttention(WIDTH, HEADS, **settings).double().eval()
    for parameter in module.parameters():
        parameter.data.normal_()
    return module


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kind", ["self", "memory", "different"])
@pytest.mark.parametrize("weights", [{"need_weights": False}, {}, {"average_attn_weights": False}])
@pytest.mark.parametrize("settings", [{}, {"bias": False}, {"add_zero_attn": True}])
def test_settings(batch_first, kind, weights, settings):
    module = layer(batch_first=batch_first, **settings)
    x = sources(batch_first, kind)
    assert_exact(module, *x, **weights, axis=0 if batch_first else 1, rule="attention")


@pytest.mark.parametrize("kdim", [WIDTH, 6])
def test_other_widths_of_key_and_value(kdim):
    module = layer(batch_first=True, kdim=kdim, vdim=7)
    names = {"q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"}
    assert_exact(module, *sources(True, "different", kdim=kdim, vdim=7), rule="attention", outer=names)


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("padded", [torch.bool, torch.float64, None])
@pytest.mark.parametrize("masked", [torch.bool, torch.float64, "heads", None])
@pytest.mark.parametrize("need_weights", [True, False])
def test_masks(zero, padded, masked, need_weights):
    masks = {"need_weights": need_weights}
    if padded is not None:
        mask = torch.arange(KEYS) >= torch.tensor([[5], [2], [3]])
        masks["key_padding_mask"] = mask if padded == torch.bool else torch.zeros(mask.shape).double() - 3.0 * mask
    if masked == "heads":
        masks["attn_mask"] = torch.randn(BATCH * HEADS, LENGTH, KEYS, dtype=torch.float64)
    elif masked is not None:
        mask = torch.ones(LENGTH, KEYS, dtype=torch.bool).triu(1)
        masks["attn_mask"] = mask if masked == torch.bool else mask.double() * -2
    if padded is not None and masked is not None:  # torch wants both alike
        masks = {k: m.double() * -9 if getattr(m, "dtype", None) == torch.bool else m for k, m in masks.items()}
    module = layer(batch_first=True, add_zero_attn=zero)
    assert_exact(module, *sources(True, "memory"), **masks, rule="attention")


def test_causal_and_by_name():
    x = torch.randn(BATCH, LENGTH, WIDTH, dtype=torch.float64)
    mask = nn.Transformer.generate_square_subsequent_mask(LENGTH, dtype=torch.float64)
    given = {"query": x, "key": x, "value": x, "attn_mask": mask, "is_causal": True, "need_weights": False}
    assert_exact(layer(batch_first=True), **given, rule="attention", outer={"in_proj_weight", "out_proj.weight"})


@pytest.mark.parametrize("batch_first", [True, False])
def test_folded_axes_and_batch_of_one(batch_first):
    module, axis = layer(batch_first=batch_first), 0 if batch_first else 1
    assert_exact(module, *sources(batch_first, "self", batch=6), axis=axis, apart=(2, 3), rule="attention")
    assert_exact(module, *sources(batch_first, "memory", batch=1), axis=axis, rule="attention")


@pytest.mark.parametrize("wanted", ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"])
def test_only_what_is_wanted(wanted):
    call, _ = one_call(layer(batch_first=True), *sources(True, "memory"), wanted={wanted})
    assert {name for name, _ in find(call.module)[0](call)} == {wanted}


def test_an_output_that_was_not_used():
    """The loss reads the map only, or the map is read by nobody."""
    module, x = layer(batch_first=True), sources(True, "self")
    output, attention_map = module(*x)
    cotangent = torch.randn_like(attention_map)
    exact = torch.autograd.grad((attention_map * cotangent)[0].sum(), module.in_proj_weight)[0]
    call, _ = one_call(module, *x)
    call.deltas[:] = [None, cotangent]
    terms = dict(find(module)[0](call))
    torch.testing.assert_close(terms["in_proj_weight"].formed()[0], exact.flatten())
    assert not terms["out_proj.weight"].formed().any()


def test_biases_of_key_and_value_have_no_rule():
    assert find(layer(add_bias_kv=True)) is None


def test_float32():
    x = [t.float() for t in sources(True, "memory")]
    assert_exact(layer(batch_first=True).float(), *x, rule="attention", tolerance=1e-4)

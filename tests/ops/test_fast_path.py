"""The fast path of a tiny call, past torch's dispatcher: taken where nothing listens there, and nowhere else."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from fimo_fast.ops import (
    fast_path,
    outer_dot,
    outer_norm2,
    outer_project,
    project,
    rows_project,
    scores,
    topk,
    torch_kernels,
)
from fimo_fast.ops.registry import OPS
from fimo_fast.sketch import SRHT
from fimo_fast.testing import assert_same_bits, count_kernel_calls

SKETCH = SRHT(20, 8)
CALLS = {
    "project": lambda x: project(x, SKETCH),
    "outer_project": lambda x: outer_project(x, x, SRHT(400, 8)),
    "rows_project": lambda x: rows_project(torch.zeros(3, 4, dtype=torch.int64), x.view(3, 4, 5), SKETCH),
    "outer_dot": lambda x: outer_dot(x, x, x, x),
    "outer_norm2": lambda x: outer_norm2(x, x),
    "scores": lambda x: scores(x, x),
    "topk": lambda x: topk(x, x, 2)[0],
}


DIFFERENTIATED = {"project": "grads", "rows_project": "delta", "scores": "queries", "topk": "queries"}  # others: a


def test_every_op_is_here():
    assert set(CALLS) == set(OPS)


class Seen(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", CALLS)
def test_plain_tensors_skip_the_dispatcher(name, monkeypatch):
    def refuse(*args):
        raise AssertionError("dispatched")

    x = torch.randn(3, 20)
    expected = CALLS[name](x)
    monkeypatch.setitem(torch_kernels.kernels.calls, name, refuse)  # the dispatcher holds the function itself
    with pytest.raises(AssertionError, match="dispatched"):
        CALLS[name](x)
    monkeypatch.setattr(fast_path, "direct", lambda *tensors: False)
    with count_kernel_calls() as calls:
        assert_same_bits(CALLS[name](x), expected)
    assert calls[name] == 1


@pytest.mark.parametrize("name", CALLS)
def test_modes_see_the_op(name):
    with Seen() as seen:
        CALLS[name](torch.randn(3, 20))
    assert f"fimo_fast::{name}" in seen.names


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace", "ignore:.*Converting a tensor")
@pytest.mark.parametrize("name", CALLS)
def test_traces_contain_the_op(name):
    x, other = torch.randn(2, 3, 20)
    graph = make_fx(CALLS[name])(x)
    assert any(name in str(node.target) for node in graph.graph.nodes)
    assert_same_bits(graph(other), CALLS[name](other))
    traced = torch.jit.trace(CALLS[name], (x,))
    assert_same_bits(traced(other), CALLS[name](other))


def test_who_may_take_it():
    x = torch.randn(3, 20)
    assert fast_path.direct(x, x)
    assert not fast_path.direct(x, x.clone().requires_grad_())
    assert not fast_path.direct(torch.nn.Parameter(x, requires_grad=False))
    assert not fast_path.direct(x.to("meta"))
    assert not fast_path.direct(x.numpy())
    assert not fast_path.direct(None)
    with torch._subclasses.FakeTensorMode():
        assert not fast_path.direct(x)


@pytest.mark.filterwarnings("ignore:.*performance drop")
@pytest.mark.parametrize("name", CALLS)
def test_transforms_never_get_a_wrong_number(name):
    x = torch.randn(4, 3, 20)
    expected = torch.stack([CALLS[name](part) for part in x])
    assert_same_bits(torch.vmap(CALLS[name])(x), expected)  # one call for each, by torch's fallback


@pytest.mark.parametrize("name", CALLS)
def test_lazy_negations_keep_their_sign(name):
    x = torch.randn(3, 20)
    negated = torch.view_as_complex(torch.stack([x, x], -1)).conj().imag
    for view in (negated, torch._neg_view(x)):
        assert view.is_neg()
        assert_same_bits(CALLS[name](view), CALLS[name](-x))


def test_lazy_negations_are_no_outputs():
    x, out = torch.randn(3, 20), torch._neg_view(torch.zeros(3, 8))
    with pytest.raises(ValueError, match="out: .*resolve_neg"):
        project(x, SKETCH, out=out)
    with pytest.raises(ValueError, match="out: .*resolve_neg"):
        outer_project(x, x, SRHT(400, 8), out=out)


def nested(call, x, tangent):
    """The tangent belongs to the outer of two derivatives."""
    return torch.func.jvp(lambda y: torch.func.jvp(lambda _: call(y), (x,), (x,))[0], (x,), (tangent,))


def batched(call, x, tangent):
    with forward_ad.dual_level():
        return torch.vmap(call)(forward_ad.make_dual(x, tangent)[None])


def dual(call, x, tangent):
    with forward_ad.dual_level():
        return call(forward_ad.make_dual(x, tangent))


@pytest.mark.filterwarnings("ignore:.*performance drop")
@pytest.mark.parametrize("name", CALLS)
def test_tangents_are_refused_not_dropped(name):
    x, argument = torch.randn(3, 20), DIFFERENTIATED.get(name, "a")
    for way in (dual, batched, nested, lambda call, x, t: torch.func.jvp(call, (x,), (t,))):
        with pytest.raises(RuntimeError, match=f"^{argument}: has a forward-mode tangent.*{argument}.detach"):
            way(CALLS[name], x, torch.ones_like(x))
    # What does not depend on the differentiated variable is a constant.
    result = torch.func.jvp(lambda y: y * CALLS[name](x).sum(), (x,), (torch.ones_like(x),))[1]
    torch.testing.assert_close(result, CALLS[name](x).sum().expand(3, 20))


@pytest.mark.parametrize(
    "add",
    [lambda x, out: project(x, SKETCH, out=out), lambda x, out: outer_project(x, x, SRHT(400, 8), out=out)],
    ids=["project", "outer_project"],
)
def test_autograd_notices_what_is_added_to_out(add):
    out, weight = torch.ones(3, 8), torch.ones(3, 8, requires_grad=True)
    loss = (out * weight).sum()
    add(torch.randn(3, 20), out)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    with torch.inference_mode():
        add(torch.randn(3, 20), torch.ones(3, 8))  # has no counter of versions

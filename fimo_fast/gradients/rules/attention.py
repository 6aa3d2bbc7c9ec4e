"""Multi-head attention of torch: four Linear layers that are functional calls, which no hook sees."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..terms import Dense, Outer
from . import Call, Terms, rule

_COVERED = {
    *("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias"),
    *("out_proj.weight", "out_proj.bias"),
}


# Not with bias_k and bias_v, nor with an adapter in place of out_proj.
@rule(
    nn.MultiheadAttention,
    descendants=True,
    when=lambda module: {name for name, _ in module.named_parameters()} <= _COVERED,
)
def attention(call: Call) -> Terms:
    """Of each projection y = x Wᵀ + b: ∇W = Σ_t δ_t x_tᵀ, ∇b = Σ_t δ_t.

    The call gives only the δ of its output. Those of the projections of query, key and value come from computing the
    attention once more and differentiating it.
    """
    module, dtype = call.module, call.delta.dtype
    bound = inspect.signature(nn.MultiheadAttention.forward).bind(module, *call.args, **call.kwargs)
    bound.apply_defaults()
    given = bound.arguments
    out_delta, map_delta = (*call.deltas, None)[:2]
    out_delta = _batch_first(module, call.delta.new_zeros(given["query"].shape) if out_delta is None else out_delta)

    projections = _projections(module, given, dtype)
    values = [F.linear(p.x, p.weight, p.bias).requires_grad_() for p in projections]
    with torch.enable_grad():
        q, k, v = values if len(values) == 3 else values[0].chunk(3, -1)
        context, attention_map = _attend(module, q, k, v, given, mapped=map_delta is not None)
    outputs, cotangents = [context], [out_delta @ module.out_proj.weight.detach().to(dtype)]
    if attention_map is not None and map_delta is not None:
        outputs, cotangents = [context, attention_map], [*cotangents, map_delta.to(dtype)]
    deltas = torch.autograd.grad(outputs, values, cotangents)

    def apart(x: Tensor) -> Tensor:  # [batch · c, T, width] to [batch, c · T, width]
        return x.reshape(len(call.delta), -1, x.shape[-1])

    for projection, delta in zip(projections, map(apart, deltas), strict=True):
        if projection.name in call.wanted:
            start = projection.row * module.embed_dim if projection.name == "in_proj_weight" else 0
            yield projection.name, Outer(apart(projection.x), delta, start)
        if "in_proj_bias" in call.wanted:
            yield "in_proj_bias", Dense(delta.sum(1), projection.row)
    delta = apart(out_delta)
    if "out_proj.weight" in call.wanted:
        yield "out_proj.weight", Outer(apart(context.detach()), delta)
    if "out_proj.bias" in call.wanted:
        yield "out_proj.bias", Dense(delta.sum(1))


@dataclass(frozen=True)
class _Projection:
    """y = x Wᵀ + b, where W and b begin at a row of the stacked q, k and v.

    Attributes:
        x: [batch · c, T, in].
        name: Of the parameter that W is, or is rows of.
        weight: W, [out, in].
        bias: [out].
        row: First row.
    """

    x: Tensor
    name: str
    weight: Tensor
    bias: Tensor | None
    row: int


def _projections(module: Any, given: dict[str, Any], dtype: torch.dtype) -> list[_Projection]:
    """Those of query, key and value; a single one where these are the same tensor."""
    sources = [given["query"], given["key"], given["value"]]
    if module.in_proj_weight is None:
        names = ["q_proj_weight", "k_proj_weight", "v_proj_weight"]
        weights = [module.q_proj_weight, module.k_proj_weight, module.v_proj_weight]
    elif sources[0] is sources[1] is sources[2]:
        sources, names, weights = sources[:1], ["in_proj_weight"], [module.in_proj_weight]
    else:
        names, weights = ["in_proj_weight"] * 3, module.in_proj_weight.chunk(3)

    projections, row = [], 0
    for source, name, weight in zip(sources, names, weights, strict=True):
        end = row + len(weight)
        bias = None if module.in_proj_bias is None else module.in_proj_bias[row:end].detach().to(dtype)
        x = _batch_first(module, source.detach()).to(dtype)
        projections.append(_Projection(x, name, weight.detach().to(dtype), bias, row))
        row = end
    return projections


def _attend(
    module: nn.MultiheadAttention, q: Tensor, k: Tensor, v: Tensor, given: dict[str, Any], mapped: bool
) -> tuple[Tensor, Tensor | None]:
    """The heads side by side, before ``out_proj``, and the attention map where asked for.

    Args:
        module: The module.
        q: [batch, T, embed].
        k: [batch, S, embed].
        v: [batch, S, embed].
        given: The arguments of the call.
        mapped: Whether the map is wanted.

    Returns:
        [batch, T, embed], and [batch, T, S] (or [batch, heads, T, S], as the call asked for it) or None.
    """
    batch, length, _ = q.shape
    q, k, v = (t.unflatten(-1, (module.num_heads, -1)).transpose(1, 2) for t in (q, k, v))
    mask = given["attn_mask"]
    if mask is not None:
        mask = _additive(mask, q.dtype)
        mask = mask.unflatten(0, (batch, -1)) if mask.dim() == 3 else mask
    if (padding := given["key_padding_mask"]) is not None:
        padding = _additive(padding, q.dtype)[:, None, None]
        mask = padding if mask is None else mask + padding
    if module.add_zero_attn:
        k, v = (F.pad(t, (0, 0, 0, 1)) for t in (k, v))
        mask = None if mask is None else F.pad(mask, (0, 1))

    attention_map = None
    if mapped:
        logits = q @ k.mT / math.sqrt(q.shape[-1])
        attention_map = (logits if mask is None else logits + mask).softmax(-1)
        context = attention_map @ v
        attention_map = attention_map.mean(1) if given["average_attn_weights"] else attention_map
    else:
        context = F.scaled_dot_product_attention(q, k, v, mask)
    return context.transpose(1, 2).reshape(batch, length, -1), attention_map


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask of what not to attend to, as numbers to add."""
    if mask.dtype != torch.bool:
        return mask.detach().to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -torch.inf)


def _batch_first(module: nn.MultiheadAttention, x: Tensor) -> Tensor:
    return x if module.batch_first else x.transpose(0, 1)

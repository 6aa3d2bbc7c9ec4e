"""y_t = s · row i_t of a table."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..terms import Rows
from . import Call, Terms, rule


def _plain(table: Any) -> bool:
    """Not with scale_grad_by_freq: a row's gradient then depends on how often the whole batch uses it."""
    return not table.scale_grad_by_freq


@rule(nn.Embedding, when=_plain)
def embedding(call: Call) -> Terms:
    """∇W = Σ_t e(i_t) δ_tᵀ, without the row of padding."""
    yield "weight", _rows(call, call.delta)


@rule("*ScaledWordEmbedding", when=lambda module: hasattr(module, "embed_scale") and _plain(module))
def scaled_embedding(call: Call) -> Terms:
    """∇W = Σ_t s e(i_t) δ_tᵀ: of Gemma, BART and others of transformers."""
    yield "weight", _rows(call, call.delta * call.module.embed_scale)


def _rows(call: Call, delta: Tensor) -> Rows:
    table, batch = call.module, len(call.inputs)
    index, delta = call.inputs.reshape(batch, -1), delta.reshape(batch, -1, table.embedding_dim)
    if table.padding_idx is not None:
        delta = delta.masked_fill((index == table.padding_idx)[..., None], 0)
    return Rows(index.long(), delta, table.num_embeddings)

"""y_t = row i_t of a table."""

from __future__ import annotations

from torch import nn

from ..pieces import Rows
from . import Call, Pieces, rule


# With scale_grad_by_freq a row's gradient depends on how often the whole batch uses it.
@rule(nn.Embedding, when=lambda module: not module.scale_grad_by_freq)
def embedding(call: Call) -> Pieces:
    """∇W = Σ_t e(i_t) δ_tᵀ, without the row of padding."""
    table, batch = call.module, len(call.inputs)
    index, delta = call.inputs.reshape(batch, -1), call.delta.reshape(batch, -1, table.embedding_dim)
    if table.padding_idx is not None:
        delta = delta.masked_fill((index == table.padding_idx)[..., None], 0)
    yield "weight", Rows(index.long(), delta, table.num_embeddings)

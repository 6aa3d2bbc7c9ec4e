"""torch's ``functional_call`` for modules with tied parameters and for attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel


def functional_call(
    module: nn.Module, values: Mapping[str, Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """The module's output with these values for its parameters and buffers, at all places where they are tied.

    torch's ``functional_call`` ties by name. If a module is held under two names, it swaps the same attribute twice and
    restores the replacement as the original, so the model loses its parameter.

    Args:
        module: The module.
        values: {name of a parameter or buffer: its value}; any of its names.
        args: Of the call.
        kwargs: Of the call.
    """
    every = chain(module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False))
    by_tensor = {id(tensor): values[name] for name, tensor in every if name in values}
    places = {}
    for path, owner in module.named_modules():  # each once
        for leaf, tensor in chain(owner._parameters.items(), owner._buffers.items()):
            if id(tensor) in by_tensor:
                places[f"{path}.{leaf}" if path else leaf] = by_tensor[id(tensor)]
    return torch.func.functional_call(module, places, args, kwargs, tie_weights=False)


@contextmanager
def unfused() -> Iterator[None]:
    """Without the fused path of nn.MultiheadAttention and nn.TransformerEncoder: hooks and vmap see nothing of it."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


@contextmanager
def transformable() -> Iterator[None]:
    """Attention by operations that vmap and forward-mode differentiation know; fused kernels do not take part."""
    with unfused(), sdpa_kernel(SDPBackend.MATH):
        yield


def untransformable(model: nn.Module, what: str, error: Exception) -> RuntimeError:
    """The error to raise where torch.func does not know an operation of the model."""
    return RuntimeError(
        f"{what}: torch.func could not transform {type(model).__name__} (random operations, control flow that "
        f"depends on data, and operations without a vmap or forward-mode rule, such as nn.LSTM, are not supported). "
        f"torch says: {error}"
    )

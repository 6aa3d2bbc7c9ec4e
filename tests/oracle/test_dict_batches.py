"""Further training of a model that reads dicts, against torch.optim one run at a time."""

import copy

import pytest
import torch

import fimo_fast as ff
from fimo_fast.oracle.sampling import order

pytestmark = pytest.mark.packages
transformers = pytest.importorskip("transformers")
N, QUERIES, EPOCHS, BATCH, LEFT_OUT = 7, 3, 2, 3, [0, 4]


def classifier():
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12,
        max_position_embeddings=16, num_labels=3,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config).double().eval()


def sentences(count, seed):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(count, 6, dtype=torch.long)
    mask[1, 3:] = 0
    return {
        "input_ids": torch.randint(1, 30, (count, 6), generator=generator) * mask,
        "attention_mask": mask,
        "labels": torch.randint(3, (count,), generator=generator),
    }


TRAIN, TEST = sentences(N, 1), sentences(QUERIES, 2)


def plain(optimizer, left):
    """Query losses after each epoch, [epochs, queries], by transformers' own loss of one example at a time."""
    model = copy.deepcopy(classifier())
    kind, arguments = optimizer
    steps = kind(model.parameters(), **arguments)

    def losses(data, index):
        rows = [{key: value[i : i + 1] for key, value in data.items()} for i in index]
        return torch.stack([model(**row).loss for row in rows])

    found = []
    for epoch in range(EPOCHS):
        for index in torch.from_numpy(order(N, 0, epoch)).split(BATCH):
            steps.zero_grad()
            weights = torch.tensor([float(int(i) != left) for i in index], dtype=torch.float64)
            (weights * losses(TRAIN, index)).sum().div(len(index)).backward()
            steps.step()
        with torch.no_grad():
            found.append(losses(TEST, range(QUERIES)))
    return torch.stack(found)


@pytest.mark.parametrize("optimizer", [(torch.optim.SGD, {"lr": 0.1}), (torch.optim.AdamW, {"lr": 0.01})])
def test_replicas_equal_one_at_a_time_training(optimizer):
    training = ff.FurtherTraining(ff.Problem(classifier()), optimizer, EPOCHS, BATCH, seeds=[0])
    result = training.run(TRAIN, TEST, LEFT_OUT)
    full = plain(optimizer, None)
    effects = torch.stack([plain(optimizer, left) - full for left in LEFT_OUT], dim=-1)
    torch.testing.assert_close(result.full[0], full, rtol=0, atol=1e-10)
    torch.testing.assert_close(result.per_seed[0], effects, rtol=0, atol=1e-10)
    assert result.effects.abs().max() > 1e-4


@pytest.mark.parametrize("method", [ff.UnrolledDerivative, ff.UnrolledResponse])
def test_both_modes_of_the_derivative_agree(method):
    training = ff.FurtherTraining(ff.Problem(classifier()), (torch.optim.SGD, {"lr": 0.05}), 2, BATCH, seeds=1)
    forward, reverse = (
        method(training).by_epoch(training.problem, TRAIN, TEST, mode=mode) for mode in ("forward", "reverse")
    )
    torch.testing.assert_close(forward, reverse, rtol=0, atol=1e-12)
    assert forward.abs().max() > 1e-4

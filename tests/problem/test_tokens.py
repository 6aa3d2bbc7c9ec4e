"""Token by token: the queries of a sequence's tokens add up to the sequence."""

import pytest
import torch
from torch import nn

import fimo_fast as ff
from fimo_fast.problem.losses import TokenCrossEntropy, cross_entropy

IDS = torch.randint(0, 9, (3, 5), generator=torch.Generator().manual_seed(0))
LABELS = IDS.clone()
LABELS[0, 3:], LABELS[2] = -100, -100


def problem(loss, output_fn=None):
    torch.manual_seed(0)
    return ff.Problem(nn.Sequential(nn.Embedding(9, 4), nn.Tanh(), nn.Linear(4, 9)).double(), loss, output_fn)


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("output_fn", [None, "margin", "logit"])
def test_tokens_add_up_to_their_sequence(shift, reduction, output_fn):
    one = problem(TokenCrossEntropy(shift, reduction), output_fn)
    tokens, which = ff.by_token(one, (IDS, LABELS))
    expected = [(s, t) for s in range(3) for t in range(5) if LABELS[s, t] != -100 and (t > 0 or not shift)]
    assert which.tolist() == [list(pair) for pair in expected]
    assert ((tokens.targets != -100).sum(1) == 1).all()
    values = one.outputs(one.parameters(), tokens.inputs, tokens.targets)
    gradients = one.ravel(ff.per_example_gradients(one, tokens.inputs, tokens.targets, "output"))
    whole = one.outputs(one.parameters(), IDS, LABELS)
    whole_gradients = one.ravel(ff.per_example_gradients(one, IDS, LABELS, "output"))
    for sequence in range(3):
        mine = which[:, 0] == sequence
        count = max(1, int(mine.sum())) if reduction == "mean" else 1
        torch.testing.assert_close(values[mine].sum() / count, whole[sequence])
        torch.testing.assert_close(gradients[mine].sum(0) / count, whole_gradients[sequence])


@pytest.mark.packages
def test_the_decoder_still_reads_the_whole_target():
    transformers = pytest.importorskip("transformers")
    config = transformers.T5Config(
        vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    model = transformers.T5ForConditionalGeneration(config).double().eval()
    data = {"input_ids": IDS, "labels": LABELS[:2].repeat(2, 1)[:3]}
    one = ff.Problem(model)
    tokens, which = ff.by_token(one, data)
    whole = ff.data.load(one, data, "queries")
    assert torch.equal(tokens.inputs["decoder_input_ids"], whole.inputs["decoder_input_ids"][which[:, 0]])
    values = one.losses(one.parameters(), tokens.inputs, tokens.targets)
    losses = one.losses(one.parameters(), whole.inputs, whole.targets)
    for sequence in range(3):
        torch.testing.assert_close(values[which[:, 0] == sequence].mean(), losses[sequence])


def test_refused():
    with pytest.raises(ValueError, match="problem: expected a losses.TokenCrossEntropy as its loss_fn"):
        ff.by_token(problem(cross_entropy), (IDS, LABELS))
    with pytest.raises(ValueError, match="queries: expected at least one labelled token, got none"):
        ff.by_token(problem(TokenCrossEntropy(True)), (IDS, torch.full_like(IDS, -100)))

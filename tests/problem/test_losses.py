"""Losses and outputs of examples against torch's own, one example at a time, and against the formulas."""

import math
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fimo_fast as ff
from fimo_fast.problem import losses

SCORES = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
CLASSES = torch.tensor([0, 4, 2, 2])
LOGITS = torch.randn(3, 6, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
LABELS = torch.tensor([[1, 2, 3, 4, 5, 6], [-100, -100, 3, 0, -100, -100], [-100, 1, 2, -100, -100, -100]])


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_tokens_are_averaged_over_their_own_sequence(shift, reduction):
    loss = losses.TokenCrossEntropy(shift, reduction)
    for i, value in enumerate(loss(LOGITS, LABELS)):
        logits, labels = (LOGITS[i, :-1], LABELS[i, 1:]) if shift else (LOGITS[i], LABELS[i])
        torch.testing.assert_close(value, F.cross_entropy(logits, labels, reduction=reduction))


def test_the_batch_average_of_transformers_is_another_loss():
    each = losses.TokenCrossEntropy(shift=False)(LOGITS, LABELS)
    batch = F.cross_entropy(LOGITS.flatten(0, 1), LABELS.flatten())
    assert (each.mean() - batch).abs() > 1e-3
    counts = (LABELS != -100).sum(1)
    torch.testing.assert_close((each * counts).sum() / counts.sum(), batch)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", ["loss", "margin", "logit"])
def test_a_sequence_without_a_label_counts_for_nothing(reduction, name):
    loss = losses.TokenCrossEntropy(True, reduction)
    function = losses.output_function(name, loss) or loss
    labels = torch.full_like(LABELS, -100)
    labels[0, 0] = 3  # nothing predicts the first token
    logits = LOGITS.clone().requires_grad_()
    values = function(logits, labels)
    assert torch.equal(values, torch.zeros(3, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_squared_errors():
    output, target = SCORES, SCORES.flip(0)
    torch.testing.assert_close(losses.squared_error(output[:, 0], target[:, 0]), (output - target)[:, 0].square())
    torch.testing.assert_close(losses.squared_error(output[:, :1], target[:, 0]), (output - target)[:, 0].square())
    torch.testing.assert_close(losses.squared_error(output, target), (output - target).square().mean(1))
    with pytest.raises(ValueError, match=r"target: expected the shape \[4, 5\] of the model's output, got \[4\]"):
        losses.squared_error(output, target[:, 0])


def test_a_margin_is_the_log_odds():
    p = SCORES.softmax(1).gather(1, CLASSES[:, None])[:, 0]
    torch.testing.assert_close(losses.margin(SCORES, CLASSES), (p / (1 - p)).log())
    torch.testing.assert_close(losses.logit(SCORES, CLASSES), SCORES[torch.arange(4), CLASSES])


def test_a_margin_keeps_its_digits_where_the_probability_is_1():
    scores = torch.tensor([[100.0, 0.0, 0.0], [0.0, 100.0, 0.0]], requires_grad=True)
    margins = losses.margin(scores, torch.tensor([0, 0]))
    torch.testing.assert_close(margins, torch.tensor([100 - math.log(2), -100.0]))
    (gradient,) = torch.autograd.grad(margins.sum(), scores)
    torch.testing.assert_close(gradient, torch.tensor([[1.0, -0.5, -0.5], [1.0, -1.0, 0.0]]))


@pytest.mark.parametrize("name", ["margin", "logit"])
@pytest.mark.parametrize("shift", [False, True])
def test_outputs_of_tokens(name, shift):
    function = losses.output_function(name, losses.TokenCrossEntropy(shift, "mean"))
    single = getattr(losses, name)
    for i, value in enumerate(function(LOGITS, LABELS)):
        logits, labels = (LOGITS[i, :-1], LABELS[i, 1:]) if shift else (LOGITS[i], LABELS[i])
        kept = labels != -100
        torch.testing.assert_close(value, single(logits[kept], labels[kept]).mean())


def test_16_bits_become_32_before_the_loss():
    scores, logits = SCORES.bfloat16(), LOGITS.bfloat16()
    assert torch.equal(losses.cross_entropy(scores, CLASSES), losses.cross_entropy(scores.float(), CLASSES))
    assert torch.equal(losses.margin(scores, CLASSES), losses.margin(scores.float(), CLASSES))
    loss = losses.TokenCrossEntropy(True)
    assert torch.equal(loss(logits, LABELS), loss(logits.float(), LABELS))


def test_trak_explains_tokens_by_their_margins():
    loss = losses.TokenCrossEntropy(True)
    assert losses.trak_output(loss) == losses.output_function("margin", loss)
    torch.testing.assert_close(
        losses.trak_output(losses.cross_entropy)(SCORES, CLASSES), losses.margin(SCORES, CLASSES)
    )
    torch.testing.assert_close(losses.trak_output(losses.squared_error)(SCORES[:, :1], SCORES[:, 0]), SCORES[:, 0])


@pytest.mark.parametrize("name", ["loss", "margin", "logit"])
def test_outputs_by_name_in_a_problem(name):
    model = nn.Linear(3, 5).double()
    problem = ff.Problem(model, losses.cross_entropy, name)
    x = torch.randn(4, 3, dtype=torch.float64)
    expected = {"loss": losses.cross_entropy, "margin": losses.margin, "logit": losses.logit}[name]
    torch.testing.assert_close(problem.outputs(problem.parameters(), x, CLASSES), expected(model(x), CLASSES).detach())
    assert ff.Problem(model, losses.cross_entropy).with_output_fn(name).output_fn == problem.output_fn


def test_what_is_given_survives_pickling():
    token = losses.TokenCrossEntropy(True, "sum")
    for function in (losses.cross_entropy, losses.squared_error, token, losses.output_function("margin", token)):
        assert pickle.loads(pickle.dumps(function)) == function


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.TokenCrossEntropy(True, "none"), 'reduction: expected "mean" or "sum", got \'none\''),
        (lambda: losses.TokenCrossEntropy(True)(SCORES, CLASSES), r"labels: expected logits \[batch, T, vocabulary\]"),
        (lambda: losses.TokenCrossEntropy(True)(LOGITS, LABELS[:, 1:]), r"got \[3, 6, 7\] and \[3, 5\]"),
        (lambda: losses.margin(SCORES[:, :1], CLASSES), "margin: expected at least 2 classes, got 1"),
        (lambda: losses.margin(SCORES, SCORES[:, 0]), "margin: expected class scores .* and a torch.float64 target"),
        (lambda: losses.logit(SCORES, SCORES), "logit: expected class scores"),
        (lambda: losses.output_function("odds", losses.cross_entropy), "output_fn: expected a callable .* got 'odds'"),
        (lambda: losses.output_function("margin", losses.squared_error), 'expected a classifier for "margin"'),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_classes_out_of_range_are_no_number():
    token = losses.TokenCrossEntropy(False)
    for bad in (7, -1):
        labels = LABELS.clone()
        labels[0, 0] = bad
        for function in (token, losses.output_function("margin", token), losses.output_function("logit", token)):
            with pytest.raises((IndexError, RuntimeError)):
                function(LOGITS, labels)

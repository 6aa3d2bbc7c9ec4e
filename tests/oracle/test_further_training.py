"""The oracle against one-at-a-time training with torch.optim, and what it refuses."""

from functools import partial

import numpy as np
import pytest
import torch
from plain_training import OPTIMIZERS, query_losses, regression, smooth_mlp, squared_error

import fimo_fast as ff
from fimo_fast.utils.memory import workspace

EPOCHS, BATCH, LEFT_OUT = 3, 8, [0, 5, 22]


def plain_effects(model, train, queries, optimizer, seed, removed=False):
    def losses(left):
        if removed:
            return query_losses(model, squared_error, train, queries, optimizer, EPOCHS, BATCH, seed, removed=left)
        weights = torch.ones(len(train[0]), dtype=torch.float64)
        if left is not None:
            weights[left] = 0
        return query_losses(model, squared_error, train, queries, optimizer, EPOCHS, BATCH, seed, weights)

    full = losses(None)
    return torch.stack([losses(left) - full for left in LEFT_OUT], dim=-1), full


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("batches", ["matched", "shifted"])
@pytest.mark.parametrize("n", [23, 25])  # 25: removing an example empties the last batch
def test_replicas_equal_one_at_a_time_training(name, batches, n):
    model, (train, queries) = smooth_mlp(), regression(n)
    problem = ff.Problem(model, squared_error)
    training = ff.FurtherTraining(problem, OPTIMIZERS[name], EPOCHS, BATCH, seeds=[0, 7], batches=batches)
    result = training.run(train, queries, LEFT_OUT)
    for row, seed in enumerate([0, 7]):
        effects, full = plain_effects(model, train, queries, OPTIMIZERS[name], seed, removed=batches == "shifted")
        torch.testing.assert_close(result.per_seed[row], effects, rtol=0, atol=1e-10)
        torch.testing.assert_close(result.full[row], full, rtol=0, atol=1e-10)
    assert result.effects.abs().max() > 1e-4  # the effects are not all zero


def test_groups_of_replicas_do_not_change_the_result():
    train, queries = regression()
    training = ff.FurtherTraining(ff.Problem(smooth_mlp(), squared_error), OPTIMIZERS["adam"], 2, 8, seeds=2)
    together = training.run(train, queries, LEFT_OUT)
    with workspace(1):  # one replica at a time
        alone = training.run(train, queries, LEFT_OUT)
    torch.testing.assert_close(together.per_seed, alone.per_seed, rtol=0, atol=1e-13)


def test_float64_training_of_a_float32_model_leaves_the_model_alone():
    (x, y), (qx, qy) = regression()
    model = smooth_mlp().float()
    before = [p.clone() for p in model.parameters()]
    problem = ff.Problem(model, squared_error)
    training = ff.FurtherTraining(problem, OPTIMIZERS["sgd"], EPOCHS, BATCH, seeds=1, dtype=torch.float64)
    result = training.run((x.float(), y.float()), (qx.float(), qy.float()), LEFT_OUT)
    double = [t.float().double() for t in (x, y, qx, qy)]
    effects, _ = plain_effects(model.double(), double[:2], double[2:], OPTIMIZERS["sgd"], 0)
    torch.testing.assert_close(result.per_seed[0], effects, rtol=0, atol=1e-10)
    assert all(torch.equal(p.float(), b) for p, b in zip(model.parameters(), before, strict=True))


def test_output_fn_is_what_is_measured_and_selected_parameters_are_what_moves():
    train, queries = regression()
    model = smooth_mlp()
    problem = ff.Problem(model, squared_error, output_fn=lambda out, _: 3 * out, parameters="4.*")
    result = ff.FurtherTraining(problem, OPTIMIZERS["sgd"], 1, 8, seeds=1).run(train, queries, [0])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("4."))
    optimizer = (torch.optim.SGD, {"lr": 0.05})

    def outputs(weights):
        return query_losses(model, lambda out, y: 3 * out if len(y) == 4 else squared_error(out, y), train, queries,
                            optimizer, 1, 8, 0, weights)  # fmt: skip

    weights = torch.ones(len(train[0]), dtype=torch.float64)
    full = outputs(weights)
    weights[0] = 0
    torch.testing.assert_close(result.per_seed[0, :, :, 0], outputs(weights) - full, rtol=0, atol=1e-12)


def test_distance_is_that_of_the_full_run():
    train, queries = regression()
    problem = ff.Problem(smooth_mlp(), squared_error)
    one = ff.FurtherTraining(problem, OPTIMIZERS["sgd"], 1, len(train[0]), seeds=1).run(train, queries, [3])
    gradients = problem.ravel(ff.per_example_gradients(problem, *train)).mean(0)
    torch.testing.assert_close(one.distance[0, 0], 0.05 * gradients.norm())


def test_convolutions_train_too():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(), torch.nn.Linear(27, 4)
    ).double()
    train = (torch.randn(20, 1, 8, 8, dtype=torch.float64), torch.randint(4, (20,)))
    queries = (torch.randn(5, 1, 8, 8, dtype=torch.float64), torch.randint(4, (5,)))
    loss = torch.nn.CrossEntropyLoss(reduction="none")
    optimizer = OPTIMIZERS["momentum"]
    result = ff.FurtherTraining(ff.Problem(model, loss), optimizer, 2, 6, seeds=[4]).run(train, queries, [1])
    weights = torch.ones(20, dtype=torch.float64)
    full = query_losses(model, loss, train, queries, optimizer, 2, 6, 4, weights)
    weights[1] = 0
    without = query_losses(model, loss, train, queries, optimizer, 2, 6, 4, weights)
    torch.testing.assert_close(result.per_seed[0, :, :, 0], without - full, rtol=0, atol=1e-10)


def test_progress_of_its_own(capsys):
    train, queries = regression()
    training = ff.FurtherTraining(ff.Problem(smooth_mlp(), squared_error), OPTIMIZERS["sgd"], 1, 8, seeds=1)
    training.run(train, queries, [0], progress=True)
    assert "further training" in capsys.readouterr().out


@pytest.fixture
def problem():
    return ff.Problem(smooth_mlp(), squared_error)


def make(problem, **changes):
    arguments = {"optimizer": (torch.optim.SGD, {"lr": 0.1}), "epochs": 1, "batch_size": 4, "seeds": 2} | changes
    return ff.FurtherTraining(problem, **arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"batch_size": -1}, "batch_size: expected at least 1, got -1"),
        ({"seeds": 0}, "seeds: expected at least 1, got 0"),
        ({"seeds": []}, "seeds: expected how many, or distinct seeds"),
        ({"dtype": torch.bfloat16}, "dtype: expected torch.float32 or torch.float64, got torch.bfloat16"),
        ({"seeds": [1, 1]}, "seeds: .*distinct"),
        ({"batches": "same"}, "batches: expected one of"),
        ({"dtype": torch.int64}, "dtype: expected torch.float32"),
        ({"optimizer": partial(torch.optim.Adagrad, lr=1.0)}, "optimizer: .*got Adagrad"),
    ],
)
def test_refused_settings(problem, changes, message):
    with pytest.raises(ValueError, match=message):
        make(problem, **changes)


@pytest.mark.parametrize(
    ("leave_out", "message"),
    [
        ([], "leave_out: expected at least one"),
        ([0, 23], r"leave_out: expected indices from 0 to 22, got \[23\]"),
        ([-1], "leave_out: expected at least 0, got -1"),
        ([3, 4, 3], r"leave_out: expected distinct indices, got \[3\]"),
    ],
)
def test_refused_left_out(problem, leave_out, message):
    with pytest.raises(ValueError, match=message):
        make(problem).run(*regression(), leave_out)


def test_refused_data(problem):
    train, queries = regression()
    with pytest.raises(ValueError, match="batch_size: expected at most the 23 training examples, got 24"):
        make(problem, batch_size=24).run(train, queries, [0])
    with pytest.raises(ValueError, match="train: expected at least one example"):
        make(problem).run((train[0][:0], train[1][:0]), queries, [0])
    with pytest.raises(ValueError, match="queries: expected at least one example"):
        make(problem).run(train, (queries[0][:0], queries[1][:0]), [0])


def test_divergence_is_an_error_that_says_when(problem):
    train, queries = regression()
    with pytest.raises(FloatingPointError, match="diverged: query .* epoch .* seed 0; lower the learning rate"):
        make(problem, optimizer=(torch.optim.SGD, {"lr": 1e6}), epochs=60).run(train, queries, [0])


@pytest.mark.parametrize("leave_out", [[0.9], [True], "01", 3, torch.tensor([True, False])])
def test_what_is_no_index(problem, leave_out):
    with pytest.raises(TypeError, match="leave_out: expected"):
        make(problem).run(*regression(), leave_out)


def test_numpy_integers_are_integers(problem):
    training = make(problem, epochs=np.int64(1), seeds=np.int64(2))
    assert training.run(*regression(), np.array([3, 4])).left_out == (3, 4)


def test_many_queries_are_read_in_pieces(problem):
    train, queries = regression(queries=700)
    few = queries[0][:5], queries[1][:5]
    many = make(problem).run(train, queries, [0, 1]).per_seed
    torch.testing.assert_close(many[:, :, :5], make(problem).run(train, few, [0, 1]).per_seed, rtol=0, atol=1e-13)


def test_bfloat16_models_need_a_dtype():
    problem = ff.Problem(torch.nn.Linear(3, 1).bfloat16(), squared_error)
    with pytest.raises(ValueError, match="got torch.bfloat16 from the model"):
        make(problem)
    assert make(problem, dtype=torch.float64).dtype == torch.float64


def test_recurrent_models_are_refused_in_words():
    class Recurrent(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = torch.nn.LSTM(3, 4, batch_first=True)

        def forward(self, x):
            return self.cell(x)[0][:, -1, 0]

    data = torch.randn(8, 5, 3), torch.randn(8)
    problem = ff.Problem(Recurrent(), squared_error)
    with pytest.raises(RuntimeError, match="further training: torch.func could not transform Recurrent"):
        make(problem).run(data, data, [0])

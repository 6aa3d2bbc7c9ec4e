"""Data at the border: what is taken, and what is refused with the example named."""

import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

import fimo_fast as ff
from fimo_fast.problem import load
from fimo_fast.utils.memory import workspace


def squared_error(output, target):
    return (output - target).square()


@pytest.fixture
def problem():
    torch.manual_seed(0)
    return ff.Problem(torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Flatten(0)), squared_error)


X, Y = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.linspace(-1, 1, 6)


def test_a_dataset_and_a_pair_of_tensors_are_the_same(problem):
    pair, dataset = load(problem, (X, Y), "train"), load(problem, TensorDataset(X, Y), "train")
    assert torch.equal(pair.inputs, dataset.inputs) and torch.equal(pair.targets, dataset.targets)


def test_a_dataset_of_items(problem):
    class Items(Dataset):
        def __len__(self):
            return 6

        def __getitem__(self, i):
            return X[i], float(Y[i])

    torch.testing.assert_close(load(problem, Items(), "train").targets.float(), Y)


class Endless(IterableDataset):
    def __iter__(self):
        return iter(())


def test_all_methods_take_a_dataset(problem):
    torch.testing.assert_close(
        ff.GradDot().attribute(problem, TensorDataset(X, Y), TensorDataset(X, Y)),
        ff.GradDot().attribute(problem, (X, Y), (X, Y)),
    )


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ((X[:0], Y[:0]), ValueError, "train: expected at least one example, got none"),
        (TensorDataset(X[:0], Y[:0]), ValueError, "train: expected at least one example, got none"),
        ((X, Y[:5]), ValueError, "as many inputs as targets, got 6 and 5"),
        ((X[:5], Y), ValueError, "as many inputs as targets, got 5 and 6"),
        ((X.to("meta"), Y), ValueError, "train inputs: expected on cpu like the model, got meta"),
        ((X.double(), Y), ValueError, "train inputs: expected torch.float32 like the model's parameters"),
        ((X.index_fill(0, torch.tensor([4]), float("nan")), Y), ValueError, "NaN or infinity in example 4"),
        ((X, Y.index_fill(0, torch.tensor([2]), float("inf"))), ValueError, "train targets: .* in example 2"),
        (X, TypeError, "train: expected a torch Dataset with a length or a pair of tensors"),
        (TensorDataset(X), TypeError, r"train: expected a Dataset of \(input, target\) pairs"),
        (Endless(), TypeError, "train: expected a torch Dataset with a length"),
    ],
)
def test_refused(problem, data, error, message):
    with pytest.raises(error, match=message):
        load(problem, data, "train")
    with pytest.raises(error, match=message):
        ff.GradDot().attribute(problem, data, (X, Y))


def test_a_loss_that_is_not_finite_names_the_example():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Flatten(0))
    problem = ff.Problem(net, lambda output, target: target.log() + 0 * output)
    with pytest.raises(ValueError, match="train: expected finite losses, got nan for example 0"):
        ff.InfluenceFunction(1.0).attribute(problem, (X, Y), (X, Y))
    positive = (X[3:], Y[3:])
    with pytest.raises(ValueError, match="queries: expected finite losses"):
        ff.FurtherTraining(problem, torch.optim.SGD, 1, 1, seeds=1).run(positive, (X, Y), [0])


def test_a_loss_that_depends_on_the_batch():
    class Centred(torch.nn.Linear):
        def forward(self, x):
            out = super().forward(x)[:, 0]
            return out - out.mean()

    problem = ff.Problem(Centred(3, 1), squared_error)
    with pytest.raises(ValueError, match="model: expected values .* do not depend on the rest of the batch"):
        load(problem, (X, Y), "train")


def test_rounding_is_no_dependence_on_the_batch():
    """float64 targets beside a float32 model, and outputs much larger than their residuals."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(50, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1), torch.nn.Flatten(0))
    x = torch.randn(100, 50)
    load(ff.Problem(net, squared_error), (x, torch.randn(100).double()), "train")
    with torch.no_grad():
        net[2].weight.mul_(1e6)
        y = net(x) + 10 * torch.randn(100)
    load(ff.Problem(net, squared_error), (x, y), "train")


def test_a_loss_that_reads_parameters(problem):
    weight = problem.model[0].weight
    penalised = ff.Problem(problem.model, lambda output, target: squared_error(output, target) + weight.square().sum())
    with pytest.raises(ValueError, match="loss_fn: expected a function of output and target alone.*weight_decay"):
        load(penalised, (X, Y), "train")


def test_a_loss_that_mixes_the_examples(problem):
    centred = ff.Problem(problem.model, lambda output, target: squared_error(output - output.mean(), target))
    with pytest.raises(ValueError, match="loss_fn: expected values .* do not depend on the rest of the batch"):
        load(centred, (X, Y), "train")


def test_a_model_output_of_another_form():
    class Pair(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x), x

    with pytest.raises(
        ValueError, match=r"model: expected a tensor or logits .* got tuple with \['0', '1'\]; wrap the model"
    ):
        load(ff.Problem(Pair(3, 1), squared_error), (X, Y), "train")


def test_items_that_cannot_be_stacked(problem):
    ragged = [(torch.zeros(i + 1), 0.0) for i in range(3)]

    class Ragged(Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, i):
            return ragged[i]

    with pytest.raises(TypeError, match="train: expected a Dataset whose items can be stacked"):
        load(problem, Ragged(), "train")


@pytest.mark.parametrize("targets", [[0, 1, 2], [0, -1, 1], [0.0, 1.0, 1.0], [[0], [1], [1]]])
def test_targets_that_the_loss_cannot_read_are_named(targets):
    torch.manual_seed(0)
    problem = ff.Problem(torch.nn.Linear(3, 2), ff.losses.cross_entropy)
    data = (torch.randn(3, 3), torch.tensor(targets))
    for read in (lambda: load(problem, data, "train"), lambda: ff.gradients.norm2(problem, data)):
        with pytest.raises(ValueError, match="targets"):
            read()
    ff.gradients.norm2(problem, (data[0], torch.tensor([0, 1, 1])))
    with pytest.raises(ValueError):  # also where such data were fine before
        ff.gradients.norm2(problem, data)


def test_inputs_that_the_model_cannot_read_are_named():
    embedding = ff.Problem(torch.nn.Sequential(torch.nn.Embedding(5, 3), torch.nn.Flatten()), squared_error)
    for inputs in (torch.tensor([[1], [5]]), torch.ones(2, 1)):
        with pytest.raises(ValueError, match=r"train inputs: Sequential cannot be called with .*\[2, 1\]|\[1, 1\]"):
            load(embedding, (inputs, torch.zeros(2, 3)), "train")


def test_only_what_is_asked_for_is_tried():
    """Targets of an output need not be targets of the loss."""
    torch.manual_seed(0)
    problem = ff.Problem(torch.nn.Linear(3, 2), ff.losses.cross_entropy, lambda output, along: (output * along).sum(1))
    x, along = torch.randn(4, 3), torch.randn(4, 2)
    found = ff.gradients.norm2(problem, (x, along), of="output")
    torch.testing.assert_close(found, along.square().sum(1) * (x.square().sum(1) + 1))
    with pytest.raises(ValueError, match="data targets: no loss of scores"):
        ff.gradients.norm2(problem, (x, along[:, :1]))


def test_inference_mode(problem):
    expected = ff.gradients.norm2(problem, (X, Y))
    with torch.inference_mode():
        data = (X.clone(), Y.clone())
        with pytest.raises(RuntimeError, match="queries: expected .* got torch.inference_mode; use torch.no_grad"):
            ff.GradDot().attribute(problem, data, data)
    torch.testing.assert_close(ff.gradients.norm2(problem, data), expected)
    with torch.no_grad():
        torch.testing.assert_close(ff.gradients.norm2(problem, data), expected)


def test_the_loss_is_tried_on_as_many_examples_as_the_workspace_holds(problem):
    sizes = []

    class Counting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = problem.model

        def forward(self, x):
            sizes.append(len(x))
            return self.inner(x)

    counting = ff.Problem(Counting(), squared_error)
    load(counting, (X, Y), "train")
    assert sizes[-1] == 6
    sizes.clear()
    with workspace(1):
        load(counting, (X, Y), "train")
    assert sizes[-6:] == [1] * 6

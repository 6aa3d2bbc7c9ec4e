"""Kinds of data: the same examples from each, in memory and streamed, and orders that are refused."""

import pytest
import torch
from data_kinds import KINDS, Endless, Items, TwoInputs, X, Y, Z, as_dict
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, WeightedRandomSampler

import fimo_fast as ff
from fimo_fast.problem import load, stream
from fimo_fast.problem.losses import TokenCrossEntropy, squared_error


class Joined(TwoInputs):
    def forward(self, both):
        return super().forward(both[:, 0], both[:, 1])


@pytest.fixture
def problem():
    return ff.Problem(TwoInputs(), squared_error)


@pytest.mark.parametrize("name", KINDS)
def test_all_kinds_are_the_same_examples(problem, name):
    data = KINDS[name]
    expected = squared_error(problem.model(X, Z).detach(), Y)
    examples = load(problem, data, "train")
    assert len(examples) == 11
    torch.testing.assert_close(problem.losses(problem.parameters(), examples.inputs, examples.targets), expected)
    batches = stream(problem, data, "train", batch_size=4)
    for _ in range(2):  # as often as asked
        values = [problem.losses(problem.parameters(), batch.inputs, batch.targets) for batch in batches]
        assert [len(v) for v in values] == ([3, 3, 3, 2] if "single" in name else [4, 4, 3])
        torch.testing.assert_close(torch.cat(values), expected)
    if "single" in name or "Iterable" in name:
        with pytest.raises(TypeError, match="train: expected a known number of examples"):
            len(batches)
    else:
        assert len(batches) == 11


@pytest.mark.packages
def test_datasets_of_hugging_face(problem):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_dict({"x": X.tolist(), "z": Z.tolist(), "label": Y.tolist(), "name": ["a"] * 11})
    with pytest.raises(TypeError, match=r"train inputs\['name'\].*: expected tensors, got str; leave out or convert"):
        load(problem, table, "train")
    chosen = table.with_format("numpy", columns=["x", "z", "label"])
    for data in (
        table.remove_columns("name"),
        chosen,
        DataLoader(table.remove_columns("name").with_format("torch"), batch_size=4),
    ):
        examples = load(problem, data, "train")
        torch.testing.assert_close(examples.inputs["z"], Z)
        assert [len(batch) for batch in stream(problem, data, "train", 4)] == [4, 4, 3]
        rest = list(stream(problem, data, "train", 4).batches(6))
        torch.testing.assert_close(torch.cat([batch.inputs["z"] for batch in rest]), Z[6:])
    with pytest.raises(TypeError, match="train: expected a torch Dataset with a length"):
        load(problem, table.to_iterable_dataset(), "train")


@pytest.mark.parametrize("method", [ff.TRAK(4, damping=0.1), ff.InfluenceFunction(0.1)], ids=lambda m: type(m).__name__)
def test_methods_see_through_the_form_of_the_data(problem, method):
    joined = ff.Problem(Joined(), squared_error)
    plain = torch.stack([X, Z], 1), Y
    expected = method.attribute(joined, plain, plain)
    for name in ("pair with a tuple", "dict"):
        torch.testing.assert_close(method.attribute(problem, KINDS[name], KINDS[name]), expected)


@pytest.mark.parametrize("batches", ["matched", "shifted"])
def test_the_oracle_sees_through_the_form_of_the_data(problem, batches):
    joined = ff.Problem(Joined(), squared_error)
    plain = torch.stack([X, Z], 1), Y

    def effects(which, data):
        training = ff.FurtherTraining(which, torch.optim.SGD, 2, 4, seeds=1, batches=batches, dtype=torch.float64)
        return training.run(data, data, [0, 10]).effects

    for name in ("pair with a tuple", "dict"):
        torch.testing.assert_close(effects(problem, KINDS[name]), effects(joined, plain), rtol=0, atol=1e-12)


class Sequences(Items):
    """Sequences of several lengths, which a collator pads batch by batch."""

    def __init__(self):
        super().__init__(lambda i: torch.arange(2 + i % 4))

    @staticmethod
    def padded(items):
        ids = nn.utils.rnn.pad_sequence(items, batch_first=True, padding_value=-100)
        return {"input": ids.clamp_min(0), "labels": ids}


def test_lengths_that_differ_between_batches():
    torch.manual_seed(0)
    model = nn.Embedding(6, 6)
    problem = ff.Problem(model, TokenCrossEntropy(False))
    loader = DataLoader(Sequences(), batch_size=3, collate_fn=Sequences.padded)
    values = [problem.losses(problem.parameters(), b.inputs, b.targets) for b in stream(problem, loader, "train", 1)]
    assert [len(v) for v in values] == [3, 3, 3, 2]
    alone = [Sequences.padded([Sequences()[i]]) for i in range(11)]
    expected = [TokenCrossEntropy(False)(model(one["input"]), one["labels"]).detach() for one in alone]
    torch.testing.assert_close(torch.cat(values), torch.cat(expected))
    message = (
        r"train inputs\['input'\]: expected one shape .* got \[4\] in batch 0 and \[5\] in batch 1; pad all batches"
    )
    with pytest.raises(ValueError, match=message):
        load(problem, loader, "train")
    with pytest.raises(TypeError, match=r"items can be stacked \(or a DataLoader with a collate_fn that pads\)"):
        load(problem, Items(lambda i: {"input": torch.arange(2 + i % 4), "labels": torch.arange(2 + i % 4)}), "train")


DATASET = Items(as_dict)


@pytest.mark.parametrize(
    ("loader", "got"),
    [
        (DataLoader(DATASET, batch_size=4, shuffle=True), "RandomSampler"),
        (DataLoader(DATASET, batch_size=None, shuffle=True), "RandomSampler"),
        (DataLoader(DATASET, batch_size=4, drop_last=True), "drop_last=True"),
        (DataLoader(DATASET, batch_size=4, num_workers=2, in_order=False), "in_order=False with 2 workers"),
        (DataLoader(Endless(), batch_size=4, drop_last=True), "drop_last=True"),
        (DataLoader(DATASET, batch_size=4, sampler=WeightedRandomSampler([1.0] * 11, 11)), "WeightedRandomSampler"),
        (DataLoader(DATASET, batch_sampler=BatchSampler(RandomSampler(DATASET), 4, False)), "RandomSampler"),
        (DataLoader(DATASET, batch_sampler=BatchSampler(SequentialSampler(DATASET), 4, True)), "drop_last=True"),
        (DataLoader(DATASET, batch_sampler=[[3, 1], [0, 2]]), "a list"),
    ],
)
def test_another_order_is_refused(problem, loader, got):
    for read in (lambda: load(problem, loader, "train"), lambda: stream(problem, loader, "train", 4)):
        with pytest.raises(ValueError, match=f"train: expected a DataLoader .* got (a )?{got}: row i of the scores"):
            read()


def twice(items):
    batch = torch.utils.data.default_collate(items)
    return {key: torch.cat([value, value]) for key, value in batch.items()}


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"x": X, "z": Z}, ValueError, r"expected one of the keys \('labels', 'label'\) for the targets, got the keys"),
        ({"x": X, "z": Z, "labels": Y, "label": Y}, ValueError, "expected one of the keys"),
        ({"labels": Y}, TypeError, "train inputs: expected tensors, got an empty dict"),
        (
            {"x": X, "z": Z[:4], "labels": Y},
            ValueError,
            r"as many examples in every tensor, got .*'x'.*: 11, .*'z'.*: 4",
        ),
        ({"x": X, "z": Z, "labels": Y[:4]}, ValueError, "as many inputs as targets, got 11 and 4"),
        ({"x": X, "z": Z, "w": Z, "labels": Y}, ValueError, r"arguments of TwoInputs.forward.* got \['w'\] as well"),
        ({"x": X, "z": [1.0] * 11, "labels": Y}, TypeError, r"train inputs\['z'\]\[0\]: expected tensors, got float"),
        ({"x": X, "z": Z.double(), "labels": Y}, ValueError, r"train inputs\['z'\]: expected torch.float32"),
        ({"x": X, "z": Z.to("meta"), "labels": Y}, ValueError, r"train inputs\['z'\]: expected on cpu .*, got meta"),
        ({"x": X, "z": torch.tensor(1.0), "labels": Y}, ValueError, r"train inputs\['z'\]: .* got a scalar"),
        (((X, Z.log()), Y), ValueError, r"train inputs\[1\]: expected finite numbers, got NaN .* in example 0"),
        (Items(lambda i: (X[i], Z[i], Y[i])), TypeError, "pairs or of dicts, got 3 parts"),
        (
            DataLoader(DATASET, batch_size=4, collate_fn=twice),
            ValueError,
            "the 11 examples of the data, .* got 22 rows",
        ),
    ],
)
def test_refused(problem, data, error, message):
    with pytest.raises(error, match=message):
        load(problem, data, "train")
    with pytest.raises(error, match=message):
        list(stream(problem, data, "train", 4))

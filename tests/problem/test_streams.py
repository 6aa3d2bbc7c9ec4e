"""Streams: one batch at a time, from any row, checked as they are read."""

import gc

import pytest
import torch
from data_kinds import KINDS, Items, TwoInputs, X, Y, Z, as_dict
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.data import DataLoader

import fimo_fast as ff
from fimo_fast.problem import load, stream
from fimo_fast.problem.losses import squared_error
from fimo_fast.problem.trees import concatenate, equal


@pytest.fixture
def problem():
    return ff.Problem(TwoInputs(), squared_error)


class Loader(DataLoader):
    """A subclass, which might iterate otherwise."""


STARTS = {
    **KINDS,
    "DataLoader of a subclass": Loader(Items(as_dict), batch_size=4),
    "DataLoader with a worker": DataLoader(Items(as_dict), batch_size=4, num_workers=1),
}


@pytest.mark.parametrize("name", STARTS)
def test_a_stream_from_any_row(problem, name):
    batches = stream(problem, STARTS[name], "train", batch_size=4)
    whole = load(problem, STARTS[name], "train")
    for start in (0, 1, 3, 4, 6, 10):
        parts = list(batches.batches(start))
        assert equal(concatenate([part.inputs for part in parts]), whole[slice(start, None)].inputs)
        assert torch.equal(torch.cat([part.targets for part in parts]), Y[start:])
        if "DataLoader" in name:  # its own batches, the first one cut
            size = 3 if "single" in name else 4
            assert [len(part) for part in parts[1:]] == [
                min(size, 11 - i) for i in range(start - start % size + size, 11, size)
            ]
        else:
            assert [len(part) for part in parts] == [min(4, 11 - i) for i in range(start, 11, 4)]
    assert list(batches.batches(11)) == []
    unknown = "single" in name or "Iterable" in name
    message = "at most the 11 examples of the data, got 12" if unknown else "0 to 11, got 12"
    with pytest.raises(ValueError, match=f"train start: expected {message}"):
        list(batches.batches(12))
    with pytest.raises(ValueError, match=r"train start: expected (0 to 11|at least 0), got -1"):
        list(batches.batches(-1))
    with pytest.raises(TypeError, match=r"train start: expected an integer, got 1.5"):
        list(batches.batches(1.5))


@pytest.mark.parametrize("loader", [False, True])
def test_rows_before_the_start_are_not_read(problem, loader):
    read, stacked = [], []
    items = Items(lambda i: read.append(i) or as_dict(i))

    def stack(rows):
        stacked.append(len(rows))
        return torch.utils.data.default_collate(rows)

    data = DataLoader(items, batch_size=4, collate_fn=stack) if loader else items
    batches = stream(problem, data, "train", 4)
    for start, first, sizes in ((8, 8, [3]), (6, 4, [4, 3]), (11, 11, [])):
        read.clear(), stacked.clear()
        assert sum(len(batch) for batch in batches.batches(start)) == 11 - start
        # A loader stacks the whole batch in which the start lies.
        assert read == list(range(first if loader else start, 11))
        assert stacked == (sizes if loader else [])


def test_a_start_within_the_first_rows_compares_them_too():
    """Those that are others when they are read again are refused, wherever reading starts."""
    problem, noise = ff.Problem(nn.Linear(3, 1), squared_error), torch.Generator().manual_seed(0)
    data = Items(lambda i: (torch.randn(3, generator=noise), torch.zeros(1)))
    batches = stream(problem, data, "train", 4)
    for start in (0, 2):
        with pytest.raises(ValueError, match="train: expected the same examples each time they are read"):
            list(batches.batches(start))
    bad = Z.index_fill(0, torch.tensor([9]), float("nan"))
    later = stream(ff.Problem(TwoInputs(), squared_error), ((X, bad), Y), "train", 4)
    with pytest.raises(ValueError, match="infinity in example 9"):  # counted from the first row of all
        list(later.batches(5))


def test_a_stream_holds_one_batch(monkeypatch):
    """By the memory of its own batches: what other tests have left in this process does not count."""
    batches, stack = [], torch.utils.data.default_collate

    def watched(items):
        made = stack(items)
        batches.append(StorageWeakRef(made[0].untyped_storage()))
        return made

    monkeypatch.setattr(torch.utils.data._utils.collate, "default_collate", watched)
    problem = ff.Problem(nn.Linear(1000, 1), lambda output, target: output[:, 0])
    held = []
    gc.freeze()  # or each collection would search all that this process holds
    for _ in stream(problem, Items(lambda i: (torch.full((1000,), float(i)), 0.0), 64), "train", 4):
        gc.collect()
        held.append(sum(not batch.expired() for batch in batches))
    gc.unfreeze()
    # This one, and the one before until the loop lets go of it.
    assert len(held) == 16 and max(held) <= 2, held


def test_a_later_batch_of_a_stream_is_checked_too(problem):
    bad = Z.index_fill(0, torch.tensor([9]), float("nan"))
    batches = stream(problem, ((X, bad), Y), "train", 4)
    with pytest.raises(
        ValueError, match=r"train inputs\[1\]: expected finite numbers, got NaN or infinity in example 9"
    ):
        list(batches)
    logarithmic = ff.Problem(TwoInputs(), lambda output, target: target.log() + 0 * output[:, 0])
    with pytest.raises(ValueError, match="train: expected finite losses, got nan for example 1"):
        stream(logarithmic, ((X, Z), Y.abs().index_fill(0, torch.tensor([1]), -1.0)), "train", 4)


def test_examples_that_change_from_pass_to_pass_are_refused():
    torch.manual_seed(0)
    problem = ff.Problem(torch.nn.Linear(3, 1), ff.losses.squared_error)

    class Augmented(torch.utils.data.Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, i):
            return torch.randn(3), torch.zeros(1)

    for data in (Augmented(), torch.utils.data.DataLoader(Augmented(), batch_size=2)):
        with pytest.raises(ValueError, match="data: expected the same examples each time they are read, got others"):
            ff.gradients.norm2(problem, data)

"""The same eleven examples as every kind of data."""

import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, SequentialSampler, Subset

from fimo_fast.problem import Examples

X, Z = torch.randn(2, 11, 3, generator=torch.Generator().manual_seed(0))
Y = torch.linspace(-1, 1, 11)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(3, 4), nn.Linear(3, 1)

    def forward(self, x, z):
        return self.second(torch.tanh(self.first(x))[:, :3] * z)


class Items(Dataset):
    """What a function makes of each example."""

    def __init__(self, make, n=11):
        self.make, self.n = make, n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if i >= self.n:
            raise IndexError(i)
        return self.make(i)


class Endless(IterableDataset):
    """No length."""

    def __iter__(self):
        return iter([((X[i], Z[i]), Y[i]) for i in range(11)])


def as_dict(i):
    return {"x": X[i], "z": Z[i], "labels": Y[i]}


KINDS = {
    "pair with a tuple": ((X, Z), Y),
    "pair with a dict": ({"x": X, "z": Z}, Y),
    "dict": {"x": X, "z": Z, "labels": Y},
    "Examples": Examples((X, Z), Y),
    "Dataset of pairs": Items(lambda i: ((X[i], Z[i]), Y[i])),
    "Dataset of dicts": Items(as_dict),
    "Subset": Subset(Items(as_dict, 100), range(11)),
    "DataLoader": DataLoader(Items(as_dict), batch_size=4),
    "DataLoader of single items": DataLoader(Items(lambda i: as_dict(slice(3 * i, 3 * i + 3)), 4), batch_size=None),
    "DataLoader with a batch_sampler": DataLoader(
        Items(as_dict), batch_sampler=BatchSampler(SequentialSampler(range(11)), 4, drop_last=False)
    ),
    "DataLoader of an IterableDataset": DataLoader(Endless(), batch_size=4),
}

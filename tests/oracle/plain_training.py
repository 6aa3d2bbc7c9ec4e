"""Further training as anyone would write it: one run, torch.optim, a loop. The oracle is compared with this."""

import copy

import torch

from fimo_fast.oracle.sampling import order


def smooth_mlp(seed=0, width=6):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(3, width), torch.nn.Tanh(), torch.nn.Linear(width, width), torch.nn.Tanh(),
        torch.nn.Linear(width, 1), torch.nn.Flatten(0),
    ).double()  # fmt: skip


def squared_error(output, target):
    return (output - target).square()


def regression(n=23, queries=4, seed=1):
    generator = torch.Generator().manual_seed(seed)

    def draw(rows):
        x = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
        return x, torch.sin(x.sum(1)) + 0.1 * torch.randn(rows, generator=generator, dtype=torch.float64)

    return draw(n), draw(queries)


def query_losses(model, loss_fn, train, queries, optimizer, epochs, batch_size, seed, weights=None, removed=None):
    """Losses of the queries after each epoch, [epochs, queries].

    weights: of each training example, the divisor being the batch size; removed: an index taken out of the order.
    """
    model = copy.deepcopy(model)
    kind, arguments = optimizer
    torch_optimizer = kind(model.parameters(), **arguments)
    inputs, targets = train
    weights = torch.ones(len(inputs), dtype=inputs.dtype) if weights is None else weights
    losses = []
    for epoch in range(epochs):
        visit = torch.from_numpy(order(len(inputs), seed, epoch))
        if removed is not None:
            visit = visit[visit != removed]
        for index in visit.split(batch_size):
            torch_optimizer.zero_grad()
            (weights[index] * loss_fn(model(inputs[index]), targets[index])).sum().div(len(index)).backward()
            torch_optimizer.step()
        with torch.no_grad():
            losses.append(loss_fn(model(queries[0]), queries[1]))
    return torch.stack(losses)


OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {"lr": 0.05}),
    "sgd weight decay": (torch.optim.SGD, {"lr": 0.05, "weight_decay": 0.1}),
    "momentum": (torch.optim.SGD, {"lr": 0.02, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.01}),
    "nesterov": (torch.optim.SGD, {"lr": 0.02, "momentum": 0.9, "nesterov": True}),
    "ascent": (torch.optim.SGD, {"lr": 0.01, "maximize": True}),
    "adam": (torch.optim.Adam, {"lr": 0.005}),
    "adam weight decay": (torch.optim.Adam, {"lr": 0.005, "weight_decay": 0.1, "betas": (0.8, 0.99)}),
    "adamw": (torch.optim.AdamW, {"lr": 0.005, "weight_decay": 0.2, "eps": 1e-6}),
}

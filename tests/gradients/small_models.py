"""Models of a few numbers that use their parameters in every way there is."""

import torch
from torch import nn

import fimo_fast as ff


def last_mean(output, target):
    return (output.flatten(1).mean(1) - target).square()


def mlp():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))


class Sequence(nn.Module):
    """Linear layers on [batch, T, n], one used twice, one without bias, a norm, positions in two ways."""

    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.randn(5, 4))
        self.embedded = nn.Embedding(5, 4)
        self.shared = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.out = nn.Linear(4, 3, bias=False)

    def forward(self, x):
        x = x + self.position + self.embedded(torch.arange(5)[None])
        return self.out(self.norm(self.shared(torch.tanh(self.shared(x)))))


class Functional(nn.Module):
    """A weight that is also used outside its module."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x) @ self.layer.weight


class TimeFirst(nn.Module):
    """The batch is the second axis inside."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x.transpose(0, 1)).transpose(0, 1)


class Folded(nn.Module):
    """Batch and time are one axis inside."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.scale = nn.PReLU(3)

    def forward(self, x):
        return self.scale(self.layer(x.reshape(-1, 4))).reshape(*x.shape[:-1], 3)


class Tied(nn.Module):
    """An embedding whose table is also the output layer's weight."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.hidden = nn.Linear(4, 4)
        self.out = nn.Linear(4, 7, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, x):
        return self.out(torch.tanh(self.hidden(self.embedding(x))))


class Wrapped(nn.Module):
    """Layers without a rule, of their own parameters and of a parameter list."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Bilinear(4, 4, 3)
        self.scales = nn.ParameterList([torch.randn(3), torch.randn(3)])
        self.out = nn.Linear(3, 2)

    def forward(self, x):
        y = self.inner(x, torch.tanh(x))
        return self.out(y * self.scales[0] + self.scales[1])


class Branching(nn.Module):
    """torch.func cannot follow the branch in the inner module."""

    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4))

        def forward(self, x):
            return x * self.weight if float(x.sum()) > 0 else x * self.weight.square()

    def __init__(self):
        super().__init__()
        self.inner = self.Inner()
        self.out = nn.Linear(4, 2)

    def forward(self, x):
        # Each example takes its own branch, also in a batch.
        return self.out(torch.cat([self.inner(one) for one in x.split(1)]))


MODELS = {
    "mlp": (mlp, (4,)),
    "sequence": (Sequence, (5, 4)),
    "functional": (Functional, (4,)),
    "time first": (TimeFirst, (5, 4)),
    "folded": (Folded, (5, 4)),
    "tied": (Tied, None),
    "wrapped": (Wrapped, (4,)),
    "branching": (Branching, (4,)),
}


def problem_and_data(name, n=6):
    """The problem in float64 and n examples."""
    build, shape = MODELS[name]
    torch.manual_seed(0)
    problem = ff.Problem(build().double(), last_mean)
    generator = torch.Generator().manual_seed(0)
    if shape is None:
        x = torch.randint(7, (n, 5), generator=generator)
    else:
        x = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    return problem, (x, torch.randn(n, generator=generator, dtype=torch.float64))


def exact(problem, data, of="loss"):
    """Gradients [n, parameters], one backward pass an example."""
    read = problem.loss if of == "loss" else problem.attributed
    named = dict(problem.model.named_parameters())
    rows = []
    for x, y in zip(*data, strict=True):
        total = read(problem.model(x[None]), y[None]).sum()
        grads = torch.autograd.grad(total, [named[name] for name in problem.shapes], allow_unused=True)
        flat = [
            torch.zeros(s.numel()).double() if g is None else g.flatten()
            for g, s in zip(grads, problem.shapes.values(), strict=True)
        ]
        rows.append(torch.cat(flat))
    return torch.stack(rows)

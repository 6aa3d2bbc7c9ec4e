"""A rule on a layer alone, against one backward pass for each example."""

import torch

from fimo_fast.gradients.batch_axis import CallAxes
from fimo_fast.gradients.rules import Call, find
from fimo_fast.gradients.terms import Convolved, Outer


def one_call(module, *args, axis=0, apart=None, wanted=None, **kwargs):
    """A `Call` with random output gradients, and the exact gradients by it: {name: [batch, width]}.

    ``axis`` is that of the batch; ``apart`` (batch, c) says that it is folded with another.
    """
    outputs = module(*args, **kwargs)
    outputs = [output for output in (outputs if isinstance(outputs, tuple) else (outputs,)) if output is not None]
    deltas = [torch.randn_like(output) for output in outputs]

    def by_example(tensor, axis=axis):
        tensor = tensor.movedim(axis, 0)
        return tensor.unflatten(0, apart) if apart else tensor

    covered = find(module)[1]
    wanted = covered if wanted is None else frozenset(wanted)
    parameters = {name: module.get_parameter(name) for name in wanted}
    pairs = list(zip(outputs, deltas, strict=True))
    # A second output (the attention map) has its batch first anyway.
    terms = [by_example(o * d, axis if number == 0 else 0) for number, (o, d) in enumerate(pairs)]
    rows = []
    for i in range(len(terms[0])):
        total = sum(term[i].sum() for term in terms)
        found = torch.autograd.grad(total, list(parameters.values()), retain_graph=True, allow_unused=True)
        rows.append([torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters.values(), strict=True)])
    exact = {name: torch.stack(columns).flatten(1) for name, *columns in zip(parameters, *rows, strict=True)}
    first = next(value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))
    x, delta = by_example(first).detach(), by_example(deltas[0])
    state = ("cpu", torch.bfloat16, False)
    call = Call(module, x, delta, wanted, args, kwargs, deltas, len(x), CallAxes((), ()), state)
    return call, exact


def assert_exact(module, *args, rule, tolerance=1e-9, outer=None, **kwargs):
    """That ``module`` has this rule and that its terms are exact; ``outer``: the parameters that come as factors."""
    call, exact = one_call(module, *args, **kwargs)
    found, _ = find(module)
    assert found.__name__ == rule
    sums = {name: torch.zeros_like(value) for name, value in exact.items()}
    factored = set()
    with torch.no_grad():
        for name, term in found(call):
            assert len(term) == len(call.inputs) and not term.formed().requires_grad
            sums[name][:, term.start : term.start + term.width] += term.formed()
            if isinstance(term, Convolved):
                torch.testing.assert_close(term[1:2].formed(), term.formed()[1:2])
                torch.testing.assert_close(term.factored().formed(), term.formed())
                term = term.factored()
            if isinstance(term, Outer):
                assert term.a.dtype == term.delta.dtype
                factored.add(name)
    for name, expected in exact.items():
        scale = expected.abs().max()
        assert scale > 0, name
        assert (sums[name] - expected).abs().max() <= tolerance * scale, name
    assert outer is None or factored == outer

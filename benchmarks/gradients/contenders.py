"""What a model's gradients cost by torch alone, and by fimo_fast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

import fimo_fast as ff
from fimo_fast.bench.baselines.torch_sketches import fill_signs, generated
from fimo_fast.problem import Examples

from .models import Subject
from .timing import Contender, Part

SKETCH_DIM = 4096
_MATRIX = 2 * 2**30  # bytes that a stored random matrix may take


def floor(subject: Subject) -> Contender:
    """A plain training step without the optimizer."""
    return Contender("forward + backward", len(subject.inputs), [Part(step_call(subject))])


def step_call(subject: Subject) -> Callable[[], object]:
    """A function that runs forward, mean loss and backward by all parameters."""
    parameters = list(subject.model.parameters())

    def step() -> object:
        loss = subject.loss(subject.model(subject.inputs), subject.targets).mean()
        return torch.autograd.grad(loss, parameters)

    return step


def per_example(subject: Subject) -> Callable[[], dict[str, Tensor]]:
    """A function that gives {parameter: [batch, *shape]}."""
    model = subject.model
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss(parameters: dict[str, Tensor], example: Tensor, target: Tensor) -> Tensor:
        output = functional_call(model, {**parameters, **buffers}, (example[None],))
        return subject.loss(output, target[None])[0]

    gradients = vmap(grad(loss), (None, 0, 0))

    def call() -> dict[str, Tensor]:
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no rule for vmap
            return gradients(parameters, subject.inputs, subject.targets)

    return call


def matrix_of(subject: Subject) -> Callable[[], Tensor]:
    """A function that gives the gradients as rows, [batch, parameters]."""
    gradients = per_example(subject)
    return lambda: torch.cat([g.flatten(1) for g in gradients().values()], dim=1)


def formed(subject: Subject) -> Contender:
    """All per-example gradients, formed."""
    return Contender("vmap(grad)", len(subject.inputs), [Part(per_example(subject))], result="gradients")


def dense(subject: Subject) -> Contender:
    """Formed gradients times a matrix of random signs: stored where it fits, else made anew for every batch."""
    rows = matrix_of(subject)
    gradients = rows()
    sketch = ff.Rademacher(subject.numel, SKETCH_DIM)
    if 4 * sketch.input_dim * SKETCH_DIM <= _MATRIX:
        signs = fill_signs(torch.empty(sketch.input_dim, SKETCH_DIM))
        product, note = Part(lambda: gradients @ signs), ""
    else:
        baseline = generated(sketch, fill_signs)
        product = Part(baseline.prepare((gradients,)), baseline.share)
        note = f"signs are made anew, for {baseline.share:.1%} of the parameters; the time is scaled"
    name = "vmap(grad) @ dense matrix"
    return Contender(name, len(subject.inputs), [Part(rows), product], result=SKETCH_DIM, note=note)


def sketched(subject: Subject) -> Contender:
    """fimo_fast, one SRHT over all parameters."""
    run = _run(subject)
    call = srht_call(subject, run)
    few = subject.first(2)
    expected = ff.ops.project(matrix_of(few)(), ff.SRHT(subject.numel, SKETCH_DIM))
    # What is timed must be right: a rounding error of float32, relative to the longest of the sketches.
    error = (call()[:2] - expected).norm(dim=1).max() / expected.norm(dim=1).max()
    if not error < 1e-4:
        raise RuntimeError(f"{subject.title}: sketches differ from those of torch.func's gradients by {error:.1e}")
    return Contender("fimo_fast, SRHT", len(subject.inputs), [Part(call, run)], result=SKETCH_DIM)


def layered(subject: Subject) -> Contender:
    """fimo_fast, a sketch for each layer, those of linear layers from their factors by TensorSketch."""
    run = _run(subject)
    call = layers_call(subject, "tensor", batches=run)
    return Contender("fimo_fast, LayerSketch tensor", len(subject.inputs), [Part(call, run)], result=call().shape[1])


def factored(subject: Subject) -> Contender:
    """The same with one sketch for each factor (LoGra)."""
    run = _run(subject)
    call = layers_call(subject, "factored", batches=run)
    return Contender("fimo_fast, LayerSketch factored", len(subject.inputs), [Part(call, run)], result=call().shape[1])


def layered_linear(subject: Subject) -> Contender:
    """The same for the weights that LogIX and bergson take: those of linear and convolutional layers."""
    names = linear_weights(subject.model)
    run = _run(subject)
    call = layers_call(subject, "factored", names, run, apart=True)
    covers = sum(subject.model.get_parameter(name).numel() for name in names) / subject.numel
    name = "fimo_fast, LayerSketch factored apart, linear weights"
    return Contender(name, len(subject.inputs), [Part(call, run)], covers, call().shape[1])


def _run(subject: Subject) -> int:
    """Batches of a call: some of a small network, as in any run, since what a call does once takes as long as one."""
    return 8 if subject.numel < 1_000_000 else 1


def srht_call(subject: Subject, batches: int = 1) -> Callable[[], Tensor]:
    """A function that gives sketches [batch, SKETCH_DIM] of the gradients by all parameters."""
    problem = ff.Problem(subject.model, subject.loss)
    return _sketch(problem, subject, ff.SRHT(problem.numel, SKETCH_DIM), batches)


def layers_call(
    subject: Subject, matrices: str, parameters: list[str] | None = None, batches: int = 1, apart: bool = False
) -> Callable[[], Tensor]:
    """A function that gives sketches by layer of the gradients by these parameters, all unless given."""
    problem = ff.Problem(subject.model, subject.loss, parameters=parameters)
    return _sketch(
        problem,
        subject,
        ff.gradients.LayerSketch.for_problem(problem, SKETCH_DIM, matrices=matrices, apart=apart),
        batches,
    )


def linear_weights(model: nn.Module) -> list[str]:
    """Names of the weights of linear and convolutional layers that are not tied to an embedding."""
    embedded = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    kinds = ("Linear", "Conv1D", "Conv2d")
    found = ((name, m) for name, m in model.named_modules() if type(m).__name__ in kinds)
    return [f"{name}.weight" for name, m in found if id(m.weight) not in embedded]


def _sketch(problem: ff.Problem, subject: Subject, sketch: Any, batches: int) -> Callable[[], Tensor]:
    batch = len(subject.inputs)
    inputs, targets = (torch.cat([part] * batches) for part in (subject.inputs, subject.targets))
    examples = Examples(inputs, targets)

    # Given, so that the time of getting memory for the results of all batches is not that of a batch.
    out = torch.zeros(len(examples), sketch.sketch_dim)

    def call() -> Tensor:
        return ff.gradients.sketch(problem, examples, sketch, batch_size=batch, out=out)

    return call


CONTENDERS: dict[str, Callable[[Subject], Contender]] = {
    "forward + backward": floor,
    "fimo_fast, SRHT": sketched,
    "fimo_fast, LayerSketch tensor": layered,
    "fimo_fast, LayerSketch factored": factored,
    "fimo_fast, LayerSketch factored apart, linear weights": layered_linear,
    "vmap(grad)": formed,
    "vmap(grad) @ dense matrix": dense,
}

"""Other libraries' projected per-example gradients on the CPU, each called by its fastest path.

All get the same model, batch and loss, in float32, and as many numbers an example as fit in `SKETCH_DIM`. Nothing is
written to disk while it is timed. None is a dependency; a missing one is named in the table. ``benchmarks/README.md``
says how they are installed and what is left out.
"""

from __future__ import annotations

import contextlib
import copy
import io
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from fimo_fast.bench import Unavailable
from fimo_fast.bench.baselines.peers import imported

from .contenders import SKETCH_DIM, linear_weights
from .models import Subject
from .timing import Contender, Part

_MATRIX = 2 * 2**30  # bytes of a stored random matrix
_BLOCK = 100  # outputs of a projector for which the matrix is made at a time, as it is set by default


def trak(subject: Subject) -> Contender:
    """TRAK: FunctionalGradientComputer (vmap) and BasicProjector with random signs."""
    computers = imported("trak.gradient_computers", "traker")
    projectors = imported("trak.projectors", "traker")
    outputs = imported("trak.modelout_functions", "traker")

    class Loss(outputs.AbstractModelOutput):  # type: ignore[name-defined,misc]
        def __init__(self) -> None: ...

        @staticmethod
        def get_output(model: nn.Module, weights: Any, buffers: Any, example: Tensor, target: Tensor) -> Tensor:
            output = functional_call(model, (weights, buffers), (example[None],))
            return subject.loss(output, target[None])[0]

        def get_out_to_loss_grad(self, *_: Any) -> Tensor:
            raise NotImplementedError  # only the scores need it

    model, cpu = subject.model, torch.device("cpu")
    computer = computers.FunctionalGradientComputer(model, Loss, subject.numel, torch.float32, cpu)
    kept: list[Any] = []

    def form() -> None:
        with sdpa_kernel(SDPBackend.MATH):
            kept[:] = [computer.compute_per_sample_grad((subject.inputs, subject.targets))]

    kind = projectors.ProjectionType.rademacher
    width, share, note = _projector_width(subject.numel)
    made = projectors.BasicProjector(subject.numel, width[0], 0, kind, cpu, width[1], torch.float32)
    parts = [Part(form), Part(lambda: made.project(kept[0], 0), share)]
    return Contender("TRAK", len(subject.inputs), parts, result=SKETCH_DIM, note=note)


def dattri(subject: Subject) -> Contender:
    """dattri: AttributionTask's vmap(grad) and BasicProjector with random signs."""
    task = imported("dattri.task", "dattri")
    projection = imported("dattri.func.projection", "dattri")

    def loss(parameters: dict[str, Tensor], example: tuple[Tensor, Tensor]) -> Tensor:
        output = functional_call(subject.model, parameters, (example[0][None],))
        return subject.loss(output, example[1][None])[0]

    made = task.AttributionTask(loss, subject.model, subject.model.state_dict())
    gradients = made.get_grad_loss_func(in_dims=(None, 0))
    parameters, _ = made.get_param(ckpt_idx=0)
    kept: list[Tensor] = []

    def form() -> None:
        with sdpa_kernel(SDPBackend.MATH):
            kept[:] = [gradients(parameters, (subject.inputs, subject.targets))]

    width, share, note = _projector_width(subject.numel)
    kind = projection.ProjectionType.rademacher
    projector = projection.BasicProjector(subject.numel, width[0], 0, kind, torch.device("cpu"), width[1])
    parts = [Part(form), Part(lambda: projector.project(kept[0], 0), share)]
    return Contender("dattri", len(subject.inputs), parts, result=SKETCH_DIM, note=note)


def dattri_logra(subject: Subject) -> Contender:
    """dattri's LoGra: its compressors in its hooks, which replace the backward pass of linear layers."""
    compressors = imported("dattri.algorithm.block_projected_if.core.compressor", "dattri")
    hooks = imported("dattri.algorithm.block_projected_if.core.hook", "dattri")
    model, layers = _linear_copy(subject)
    if refused := [name for name in layers if not isinstance(model.get_submodule(name), nn.Linear)]:
        raise Unavailable(f"hooks linear layers only, so {len(refused)} of {len(layers)} layers would be missing")
    side = math.isqrt(SKETCH_DIM // len(layers))
    sparsifier = {"device": "cpu", "proj_dim": side, "proj_max_batch_size": 64, "proj_type": "normal"}
    projector = {"device": "cpu", "proj_dim": -1, "proj_max_batch_size": 64, "proj_type": "identity"}
    made = compressors.setup_model_compressors(model, layers, sparsifier, projector, (subject.inputs,), "cpu")
    manager = hooks.HookManager(model, layers)
    manager.set_compressors(made)
    # Its own loop leaves every parameter to autograd; the others' gradients are not needed, so they are spared here.
    _only(model, layers)

    def call() -> Tensor:
        subject.loss(model(subject.inputs), subject.targets).sum().backward()
        return torch.cat(manager.get_compressed_grads(), dim=1)

    return _layer_contender("dattri, LoGra", subject, model, layers, call, side * side * len(layers), biases=True)


def bergson(subject: Subject) -> Contender:
    """bergson: StreamingGradientCollector, a projection on both sides of each linear layer, left in memory."""
    collectors = imported("bergson.collector.gradient_collectors", "bergson")
    processors = imported("bergson.gradients", "bergson")
    model = copy.deepcopy(subject.model)
    layers = [name.removesuffix(".weight") for name in linear_weights(model)]
    side = math.isqrt(SKETCH_DIM // len(layers))
    processor = processors.GradientProcessor(projection_dim=side)
    # No parameter needs a gradient but one from which the backward pass starts. bergson itself takes the embedding;
    # where that is the output layer, too, its gradient would cost as much as several others.
    model.requires_grad_(False)
    uses = Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    next(p for p in model.parameters() if uses[id(p)] == 1).requires_grad_(True)
    collector = collectors.StreamingGradientCollector(
        model, target_modules=set(layers), processor=processor, dtype=torch.float32
    )
    # It takes [batch, T, features] only; a vector is a sequence of one.
    vectors = subject.inputs.is_floating_point() and subject.inputs.dim() == 2
    inputs = subject.inputs[:, None] if vectors else subject.inputs

    def call() -> Tensor:
        with collector.with_batch(None):
            output = model(inputs)
            subject.loss(output, subject.targets).sum().backward()
        return torch.cat([collector.mod_grads[name] for name in layers], dim=1)

    return _layer_contender("bergson", subject, model, layers, call, side * side * len(layers))


def logix(subject: Subject) -> Contender:
    """LogIX: LoGra by layers of random rank-r adapters, whose middle gradients are logged in memory."""
    package, config = imported("logix", "logix-ai"), imported("logix.config", "logix-ai")
    model, layers = _linear_copy(subject)
    limits = [min(_sides(model.get_submodule(name))) for name in layers]
    rank = max(r for r in range(1, 1 + max(limits)) if sum(min(r, each) ** 2 for each in limits) <= SKETCH_DIM)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        # It saves the adapters when they are added; afterwards nothing is written.
        path = Path(folder) / "config.yaml"
        path.write_text(f"root_dir: {folder}\n", encoding="utf-8")
        run = package.LogIX("benchmark", config=str(path))
        run.watch(model, name_filter=layers)
        run.add_lora(lora_config=config.LoRAConfig(init="random", rank=rank))
    run.setup({"grad": ["log"]})
    names = [str(i) for i in range(len(subject.inputs))]

    def call() -> Tensor:
        with run(data_id=names):
            subject.loss(model(subject.inputs), subject.targets).sum().backward()
        return torch.cat([log["grad"].flatten(1) for log in run.get_log()[1].values()], dim=1)

    size = sum(min(rank, each) ** 2 for each in limits)
    return _layer_contender("LogIX", subject, subject.model, layers, call, size)


PEERS: dict[str, Callable[[Subject], Contender]] = {
    "TRAK": trak,
    "dattri": dattri,
    "dattri, LoGra": dattri_logra,
    "bergson": bergson,
    "LogIX": logix,
}


def _projector_width(numel: int) -> tuple[tuple[int, int], float, str]:
    """(outputs, outputs at a time) of a BasicProjector, the share of the work, and a note.

    Where the whole matrix fits, it is made once. Elsewhere each block of outputs is made anew for each batch, so two
    blocks cost their share of all.
    """
    if 4 * numel * SKETCH_DIM <= _MATRIX:
        return (SKETCH_DIM, SKETCH_DIM), 1.0, "projection matrix made once"
    block = min(_BLOCK, _MATRIX // (4 * numel))
    if block < 1:
        raise Unavailable(f"one column of the projection matrix has {4 * numel} bytes")
    return (2 * block, block), 2 * block / SKETCH_DIM, f"{2 * block} of {SKETCH_DIM} outputs, their time scaled"


def _layer_contender(
    name: str,
    subject: Subject,
    model: nn.Module,
    layers: list[str],
    call: Callable[[], Tensor],
    size: int,
    biases: bool = False,
) -> Contender:
    """A contender that sketches layer by layer, after its first call has given what it should."""
    got = call()
    if got.shape != (len(subject.inputs), size) or not got.isfinite().all() or (got == 0).all(1).any():
        raise RuntimeError(f"expected [{len(subject.inputs)}, {size}] finite numbers, no row 0, got {list(got.shape)}")
    leaves = ("weight", "bias") if biases else ("weight",)
    tensors = (getattr(model.get_submodule(layer), leaf) for layer in layers for leaf in leaves)
    covers = sum(tensor.numel() for tensor in tensors if tensor is not None) / subject.numel
    return Contender(name, len(subject.inputs), [Part(call)], covers, size)


def _linear_copy(subject: Subject) -> tuple[nn.Module, list[str]]:
    """A copy of the model with transformers' Conv1D as Linear, and the names of its weight layers."""
    model = copy.deepcopy(subject.model)
    layers = [name.removesuffix(".weight") for name in linear_weights(model)]
    for name in layers:
        module = model.get_submodule(name)
        if type(module).__name__ == "Conv1D":
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, _linear(module))
    return model, layers


def _linear(module: nn.Module) -> nn.Linear:
    weight, bias = module.get_parameter("weight"), module.get_parameter("bias")
    linear = nn.Linear(weight.shape[0], weight.shape[1])
    with torch.no_grad():
        linear.weight.copy_(weight.T)
        linear.bias.copy_(bias)
    return linear


def _sides(module: nn.Module) -> Iterator[int]:
    names = ("in_channels", "out_channels") if isinstance(module, nn.Conv2d) else ("in_features", "out_features")
    return (getattr(module, name) for name in names)


def _only(model: nn.Module, layers: list[str]) -> None:
    model.requires_grad_(False)
    for name in layers:
        model.get_submodule(name).requires_grad_(True)

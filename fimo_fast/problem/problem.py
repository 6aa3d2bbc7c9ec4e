"""The final model, its training loss and the attributed quantity: what every attribution method is given.

*Model output* is what the model returns. The *attributed quantity* is the number that scores are about, one for each
query: the loss, or ``output_fn`` of model output and target; ``of="output"`` selects it.
"""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from . import hugging_face
from .functional_call import functional_call, transformable
from .losses import PerExample, output_function
from .model_checks import unsuited
from .trees import Tree, rows, shapes

T = TypeVar("T")
ParameterChoice = str | Iterable[str] | Callable[[str, nn.Parameter], bool] | None


class Problem:
    """A final model with its training loss, the attributed quantity and the parameters of interest.

    The model is only read: nothing is written to it, no hook stays on it. It must treat the examples of a batch
    independently and deterministically. Modules that do not (BatchNorm on batch statistics, active dropout) are
    refused, here and again at each use. ``model.eval()`` fixes the running statistics and switches dropout off;
    further training then runs in that mode, too.

    Inputs and targets are tensors [batch, ...], or nested tuples and dicts of them: a batch of a tokenizer is a dict.

    Args:
        model: Called as ``model(inputs)``; a tuple of inputs is passed as positional arguments, a dict as keyword
            arguments. Its output is a tensor whose first axis is the batch, or has one: the ``logits`` of a
            transformers model are taken. Caches for generation are off.
        loss_fn: ``loss_fn(output, target)`` → the training loss of each example, [batch] (``fimo_fast.losses`` has
            some). Optional for a transformers model, itself or under peft: its class then names the loss, such as
            ``losses.TokenCrossEntropy`` for language models. That loss is compared with the one that the model
            reports for the first examples of all data.
        output_fn: The attributed quantity of each query: ``output_fn(output, target)`` → [batch] of the model output,
            or ``"loss"``, ``"margin"`` (log-odds of the target, TRAK's) or ``"logit"``. The loss, unless given.
        parameters: Which parameters may move: a name pattern (``"fc*"``), several of them, or a predicate
            ``(name, parameter) -> bool``. All with ``requires_grad``, unless given.

    Raises:
        TypeError: The model is no module, loss_fn or output_fn no callables, or no loss_fn for a model that names none.
        ValueError: An unknown output_fn, a transformers model without a loss of a known kind, no parameter selected,
            parameters of several dtypes or devices, float16 on CPU, a module that depends on the batch or on chance.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: PerExample | None = None,
        output_fn: PerExample | str | None = None,
        parameters: ParameterChoice = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
        for name, function in (("loss_fn", loss_fn), ("output_fn", None if isinstance(output_fn, str) else output_fn)):
            if function is not None and not callable(function):
                raise TypeError(f"{name}: expected a callable (output, target) -> [batch], got {function!r}")
        self.model = model
        self.infers_loss = loss_fn is None
        self.loss_fn = hugging_face.inferred_loss(model) if loss_fn is None else loss_fn
        self.output_fn = output_function(output_fn, self.loss_fn) if isinstance(output_fn, str) else output_fn
        self._extra = hugging_face.extra_arguments(model)
        self.check_model()
        selected = _select(model, parameters)
        self.shapes: dict[str, torch.Size] = {name: p.shape for name, p in selected.items()}
        self.numel = sum(shape.numel() for shape in self.shapes.values())
        self.dtype = _common(selected, "dtype", lambda p: p.dtype)
        self.device = _common(selected, "device", lambda p: p.device)
        if not self.dtype.is_floating_point:
            raise ValueError(f"model: expected floating-point parameters, got {self.dtype}")
        if self.dtype == torch.float16 and self.device.type == "cpu":
            raise ValueError(
                "model: float16 on CPU is refused, its gradients underflow and its sums lose digits; "
                "use model.float() or, for the oracle and its derivative, dtype=torch.float64"
            )

    def __repr__(self) -> str:
        return (
            f"Problem({type(self.model).__name__}, {self.numel:,} parameters in {len(self.shapes)} tensors, "
            f"{self.dtype}, {self.device})"
        )

    def check_model(self) -> None:
        """Refuses a model that mixes the examples of a batch, is random or changes itself; modes can be switched.

        Raises:
            ValueError: Names the module and says what to do.
        """
        for name, module in self.model.named_modules():
            if reason := unsuited(module):
                raise ValueError(f"model: {name or 'the model'} is a {type(module).__name__} {reason}")

    def parameters(self) -> dict[str, Tensor]:
        """The selected parameters as they are now: {name: [*shape]}, detached, not copied."""
        found = dict(self.model.named_parameters())
        return {name: found[name].detach() for name in self.shapes}

    def vector(self) -> Tensor:
        """The selected parameters as one vector [parameters], a copy."""
        return self.ravel(self.parameters())

    def ravel(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """{name: [*lead, *shape]} → [*lead, parameters], in the order of ``shapes``."""
        flat = []
        for name, shape in self.shapes.items():
            tensor = tensors[name]
            flat.append(tensor.reshape(*tensor.shape[: tensor.dim() - len(shape)], shape.numel()))
        return torch.cat(flat, dim=-1)

    def unravel(self, vector: Tensor) -> dict[str, Tensor]:
        """[*lead, parameters] → {name: [*lead, *shape]}, views."""
        parts = vector.split([shape.numel() for shape in self.shapes.values()], dim=-1)
        return {
            name: part.reshape(*vector.shape[:-1], *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def call(self, inputs: Tree) -> Tensor:
        """The model output [batch, ...] with the model's own parameters, buffers and kernels.

        Raises:
            ValueError: As for ``forward``.
        """
        args, kwargs = self._arguments(inputs)
        return hugging_face.output_tensor(self.model(*args, **kwargs))

    def forward(self, parameters: Mapping[str, Tensor], inputs: Tree) -> Tensor:
        """The model output [batch, ...] at these values of the selected parameters (a pure function of both).

        Raises:
            ValueError: The model returns several tensors, none of them called logits.
        """
        frozen = {name: tensor.detach() for name, tensor in self.model.named_parameters() if name not in self.shapes}
        # Copies: a module that updates its buffers must not update the user's.
        buffers = {name: tensor.clone() for name, tensor in self.model.named_buffers()}
        args, kwargs = self._arguments(inputs)
        with transformable():
            output = functional_call(self.model, {**frozen, **buffers, **parameters}, args, kwargs)
        return hugging_face.output_tensor(output)

    def _arguments(self, inputs: Tree) -> tuple[tuple[Tree, ...], dict[str, Tree]]:
        """Positional and keyword arguments of the model."""
        by_name = inputs if isinstance(inputs, dict) else {}
        in_order = inputs if isinstance(inputs, tuple) else () if isinstance(inputs, dict) else (inputs,)
        return in_order, {**self._extra, **by_name}

    def losses(self, parameters: Mapping[str, Tensor], inputs: Tree, targets: Tree) -> Tensor:
        """Training loss of each example, [batch], at these parameters."""
        return self.loss(self.forward(parameters, inputs), targets)

    def loss(self, output: Tensor, targets: Tree) -> Tensor:
        """Training loss of each example, [batch], from its model output."""
        return self._per_example("loss_fn", self.loss_fn, output, targets)

    def outputs(self, parameters: Mapping[str, Tensor], inputs: Tree, targets: Tree) -> Tensor:
        """The attributed quantity (output_fn, else the loss) of each example, [batch], at these parameters."""
        return self.attributed(self.forward(parameters, inputs), targets)

    def attributed(self, output: Tensor, targets: Tree) -> Tensor:
        """The attributed quantity of each example, [batch], from its model output."""
        if self.output_fn is None:
            return self.loss(output, targets)
        return self._per_example("output_fn", self.output_fn, output, targets)

    def quantity(self, of: str) -> PerExample:
        """``loss`` for ``"loss"``, ``attributed`` for ``"output"``; else a ValueError."""
        if of not in ("loss", "output"):
            raise ValueError(f'of: expected "loss" or "output", got {of!r}')
        return self.loss if of == "loss" else self.attributed

    def to(self, dtype: torch.dtype) -> Problem:
        """The same problem in another floating-point type; itself, where nothing changes."""
        if dtype == self.dtype:
            return self
        moved = []
        for part in (self.model, self.loss_fn, self.output_fn):
            moved.append(copy.deepcopy(part).to(dtype) if isinstance(part, nn.Module) else part)
        model, loss_fn, output_fn = moved
        # Names, not the user's pattern: the choice may be a predicate with a memory.
        return Problem(
            cast(nn.Module, model), cast(PerExample, loss_fn), cast("PerExample | None", output_fn), _named(self.shapes)
        )

    def at(self, parameters: Tensor | Mapping[str, Tensor]) -> Problem:
        """The same problem at other values of its parameters, on a copy of the model.

        Args:
            parameters: A vector [parameters] in the order of ``ravel``, or {name: [*shape]} of all of them.

        Raises:
            ValueError: Another shape, other names, or values that are not finite.
        """
        if isinstance(parameters, Tensor):
            if parameters.shape != (self.numel,):
                raise ValueError(f"parameters: expected shape [{self.numel}], got {list(parameters.shape)}")
            parameters = self.unravel(parameters)
        elif {name: p.shape for name, p in parameters.items()} != self.shapes:
            got = {name: list(p.shape) for name, p in parameters.items()}
            raise ValueError(f"parameters: expected {_some(self.shapes)} in their shapes, got {got}")
        model = copy.deepcopy(self.model)
        named = dict(model.named_parameters())
        with torch.no_grad():
            for name, values in parameters.items():
                if not torch.isfinite(values).all():
                    raise ValueError(f"parameters: expected finite numbers, got NaN or infinity in {name}")
                named[name].copy_(values)
        return Problem(model, self.loss_fn, self.output_fn, _named(self.shapes))

    def with_output_fn(self, output_fn: PerExample | str) -> Problem:
        """The same problem with another attributed quantity, or one by name."""
        return Problem(self.model, self.loss_fn, output_fn, _named(self.shapes))

    def with_parameters(self, names: Iterable[str]) -> Problem:
        """The same problem with only these of its parameters of interest."""
        return Problem(self.model, self.loss_fn, self.output_fn, _named(names))

    @staticmethod
    def _per_example(name: str, function: PerExample, output: Tensor, targets: Tree) -> Tensor:
        try:
            values = function(output, targets)
        except IndexError as error:
            raise ValueError(
                f"{name}: expected targets that fit {list(output.shape)} scores; torch: {error}"
            ) from error
        expected = (rows(targets),)
        if not isinstance(values, Tensor) or tuple(values.shape) != expected:
            got = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(
                f"{name}: expected one value an example, shape {list(expected)}, got {got} from an output of shape "
                f'{list(output.shape)} and a target of shape {shapes(targets)}; use reduction="none" and squeeze '
                "or average further axes"
            )
        return values


def _named(names: Iterable[str]) -> Callable[[str, nn.Parameter], bool]:
    wanted = frozenset(names)
    return lambda name, _: name in wanted


def _select(model: nn.Module, choice: ParameterChoice) -> dict[str, nn.Parameter]:
    # A tied parameter has several names: any of them selects it, under the first.
    canonical = {id(p): name for name, p in model.named_parameters()}
    named = dict(model.named_parameters(remove_duplicate=False))
    if choice is None:
        selected = {name: p for name, p in named.items() if p.requires_grad}
    elif callable(choice):
        selected = {name: p for name, p in named.items() if choice(name, p)}
    else:
        patterns = [choice] if isinstance(choice, str) else list(choice)
        for pattern in patterns:
            if not fnmatch.filter(named, pattern):
                raise ValueError(f"parameters: {pattern!r} matches none of {_some(named)}")
        selected = {n: p for n, p in named.items() if any(fnmatch.fnmatchcase(n, x) for x in patterns)}
    if not selected:
        raise ValueError(f"parameters: none selected of {_some(named)}")
    return {canonical[id(p)]: p for p in selected.values()}


def _some(names: Iterable[str], most: int = 8) -> str:
    listed = list(names)
    tail = f", and {len(listed) - most} more" if len(listed) > most else ""
    return f"[{', '.join(listed[:most])}{tail}]"


def _common(selected: Mapping[str, nn.Parameter], what: str, read: Callable[[nn.Parameter], T]) -> T:
    found = {read(p): name for name, p in selected.items()}
    if len(found) > 1:
        listed = ", ".join(f"{value} ({name})" for value, name in found.items())
        raise ValueError(f"model: expected parameters of one {what}, got {listed}")
    return next(iter(found))

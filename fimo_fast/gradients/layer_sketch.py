"""A sketch of a model's gradient made of one sketch for each layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ..problem import Problem
from ..sketch import SJLT, SRHT, Factored, TensorSketch, from_spec
from ..utils.integers import integer
from .parameters import owners

MatrixSketch = Factored | TensorSketch

_LEAST = 1024  # numbers of a part: fewer say too little of a layer


@dataclass(frozen=True)
class LayerSketch:
    """A sketch that sketches each parameter by itself and adds the result to its part of the whole.

    As the sketches are independent, E⟨Sx, Sy⟩ = ⟨x, y⟩ holds whether parts overlap or not, as for one sketch of the
    whole vector. It is for sketches of matrices by their factors, which cost less than forming a layer's gradient
    wherever a layer sees few tokens. Build one with `for_problem`.

    Attributes:
        sketch_dim: Length of the sketches.
        sketches: {parameter: its sketch}.
        starts: {parameter: first number of its part}; 0 unless given.
        biases: {bias: weight} where the bias is sketched as one more column of the weight.

    Raises:
        ValueError: A part beyond sketch_dim, or a bias of a weight without a matrix sketch.
    """

    sketch_dim: int
    sketches: Mapping[str, SRHT | SJLT | MatrixSketch]
    starts: Mapping[str, int] = field(default_factory=dict)
    biases: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks that the parts lie inside the whole."""
        for name in self.sketches:
            part = self.part(name)
            if not 0 <= part.start < part.stop <= self.sketch_dim:
                raise ValueError(f"sketches: expected parts of {self.sketch_dim} numbers, got {part} for {name}")
        for bias, weight in self.biases.items():
            if not isinstance(self.sketches.get(weight), MatrixSketch) or bias in self.sketches:
                raise ValueError(
                    f"biases: expected a weight with a sketch of matrices for {bias} alone, got {weight!r}"
                )

    @classmethod
    def for_problem(
        cls, problem: Problem, sketch_dim: int, seed: int = 0, matrices: str = "tensor", apart: bool = False
    ) -> LayerSketch:
        """Sketches by factors for the weights of linear layers, an SRHT or SJLT for every other parameter.

        A convolution sees so many positions that forming its gradient costs less than sketching its factors.

        Args:
            problem: The model and its parameters of interest.
            sketch_dim: Length of the sketches.
            seed: 0 to 2^31 − 1; each parameter's sketch has a seed of its own, made of it.
            matrices: ``"tensor"`` for a `TensorSketch`, about as accurate as a sketch of the formed gradient;
                ``"factored"`` for a `Factored` one (LoGra), faster and much less accurate.
            apart: Whether each matrix has a part of the sketch for itself (of at least 1,024 numbers; beyond as many,
                some share one), as LoGra stores them. Each number is then written once, which is faster for small
                networks, and less accurate where one layer has most of the norm.

        Raises:
            ValueError: ``matrices`` is neither, or seed is out of range.
        """
        if matrices not in ("tensor", "factored"):
            raise ValueError(f'matrices: expected "tensor" or "factored", got {matrices!r}')
        integer("sketch_dim", sketch_dim, 1)
        integer("seed", seed, 0, 2**31 - 1, "2^31 - 1")
        shapes, biases = _matrices(problem)
        parts = max(1, min(len(shapes), sketch_dim // _LEAST)) if apart else 1
        width = sketch_dim // parts
        side, power = math.isqrt(width), 1 << (width.bit_length() - 1)
        sketches: dict[str, SRHT | SJLT | MatrixSketch] = {}
        starts: dict[str, int] = {}
        for number, (name, shape) in enumerate(problem.shapes.items()):
            own = (seed << 32) + 2 * number
            if name in shapes:
                m, n = shapes[name]
                starts[name] = len(starts) % parts * width
                sketches[name] = (
                    TensorSketch(n, m, power, own)
                    if matrices == "tensor"
                    else Factored(SRHT(n, side, own), SRHT(m, side, own + 1))
                )
            elif name in biases:
                continue
            elif shape.numel() > sketch_dim:
                sketches[name] = SRHT(shape.numel(), sketch_dim, own)
            else:  # an SRHT of few numbers costs as much as one of sketch_dim
                sketches[name] = SJLT(max(1, shape.numel()), sketch_dim, own, nonzeros=1)
        return cls(sketch_dim, sketches, starts, biases)

    def part(self, name: str) -> slice:
        """The numbers that a parameter's sketch is added to."""
        start = self.starts.get(name, 0)
        return slice(start, start + self.sketches[name].sketch_dim)

    @property
    def spec(self) -> dict[str, Any]:
        """A JSON-able description; `from_spec` is its inverse."""
        sketches = {name: sketch.spec for name, sketch in self.sketches.items()}
        places = {"starts": dict(self.starts), "biases": dict(self.biases)}
        return {"kind": "layers", "sketch_dim": self.sketch_dim, "sketches": sketches, **places}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> LayerSketch:
        """The sketch that a ``spec`` describes.

        Raises:
            ValueError: Not the spec of a LayerSketch, or of one that cannot be.
        """
        keys = {"kind", "sketch_dim", "sketches", "starts", "biases"}
        if not isinstance(spec, Mapping) or spec.get("kind") != "layers" or spec.keys() != keys:
            raise ValueError(f'spec: expected kind "layers" and {sorted(keys)}, got {spec!r:.200}')
        try:
            sketches = {name: from_spec(own) for name, own in spec["sketches"].items()}
            dim, starts, biases = (
                integer("sketch_dim", spec["sketch_dim"], 1),
                dict(spec["starts"]),
                dict(spec["biases"]),
            )
            return cls(dim, sketches, starts, biases)
        except (AttributeError, TypeError) as error:
            raise ValueError(f"spec: expected what LayerSketch.spec gives, got {spec}") from error

    def check(self, problem: Problem) -> None:
        """Refuses a problem with other parameters.

        Raises:
            ValueError: Names or sizes differ.
        """
        sizes = {name: sketch.input_dim for name, sketch in self.sketches.items()}
        for bias, weight in self.biases.items():
            sizes[bias] = problem.shapes[bias].numel() if bias in problem.shapes else 0
            sizes[weight] -= sizes[bias]
        expected = {name: max(1, shape.numel()) for name, shape in problem.shapes.items()}
        if wrong := [name for name in expected.keys() | sizes if expected.get(name) != sizes.get(name)]:
            raise ValueError(
                f"sketch: expected one of the problem's parameters, got another size for {sorted(wrong)[:8]}"
            )


def _matrices(problem: Problem) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
    """(rows, columns) of weights whose gradients are outer products in every layer that owns them; {bias: weight}."""
    model = problem.model
    names = {id(p): name for name, p in model.named_parameters()}
    held = owners(problem)
    found, biases = {}, {}
    for name, shape in problem.shapes.items():
        modules = [model.get_submodule(owner) for owner in held[name]]
        if len(shape) < 2 or not shape.numel() or not all(map(_of_matrices, modules)):
            continue
        found[name] = (shape[0], shape[1:].numel())
        bias = names.get(id(getattr(modules[0], "bias", None)))
        single = isinstance(modules[0], nn.Linear) and list(held[name].values()) == ["weight"]
        if single and bias in problem.shapes and len(held[bias]) == 1:
            biases[bias] = name
            found[name] = (shape[0], shape[1] + 1)
    return found, biases


def _of_matrices(module: nn.Module) -> bool:
    if type(module).__name__ == "Conv1D":  # transformers'
        return True
    return isinstance(module, nn.Linear)

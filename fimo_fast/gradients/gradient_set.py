"""A set of per-example gradients, each in the cheapest form that is exact: factors, rows or numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from ..problem import Data, Problem
from ..problem.trees import check_finite, named_leaves
from ..sketch import Composition, VectorSketch
from .held import Held, alone, check_mapped, in_own_memory, same_shapes, with_bias, without_bias
from .inner_products import dot
from .inner_products import norm2 as norm2_of
from .layer_sketch import LayerSketch
from .sketching import Sketches
from .stream import form, prepare, zeros
from .terms import Dense, Outer, Term, by_token, joined, tensors


class GradientSet:
    """Per-example gradients in memory, never formed where a layer has factors.

    Make one with `collect` (from a model) or `from_vectors` (from numbers); `map` transforms one, as a preconditioner
    does. The gradients are those of ``problem`` at its parameters; ``problem.at(parameters)`` is it at others.

    Args:
        problem: Whose parameters they belong to.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        # Runs of examples whose terms have the same shapes: (how many, {parameter: terms}).
        self._groups: list[tuple[int, dict[str, list[Held]]]] = []
        self._mapped = False  # whether a bias may be another column than ones

    @classmethod
    def collect(
        cls, problem: Problem, data: Data, of: str = "loss", batch_size: int | None = None, name: str = "data"
    ) -> GradientSet:
        """The gradients of these examples.

        Args:
            problem: Model, loss and parameters.
            data: Examples in any form that `fimo_fast.data.stream` takes.
            of: ``"loss"`` for ``loss_fn``, ``"output"`` for the attributed quantity.
            batch_size: Examples of a forward and backward pass; by their size in memory, unless given.
            name: What errors call the data.

        Raises:
            TypeError, ValueError: The data do not fit the problem.
            FloatingPointError: A gradient is not finite.
        """
        stream, batches = prepare(problem, data, name, of, batch_size)
        found = cls(problem)
        for batch in batches:
            # A first layer's factor is its input: the caller's tensor, which may be another batch next time.
            given = {leaf.untyped_storage().data_ptr() for _, leaf in named_leaves(batch.inputs, "")}
            terms = {
                key: [in_own_memory(with_bias(term), given) for term in each]
                for key, each in stream.collect(batch).items()
            }
            _check_finite(terms, name, len(found))
            found._append(len(batch), terms)
        return found

    @classmethod
    def from_vectors(cls, problem: Problem, vectors: Tensor) -> GradientSet:
        """Of formed gradients, or of what a curvature has made of them.

        Args:
            problem: Whose parameters.
            vectors: [examples, parameters], floating-point, in the order of ``problem.ravel``; held, not copied.

        Raises:
            TypeError: No tensor of a floating-point type.
            ValueError: Another shape.
        """
        if not isinstance(vectors, Tensor) or not vectors.is_floating_point():
            got = vectors.dtype if isinstance(vectors, Tensor) else type(vectors).__name__
            raise TypeError(f"vectors: expected a floating-point tensor, got {got}")
        if vectors.dim() != 2 or vectors.shape[1] != problem.numel:
            raise ValueError(f"vectors: expected shape [examples, {problem.numel}], got {list(vectors.shape)}")
        found = cls(problem)
        split = problem.unravel(vectors.detach())
        found._append(len(vectors), {name: [Dense.of(part)] for name, part in split.items()} if len(vectors) else {})
        return found

    def __len__(self) -> int:
        return sum(count for count, _ in self._groups)

    def __repr__(self) -> str:
        return f"GradientSet({len(self)} examples, {self.problem.numel:,} parameters)"

    def terms(self) -> Iterator[tuple[slice, dict[str, list[Held]]]]:
        """Examples some at a time, with the terms of each parameter: (examples, {parameter: terms})."""
        at = 0
        for count, groups in self._groups:
            terms = {name: [without_bias(term) for term in each] for name, each in groups.items()}
            if self._mapped:  # a partner promises a column of ones
                terms = {name: [alone(term) for term in each] for name, each in terms.items()}
            yield slice(at, at + count), terms
            at += count

    def vectors(self) -> Tensor:
        """The gradients formed, [examples, parameters], in the order of ``problem.ravel``."""
        parts = [self.problem.ravel(form(self.problem, terms, count)) for count, terms in self._counted()]
        return torch.cat(parts) if parts else zeros(self.problem, 0, self.problem.numel)

    def norm2(self) -> Tensor:
        """Squared norms, [examples]."""
        parts = []
        for count, terms in self._counted():
            own = [norm2_of(each) for each in terms.values() if each]
            parts.append(torch.stack(own).sum(0) if own else zeros(self.problem, count))
        return torch.cat(parts) if parts else zeros(self.problem, 0)

    def dot(self, other: GradientSet) -> Tensor:
        """Inner products with the gradients of another set, [examples, other's examples].

        Raises:
            TypeError: No GradientSet.
            ValueError: Gradients of other parameters.
        """
        check_set(other, self.problem, "other")
        result = []
        for count, groups in self._groups:
            products = Products(other, count)
            for name, each in groups.items():
                for held in each:
                    products.add(name, without_bias(held), held)
            result.append(products.total)
        return torch.cat(result) if result else zeros(self.problem, 0, len(other))

    def sketch(self, sketch: VectorSketch | Composition | LayerSketch) -> Tensor:
        """Their sketches, [examples, sketch_dim]; see `fimo_fast.gradients.sketch`."""
        sketches = Sketches(self.problem, sketch)
        out = sketches.empty(len(self))
        for some, terms in self.terms():
            for name, each in terms.items():
                for term in each:
                    sketches.add(name, term, out[some])
        return out

    def map(self, function: Callable[[str, Held], Held]) -> GradientSet:
        """The set with each term transformed, as by a preconditioner that acts on each layer.

        Args:
            function: Given the name of a parameter and a term of its gradients, returns what takes the term's place. A
                weight and the bias of the same call come as one `Outer` of [m, n + 1], under the weight's name: the
                last column is the bias.

        Raises:
            TypeError: What comes is no term.
            ValueError: A term of another size.
        """
        mapped = GradientSet(self.problem)
        mapped._mapped = True
        for count, groups in self._groups:
            terms: dict[str, list[Held]] = {name: [] for name in groups}
            for name, each in groups.items():
                for term in each:
                    if isinstance(term, Dense) and term.partner:
                        continue  # the last column of its weight
                    new = function(name, term)
                    check_mapped(name, term, new)
                    terms[name].append(new)
                    if isinstance(term, Outer) and term.partner:
                        assert isinstance(new, Outer)
                        column = (new.a[..., -1:].mT @ new.delta)[:, 0]
                        terms[term.partner].append(Dense(column, partner=name))
            mapped._groups.append((count, terms))
        return mapped

    def check_finite(self, name: str) -> None:
        """Refuses a set with NaN or infinity.

        Raises:
            FloatingPointError: Names the parameter and the first such example.
        """
        at = 0
        for count, terms in self._groups:
            _check_finite(terms, name, at)
            at += count

    def _counted(self) -> Iterator[tuple[int, dict[str, list[Held]]]]:
        for some, terms in self.terms():
            yield some.stop - some.start, terms

    def _append(self, count: int, terms: dict[str, list[Held]]) -> None:
        if count == 0:
            return
        if self._groups:
            before, last = self._groups[-1]
            if all(same_shapes(last[name], each) for name, each in terms.items()):
                both = {name: list(map(joined, last[name], each)) for name, each in terms.items()}
                self._groups[-1] = (before + count, both)
                return
        self._groups.append((count, terms))


def check_set(given: object, problem: Problem, name: str) -> None:
    """Refuses what is no set of gradients of this problem's parameters.

    Raises:
        TypeError: No GradientSet.
        ValueError: Gradients of other parameters.
    """
    if not isinstance(given, GradientSet):
        raise TypeError(f"{name}: expected a GradientSet, got {type(given).__name__}")
    if given.problem.shapes != problem.shapes:
        raise ValueError(f"{name}: expected gradients of {problem!r}, got those of {given.problem!r}")


def _check_finite(terms: Mapping[str, list[Held]], name: str, start: int) -> None:
    for key, each in terms.items():
        for tensor in itertools.chain.from_iterable(map(tensors, each)):
            check_finite(tensor, f"{name} gradients of {key}", start)


class Products:
    """Inner products of one training batch with all gradients of a set, term by term.

    Args:
        queries: The set.
        batch: How many training examples.
        tokens: Length of their sequences, to have the tokens apart.
    """

    def __init__(self, queries: GradientSet, batch: int, tokens: int | None = None) -> None:
        self._queries = queries
        self._tokens = tokens
        self._sum = zeros(queries.problem, batch * (tokens or 1), len(queries))
        self._shape = (batch, len(queries)) if tokens is None else (batch, tokens, len(queries))

    @property
    def total(self) -> Tensor:
        """[batch, queries] or [batch, tokens, queries]."""
        return self._sum.reshape(self._shape)

    def add(self, name: str, term: Term, held: Held | None = None) -> None:
        """Takes one term; ``held`` is the same as a set holds it, where that is at hand."""
        if self._tokens is not None and len(term) != len(self._sum):
            try:
                term = by_token(term, self._tokens)
            except ValueError as error:
                raise ValueError(
                    f"tokens: the gradient of {name} is not known as a sum over positions ({error}); select other "
                    "parameters"
                ) from error
        whole = with_bias(term) if held is None else held
        at = 0
        for count, terms in self._queries._groups:
            for other in terms[name]:
                if (product := _product(term, whole, other)) is not None:
                    self._sum[:, at : at + count] += product
            at += count


def _product(term: Term, whole: Held, other: Held) -> Tensor | None:
    """Of a term, ``whole`` with its bias where it has one, and a held term, which is so already.

    A weight's inner product includes its bias's where both sides know it: ⟨δ, δ'⟩ (⟨a, a'⟩ + 1).
    """
    if isinstance(other, Dense) and isinstance(term, Dense) and term.partner and term.partner == other.partner:
        return None
    if isinstance(other, Outer) and other.partner:
        if isinstance(term, Outer) and term.partner == other.partner:
            return dot(whole, other)
        return dot(term, without_bias(other))
    return dot(term, other)

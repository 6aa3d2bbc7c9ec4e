"""What every attribution method can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, TypeVar

from torch import Tensor

from ..problem import Data, Problem

if TYPE_CHECKING:
    from typing_extensions import Self


class Method(ABC):
    """An attribution method: choices of a sketch, of a function of the curvature and of an inner product.

    Attributes:
        knows_horizon: Whether the scores depend on how long further training goes on.
    """

    knows_horizon: ClassVar[bool] = False

    @abstractmethod
    def attribute(self, problem: Problem, train: Data, queries: Data) -> Tensor:
        """Scores [n_train, n_queries]: positive where removing the example raises the query's loss."""

    @classmethod
    def for_horizon(cls, learning_rate: float, steps: int) -> Self:
        """The method as it predicts ``steps`` steps of further training at this rate."""
        return cls()

    @property
    def settings(self) -> str:
        """What a table says of its settings, the number of steps aside."""
        return "at the final parameters"

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"{type(self).__name__}({', '.join(shown)})"


METHODS: dict[str, type[Method]] = {}
"""{name: class} of all methods that an experiment runs side by side."""

M = TypeVar("M", bound=type[Method])


def register(method: M) -> M:
    """Class decorator: experiments run the method beside the others, and reports show it."""
    METHODS[method.__name__] = method
    return method

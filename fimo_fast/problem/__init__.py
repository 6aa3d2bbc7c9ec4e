"""The question: the final model, its loss, the attributed quantity, and the data, checked when they are given.

May import: utils.
"""

from . import losses
from .data import Data, Stream, load, stream
from .examples import Examples
from .problem import Problem
from .tokens import by_token

__all__ = ["Data", "Examples", "Problem", "Stream", "by_token", "load", "losses", "stream"]

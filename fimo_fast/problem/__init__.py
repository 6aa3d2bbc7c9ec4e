"""What is asked: the final model, its loss and the quantity to explain, and the data, checked where they come in.

May import: utils.
"""

from . import losses
from .data import Data, Stream, load, stream
from .examples import Examples
from .problem import Problem
from .tokens import by_token

__all__ = ["Data", "Examples", "Problem", "Stream", "by_token", "load", "losses", "stream"]

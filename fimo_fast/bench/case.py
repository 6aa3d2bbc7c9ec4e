"""A benchmark case: inputs, the kernel's call, its check, its least work, and the baselines.

A `Case` is a description; nothing is allocated before ``case.inputs(device)``. `fimo_fast.bench.timing` and
``benchmarks/`` time the same cases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

Inputs = tuple[Any, ...]  # of tensors, or of NumPy arrays where the call from NumPy is measured
Call = Callable[[], Any]

Bound = Literal["read", "sgemm", "call"]
Kind = Literal["torch", "gemm", "peer"]

# Operations for each byte above which SGEMM, not reading, is the floor (two Zen 3 cores: about 4).
BALANCE = 4
LINE = 64  # bytes; a number that a mask keeps brings its cache line with it


class WrongResult(AssertionError):
    """A kernel gave a wrong result, so its time means nothing."""


class Unavailable(RuntimeError):
    """A baseline cannot run here; the message says why."""


@dataclass(frozen=True)
class Baseline:
    """Another implementation of the same, or of a comparable, result.

    Attributes:
        kind: ``torch``, a torch expression; ``gemm``, only the matrix products of the case; ``peer``, another library.
        prepare: from the case's inputs to the call that is timed. It does what a user would do once for many batches
            (storing random numbers, building an index). Raises `Unavailable`.
        share: the part of the case's work that one call does; times are divided by it. Below 1 only if the cost is
            proportional and all of the work would take minutes.
        memory: bytes that it keeps between calls, if they are many.
        only: the one type of device that it runs on; None: any.
    """

    kind: Kind
    prepare: Callable[[Inputs], Call]
    share: float = 1.0
    memory: int = 0
    only: Literal["cpu", "cuda"] | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """One operation at one size and type.

    Attributes:
        operation: name in ``fimo_fast.ops``, or ``overhead``.
        name: distinguishes it from the other cases of the operation.
        dtype: of the inputs.
        sizes: {symbol: number}, as in the op's docstring.
        moved: the fewest bytes that any implementation reads and writes: inputs once, results once.
        operations: the fewest additions and multiplications (a multiply-add is two) of the algorithm.
        bound: the floor, the least time that the machine's peak rates allow. On the CPU: ``read``, the time to read
            the inputs; ``sgemm``, the time of ``operations`` in a matrix product; ``call``, no floor, as the fixed
            cost of a call is measured. On CUDA it is the longer of the first two.
        memory: bytes held at once by the inputs, the results and the check.
        inputs: makes the inputs on a device.
        kernel: what is measured, called with the inputs.
        check: compares with `fimo_fast.ops.reference` in float64; given the inputs and the result of ``kernel``. Raises
            AssertionError.
        baselines: {name: baseline}.
        only: the one type of device that it runs on; None: any.
    """

    operation: str
    name: str
    dtype: torch.dtype
    sizes: Mapping[str, int]
    moved: int
    operations: int
    bound: Bound
    memory: int
    inputs: Callable[[torch.device], Inputs]
    kernel: Callable[..., Any]
    check: Callable[[Inputs, Any], None]
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    only: Literal["cpu", "cuda"] | None = None

    def __str__(self) -> str:
        return f"{self.operation} {self.name}, {dtype_name(self.dtype)}"

    def needed(self, peers: bool, device: str = "cpu") -> int:
        """Bytes that the case and its baselines hold at once on a type of device, with or without other libraries."""
        baselines = [r for r in self.baselines.values() if r.only in (None, device)]
        return self.memory + sum(r.memory for r in baselines if peers or r.kind != "peer")

    def checked(self, inputs: Inputs) -> None:
        """Runs the kernel and checks its result.

        Raises:
            WrongResult: it differs from the reference by more than rounding.
        """
        try:
            self.check(inputs, self.kernel(*inputs))
        except AssertionError as error:
            raise WrongResult(f"{self}: the kernel differs from the reference: {error}") from error


def dtype_name(dtype: torch.dtype) -> str:
    """``float32`` for ``torch.float32``."""
    return str(dtype).removeprefix("torch.")


def size_in_words(number: int) -> str:
    """``1M``, ``50k``, ``2048``: 10,000 and more is abbreviated if no digit is lost."""
    if number >= 10**6 and number % 10**6 == 0:
        return f"{number // 10**6}M"
    if number >= 10**4 and number % 10**3 == 0:
        return f"{number // 10**3}k"
    return str(number)

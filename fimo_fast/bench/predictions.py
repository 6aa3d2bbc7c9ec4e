"""What the CUDA kernels are predicted to take, from counted bytes and instructions (docs/cuda_performance.md).

Predictions are of one device and no measurements. A file of them is JSON: ``device``, its name, and ``cases``, from
``str(case)`` to ``seconds``, ``floor_seconds`` and ``bound``, in words what limits the kernel. The repository has one
for an H100, ``tools/cuda/speed_model/cuda_predictions.json``; it is not installed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Prediction:
    """Of one case.

    Attributes:
        seconds: of the kernel.
        floor_seconds: the least that any implementation takes on that device.
        bound: what limits the kernel.
    """

    seconds: float
    floor_seconds: float
    bound: str


@dataclass(frozen=True)
class Predictions:
    """Of one device.

    Attributes:
        device: its name.
        cases: {str(case): its prediction}.
    """

    device: str = ""
    cases: Mapping[str, Prediction] = field(default_factory=dict)


def read(path: Path) -> Predictions:
    """The predictions of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it has another form; the message names the place.
    """
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also of what is no UTF-8
        raise ValueError(f"{path}: expected JSON: {error}") from None
    if not (isinstance(found, dict) and isinstance(found.get("device"), str) and isinstance(found.get("cases"), dict)):
        raise ValueError(f'{path}: expected {{"device": name, "cases": {{case: prediction}}}}')
    return Predictions(found["device"], {name: _prediction(path, name, one) for name, one in found["cases"].items()})


def _prediction(path: Path, name: str, found: Any) -> Prediction:
    given = found if isinstance(found, dict) else {}
    seconds, floor, bound = (given.get(key) for key in ("seconds", "floor_seconds", "bound"))
    if isinstance(seconds, (int, float)) and isinstance(floor, (int, float)) and isinstance(bound, str) and seconds > 0:
        return Prediction(float(seconds), float(floor), bound)
    raise ValueError(f"{path}: {name}: expected seconds above 0, floor_seconds and bound, got {found}")

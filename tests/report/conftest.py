"""Results with the numbers of shared/paper.md, for all tests of the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

METHODS = {
    "UnrolledDerivative": (0.79, 0.86),
    "FiniteHorizon": (0.90, 0.80),
    "InfluenceFunction": (0.25, 0.47),
    "GradDot": (0.87, 0.42),
    "GradCos": (0.50, 0.20),
    "TRAK": (0.04, -0.02),
}


def band(values: list[float], width: float) -> list[list[float]]:
    return [[v - width, v + width] for v in values]


def make_experiment(
    name: str = "concrete",
    epochs: int = 20,
    methods: Mapping[str, tuple[float, float]] = METHODS,
    **other: Any,
) -> dict[str, Any]:
    """An experiment whose curves are straight lines; ``other`` replaces keys."""
    ceiling = np.linspace(0.79, 0.83, epochs).tolist()
    made: dict[str, Any] = {}
    for i, (method, ends) in enumerate(methods.items()):
        cosine = np.linspace(*ends, epochs).tolist()
        made[method] = {
            "cosine": cosine,
            "cosine_interval": band(cosine, 0.02),
            "spearman": [0.9 * c for c in cosine],
            "spearman_interval": band([0.9 * c for c in cosine], 0.03),
            "seconds": 1.5 + i,
            "settings": f"settings of {method}",
        }
    if "UnrolledDerivative" in made:
        own = np.linspace(0.999, 0.93, epochs).tolist()
        made["UnrolledDerivative"]["own_seeds"] = {"cosine": own, "spearman": own}
    return {
        "name": name,
        "title": f"Title of {name}",
        "n_train": 1927,
        "n_queries": 32,
        "left_out": 100,
        "seeds": 8,
        "epochs": list(range(1, epochs + 1)),
        "reliability": ceiling,
        "reliability_interval": band(ceiling, 0.03),
        "split_half": [c / (2 - c) for c in ceiling],
        "distance": np.linspace(0.01, 0.04, epochs).tolist(),
        "setup": {"data": "sentence on the data", "model": "sentence on the model"},
        "oracle": {"seconds": 41.2, "run_epochs_per_second": 80.1},
        "methods": made,
        **other,
    }


def make_results(*experiments: dict[str, Any]) -> dict[str, Any]:
    return {
        "experiments": list(experiments) or [make_experiment()],
        "environment": {"fimo_fast": "0.1.0", "threads": 2, "command": "fimo-fast demo"},
    }


@pytest.fixture
def experiment() -> Callable[..., dict[str, Any]]:
    return make_experiment


@pytest.fixture
def results() -> Callable[..., dict[str, Any]]:
    return make_results

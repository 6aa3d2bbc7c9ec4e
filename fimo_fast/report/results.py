"""The input of the report: the results dictionary, checked once and given types.

The other modules rely on this: E epochs, strictly increasing; every curve a float64 array of length E in which NaN
means "not measured"; every interval [E, 2]; distinct names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Method:
    """One attribution method in one experiment.

    Attributes:
        name: the method's name as in the input.
        cosine: [E] mean over queries of the cosine with the gold standard.
        cosine_interval: [E, 2] lower and upper end.
        spearman: [E] the same with rank correlation.
        spearman_interval: [E, 2].
        seconds: cost of all scores; NaN where not measured.
        settings: what was chosen, in words.
        own_cosine: [E] with scores over the oracle's own seeds, or None.
        own_spearman: [E] or None.
    """

    name: str
    cosine: Floats
    cosine_interval: Floats
    spearman: Floats
    spearman_interval: Floats
    seconds: float
    settings: str
    own_cosine: Floats | None
    own_spearman: Floats | None


@dataclass(frozen=True)
class Experiment:
    """One final model, its gold standard at E epochs of further training, and the methods.

    Attributes:
        name: short name from the input.
        slug: the name as it may stand in a file name or an HTML id.
        title: heading.
        n_train, n_queries, left_out, seeds: counts.
        epochs: [E] epochs of further training, strictly increasing.
        reliability: [E] the ceiling; NaN where unknown.
        reliability_interval: [E, 2].
        split_half: [E] agreement of the two halves of the seeds, before Spearman-Brown.
        distance: [E] distance from the final parameters, relative to their norm.
        stderr_ratio: [E] standard error of the gold standard relative to its size, or None.
        setup: what was run, in words.
        oracle_seconds: cost of the gold standard.
        oracle_rate: run-epochs per second of the gold standard.
        methods: as in the input, in its order.
    """

    name: str
    slug: str
    title: str
    n_train: int
    n_queries: int
    left_out: int
    seeds: int
    epochs: Floats
    reliability: Floats
    reliability_interval: Floats
    split_half: Floats
    distance: Floats
    stderr_ratio: Floats | None
    setup: Mapping[str, str]
    oracle_seconds: float
    oracle_rate: float
    methods: tuple[Method, ...]


@dataclass(frozen=True)
class Results:
    """All experiments and the environment they ran in."""

    experiments: tuple[Experiment, ...]
    environment: Mapping[str, str]


def parse(results: Mapping[str, Any]) -> Results:
    """Check the results dictionary and give it types.

    Args:
        results: what ``results.json`` holds; lists may contain None for "not measured", and a
            whole list may be None.

    Returns:
        The same, as frozen dataclasses.

    Raises:
        ValueError: a key is missing, a list is empty or has another length than ``epochs``, or
            two experiments share a name. The message gives the path of the key.
    """
    experiments = _get(results, "experiments", "results")
    if not isinstance(experiments, Sequence) or isinstance(experiments, str) or not experiments:
        raise ValueError("results.experiments: expected at least one experiment, got none")
    parsed = tuple(_experiment(item, f"results.experiments[{i}]") for i, item in enumerate(experiments))
    # File systems that fold case would let "A" overwrite "a".
    slugs = [e.slug.casefold() for e in parsed]
    for i, slug in enumerate(slugs):
        if slug in slugs[:i]:
            raise ValueError(
                f"results.experiments[{i}].name: {parsed[i].name!r} gives the same file name as"
                f" {parsed[slugs.index(slug)].name!r}"
            )
    environment = _mapping(results, "environment", "results")
    return Results(parsed, {str(k): _words(v) for k, v in environment.items()})


def slug(name: str) -> str:
    """The name as a file name: all but ASCII letters, digits, ``_`` and inner ``-``, ``.`` becomes ``_``."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).strip(".-") or "_"


def _experiment(raw: Any, where: str) -> Experiment:
    name = str(_get(raw, "name", where))
    epochs = _curve(raw, "epochs", where, None)
    if epochs.size == 0:
        raise ValueError(f"{where}.epochs: expected at least one epoch, got none")
    if not np.isfinite(epochs).all() or (np.diff(epochs) <= 0).any():
        raise ValueError(f"{where}.epochs: expected strictly increasing numbers, got {epochs}")
    n = epochs.size
    oracle = _mapping(raw, "oracle", where)
    methods = _mapping(raw, "methods", where)
    if not methods:
        raise ValueError(f"{where}.methods: expected at least one method, got none")
    return Experiment(
        name=name,
        slug=slug(name),
        title=str(_get(raw, "title", where)),
        n_train=_count(raw, "n_train", where),
        n_queries=_count(raw, "n_queries", where),
        left_out=_count(raw, "left_out", where),
        seeds=_count(raw, "seeds", where),
        epochs=epochs,
        reliability=_curve(raw, "reliability", where, n),
        reliability_interval=_interval(raw, "reliability_interval", where, n),
        split_half=_curve(raw, "split_half", where, n),
        distance=_curve(raw, "distance", where, n),
        stderr_ratio=_curve(raw, "stderr_ratio", where, n) if "stderr_ratio" in raw else None,
        setup={str(k): _words(v) for k, v in _mapping(raw, "setup", where).items()},
        oracle_seconds=_number(oracle, "seconds", f"{where}.oracle"),
        oracle_rate=_number(oracle, "run_epochs_per_second", f"{where}.oracle"),
        methods=tuple(_method(str(key), value, f"{where}.methods.{key}", n) for key, value in methods.items()),
    )


def _method(name: str, raw: Any, where: str, n: int) -> Method:
    own = None if _check(raw, where).get("own_seeds") is None else raw["own_seeds"]
    return Method(
        name=name,
        cosine=_curve(raw, "cosine", where, n),
        cosine_interval=_interval(raw, "cosine_interval", where, n),
        spearman=_curve(raw, "spearman", where, n),
        spearman_interval=_interval(raw, "spearman_interval", where, n),
        seconds=_number(raw, "seconds", where),
        settings=_words(_get(raw, "settings", where)),
        own_cosine=None if own is None else _curve(own, "cosine", f"{where}.own_seeds", n),
        own_spearman=None if own is None else _curve(own, "spearman", f"{where}.own_seeds", n),
    )


def _check(raw: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise ValueError(f"{where}: expected a mapping, got {type(raw).__name__}")
    return raw


def _get(raw: Any, key: str, where: str) -> Any:
    if key not in _check(raw, where):
        raise ValueError(f"{where}.{key}: missing key")
    return raw[key]


def _mapping(raw: Any, key: str, where: str) -> Mapping[str, Any]:
    return _check(_get(raw, key, where), f"{where}.{key}")


def _array(value: Any, path: str) -> Floats:
    try:
        array = np.array(value, dtype=np.float64)  # None becomes NaN
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected numbers or null, got {value!r}") from error
    array[~np.isfinite(array)] = np.nan
    return array


def _curve(raw: Any, key: str, where: str, n: int | None) -> Floats:
    value = _get(raw, key, where)
    if value is None and n is not None:
        return np.full(n, np.nan)
    array = _array(value, f"{where}.{key}")
    if array.ndim != 1 or (n is not None and array.size != n):
        expected = "a list of numbers" if n is None else f"{n} values, one an epoch"
        raise ValueError(f"{where}.{key}: expected {expected}, got shape {array.shape}")
    return array


def _interval(raw: Any, key: str, where: str, n: int) -> Floats:
    value = _get(raw, key, where)
    if value is None:
        return np.full((n, 2), np.nan)
    try:
        pairs = [[None, None] if pair is None else list(pair) for pair in value]
    except TypeError as error:
        raise ValueError(f"{where}.{key}: expected pairs [low, high], got {value!r}") from error
    array = _array(pairs, f"{where}.{key}")
    if array.shape != (n, 2):
        raise ValueError(f"{where}.{key}: expected {n} pairs [low, high], one an epoch, got shape {array.shape}")
    return array


def _number(raw: Any, key: str, where: str) -> float:
    return float(_array(_get(raw, key, where), f"{where}.{key}"))


def _count(raw: Any, key: str, where: str) -> int:
    value = _number(raw, key, where)
    if not value >= 0 or value != int(value):
        raise ValueError(f"{where}.{key}: expected a count, got {raw[key]!r}")
    return int(value)


def _words(value: Any) -> str:
    return "–" if value is None else str(value)

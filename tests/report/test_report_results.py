"""The input is checked: whatever is missing or malformed is named."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fimo_fast.report.results import parse, slug

Make = Callable[..., dict[str, Any]]
OPTIONAL = {"stderr_ratio", "own_seeds"}


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all keys of the format (not those of free dictionaries)."""
    found = []
    if isinstance(value, dict):
        for key, inner in value.items():
            free = at and at[-1] in ("setup", "environment", "methods")
            if not free and key not in OPTIONAL:
                found.append((*at, key))
            found += paths(inner, (*at, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        found += paths(value[0], (*at, 0))
    return found


def test_each_missing_key_is_named(results: Make) -> None:
    complete = results()
    checked = 0
    for path in paths(complete):
        broken = copy.deepcopy(complete)
        parent = broken
        for key in path[:-1]:
            parent = parent[key]
        del parent[path[-1]]
        with pytest.raises(ValueError, match=rf"\.{path[-1]}: missing key"):
            parse(broken)
        checked += 1
    assert checked > 40


def test_no_experiments(results: Make) -> None:
    nothing: list[Any] = [[], None, {}]
    for empty in nothing:
        with pytest.raises(ValueError, match=r"results\.experiments: expected at least one"):
            parse({**results(), "experiments": empty})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", []),
        ("epochs", [2, 1]),
        ("epochs", [1, None]),
        ("reliability", [0.5]),
        ("reliability", ["x"] * 20),
        ("reliability_interval", [0.5] * 20),
        ("distance", 3.0),
        ("methods", {}),
        ("methods", []),
        ("seeds", None),
        ("seeds", 2.5),
        ("oracle", None),
    ],
)
def test_malformed_values_are_named(results: Make, experiment: Make, key: str, value: Any) -> None:
    raw = results(experiment() | {key: value})
    with pytest.raises(ValueError, match=rf"experiments\[0\]\.{key}: expected"):
        parse(raw)


def test_names_that_collide_as_files(results: Make, experiment: Make) -> None:
    with pytest.raises(ValueError, match=r"experiments\[1\]\.name"):
        parse(results(experiment("a/b"), experiment("A?b")))


def test_null_is_nan(results: Make, experiment: Make) -> None:
    raw = experiment(reliability=None, reliability_interval=[None, [None, 0.5]] + [[0, 1]] * 18)
    raw["methods"]["TRAK"]["cosine"][3] = None
    raw["methods"]["TRAK"]["seconds"] = None
    parsed = parse(results(raw)).experiments[0]
    assert np.isnan(parsed.reliability).all()
    assert np.isnan(parsed.reliability_interval[:2]).tolist() == [[True, True], [True, False]]
    trak = parsed.methods[-1]
    assert np.flatnonzero(np.isnan(trak.cosine)).tolist() == [3]
    assert np.isnan(trak.seconds)


@pytest.mark.parametrize("name", ["../up", "a/b", "", "..", "x\0y", "ü", "C:\\x"])
def test_slug_is_a_plain_file_name(name: str) -> None:
    made = slug(name)
    assert made
    assert made.isascii()
    assert not set(made) & set("/\\:\0")
    assert not made.startswith((".", "-"))

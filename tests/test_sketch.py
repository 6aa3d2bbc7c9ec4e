"""Sketches as values: validation, equality, and the description that goes into stores."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimo_fast.sketch import SJLT, SRHT, Rademacher, from_spec


@st.composite
def any_sketch(draw):
    input_dim = draw(st.integers(1, 2**48))
    sketch_dim = draw(st.integers(1, 2**30))
    seed = draw(st.integers(0, 2**64 - 1))
    make = draw(st.sampled_from([Rademacher, SJLT, SRHT]))
    if make is SJLT:
        return SJLT(input_dim, sketch_dim, draw(st.integers(1, min(sketch_dim, 65535))), seed)
    return make(input_dim, sketch_dim, seed)


@given(any_sketch())
def test_spec_is_json_and_round_trips(sketch):
    again = from_spec(json.loads(json.dumps(sketch.spec)))
    assert again == sketch and type(again) is type(sketch) and hash(again) == hash(sketch)


def test_spec_says_everything():
    assert SJLT(10, 8, nonzeros=2, seed=5).spec == {
        "kind": "sjlt",
        "input_dim": 10,
        "sketch_dim": 8,
        "seed": 5,
        "options": {"nonzeros": 2},
    }
    assert SRHT(10, 8).spec["options"] == {}
    assert Rademacher(10, 8) != SRHT(10, 8)


@pytest.mark.parametrize("make", [Rademacher, SJLT, SRHT])
def test_is_frozen_and_keeps_plain_ints(make):
    sketch = make(np.int64(10), np.int32(8), seed=np.uint64(2**64 - 1))
    assert sketch == make(10, 8, seed=2**64 - 1)
    assert type(sketch.input_dim) is int and type(sketch.seed) is int
    with pytest.raises(dataclasses.FrozenInstanceError):
        sketch.seed = 3


@pytest.mark.parametrize("make", [Rademacher, SJLT, SRHT])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"input_dim": 0}, ValueError, r"input_dim: expected 1 to 2\^48, got 0"),
        ({"input_dim": 2**48 + 1}, ValueError, "input_dim: .*got 281474976710657"),
        ({"input_dim": 10.0}, TypeError, "input_dim: expected an integer, got 10.0"),
        ({"input_dim": True}, TypeError, "input_dim: expected an integer, got True"),
        ({"sketch_dim": 0}, ValueError, "sketch_dim: .*got 0"),
        ({"sketch_dim": 2**30 + 1}, ValueError, "sketch_dim: .*got 1073741825"),
        ({"seed": -1}, ValueError, "seed: .*got -1"),
        ({"seed": 2**64}, ValueError, r"seed: expected 0 to 2\^64 - 1"),
        ({"seed": None}, TypeError, "seed: expected an integer, got None"),
    ],
)
def test_wrong_numbers_are_refused(make, arguments, error, message):
    with pytest.raises(error, match=message):
        make(**{"input_dim": 100, "sketch_dim": 16, **arguments})


@pytest.mark.parametrize(("nonzeros", "error"), [(0, ValueError), (9, ValueError), (1.5, TypeError)])
def test_wrong_nonzeros_are_refused(nonzeros, error):
    with pytest.raises(error, match="nonzeros: "):
        SJLT(100, 8, nonzeros=nonzeros)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "gaussian"}, "kind .*gaussian"),
        ({"options": {"nonzeros": 2}}, r"options \[\] for srht, got \['nonzeros'\]"),
        ({"more": 1}, "keys .*more"),
    ],
)
def test_wrong_specs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        from_spec({**SRHT(10, 8).spec, **change})


def test_missing_keys_are_refused():
    spec = SRHT(10, 8).spec
    del spec["seed"]
    with pytest.raises(ValueError, match="keys .*seed"):
        from_spec(spec)


@pytest.mark.parametrize(("sketch_dim", "block"), [(1, 1), (2, 2), (3, 4), (1024, 1024), (1025, 2048)])
def test_block_of_the_srht(sketch_dim, block):
    assert SRHT(10, sketch_dim).block == block

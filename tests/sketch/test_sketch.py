"""Sketches as values: validation, equality, and the description that goes into stores."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimo_fast.sketch import SJLT, SRHT, Composition, Factored, Gaussian, Mask, Rademacher, TensorSketch, from_spec

VECTOR = [Rademacher, Gaussian, SJLT, SRHT, Mask]


@st.composite
def any_sketch(draw):
    input_dim = draw(st.integers(1, 2**48))
    sketch_dim = draw(st.integers(1, 2**30))
    seed = draw(st.integers(0, 2**64 - 1))
    make = draw(st.sampled_from(VECTOR))
    if make is SJLT:
        return SJLT(input_dim, sketch_dim, seed, nonzeros=draw(st.integers(1, min(sketch_dim, 65535))))
    if make is Mask:
        return Mask(max(input_dim, sketch_dim), sketch_dim, seed)
    return make(input_dim, sketch_dim, seed)


COMBINED = [
    Composition(Mask(1000, 64, seed=1), SJLT(64, 16, seed=1, nonzeros=1)),
    Factored(Rademacher(20, 4, seed=1), SRHT(50, 5, seed=1)),
    Composition(Factored(Mask(20, 8, seed=1), Mask(50, 10, seed=2)), SJLT(80, 16)),
    TensorSketch(20, 50, 32, seed=3),
]


@given(any_sketch() | st.sampled_from(COMBINED))
def test_spec_is_json_and_round_trips(sketch):
    again = from_spec(json.loads(json.dumps(sketch.spec)))
    assert again == sketch and type(again) is type(sketch) and hash(again) == hash(sketch)


def test_spec_says_everything():
    assert SJLT(10, 8, nonzeros=2, seed=5).spec == {
        "kind": "sjlt",
        "input_dim": 10,
        "sketch_dim": 8,
        "seed": 5,
        "nonzeros": 2,
    }
    assert COMBINED[0].spec == {
        "kind": "composition",
        "first": COMBINED[0].first.spec,
        "second": COMBINED[0].second.spec,
    }
    assert Rademacher(10, 8) != SRHT(10, 8)


@pytest.mark.parametrize("make", VECTOR)
def test_is_frozen_and_keeps_plain_ints(make):
    sketch = make(np.int64(10), np.int32(8), seed=np.uint64(2**64 - 1))
    assert sketch == make(10, 8, seed=2**64 - 1)
    assert type(sketch.input_dim) is int and type(sketch.seed) is int
    with pytest.raises(dataclasses.FrozenInstanceError):
        sketch.seed = 3


@pytest.mark.parametrize("make", VECTOR)
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
        ({"kind": "walsh"}, "kind .*'walsh'"),
        ({"nonzeros": 2}, "for srht, got .*nonzeros"),
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


@pytest.mark.parametrize(("input_dim", "sketch_dim"), [(1, 1), (10, 3), (10, 10), (97, 13), (2**48, 2**30 - 1)])
def test_outputs_of_a_mask_are_the_strata_that_a_slice_meets(input_dim, sketch_dim):
    sketch = Mask(input_dim, sketch_dim)
    for start, stop in [(0, 1), (0, input_dim), (input_dim - 1, input_dim), (input_dim // 3, input_dim // 2 + 1)]:
        outputs = sketch.outputs(start, stop)
        borders = [c * input_dim // sketch_dim for c in (outputs[0], outputs[0] + 1, outputs[-1], outputs[-1] + 1)]
        assert borders[0] <= start < borders[1] and borders[2] < stop <= borders[3]
    assert not Mask(10, 3).outputs(4, 4)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Mask(10, 11), ValueError, "sketch_dim: expected at most input_dim = 10, got 11"),
        (lambda: Composition(SRHT(10, 8), SRHT(9, 4, seed=1)), ValueError, "second: expected input_dim 8 .*got 9"),
        (lambda: Composition(SRHT(10, 8), SRHT(8, 4)), ValueError, "second: expected another seed .*both are srht"),
        (
            lambda: Composition(Composition(SJLT(99, 50), SRHT(50, 20)), SJLT(20, 4)),
            ValueError,
            "second: expected another seed .*both are sjlt with seed 0",
        ),
        (
            lambda: Composition(Factored(SJLT(9, 4, seed=1), SJLT(9, 4, seed=2)), SJLT(16, 4, seed=2)),
            ValueError,
            "second: expected another seed .*both are sjlt with seed 2",
        ),
        (
            lambda: Composition(TensorSketch(9, 9, 16, seed=3), SJLT(16, 4, seed=2**63 + 3)),
            ValueError,
            "second: expected another seed .*both are sjlt with seed 9223372036854775811",
        ),
        (lambda: Composition(SRHT(10, 8), TensorSketch(2, 4, 4)), TypeError, "second: .*got TensorSketch"),
        (lambda: Composition(3, SRHT(8, 4)), TypeError, "first: expected a sketch, got int"),
        (lambda: Factored(SRHT(10, 8), SRHT(12, 8)), ValueError, "delta: expected another seed than a's"),
        (lambda: Factored(SRHT(10, 8), COMBINED[0]), TypeError, "delta: expected a sketch of vectors"),
        (lambda: Factored(SRHT(2**40, 8), SRHT(2**9, 8, seed=1)), ValueError, r"delta.input_dim \* a.input_dim"),
        (lambda: TensorSketch(10, 10, 12), ValueError, "sketch_dim: expected a power of two, got 12"),
        (lambda: TensorSketch(2**40, 2**9, 8), ValueError, r"a_dim \* delta_dim: expected 1 to 2\^48"),
        (lambda: TensorSketch(0, 10, 8), ValueError, "a_dim: .*got 0"),
    ],
)
def test_sketches_that_do_not_fit_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()

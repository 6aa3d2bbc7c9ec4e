"""Philox4x32-10: the published known answers, and three implementations that agree."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fimo_fast.ops import sketch_matrices
from fimo_fast.ops.native import _C

# The known answers of the Random123 distribution: counter, key, words.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def python_philox(counter, key):
    """The paper's rounds in unbounded Python integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product0, product1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            (product1 >> 32) ^ c1 ^ k0,
            product1 % 2**32,
            (product0 >> 32) ^ c3 ^ k1,
            product0 % 2**32,
        )
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_known_answers(counter, key, words):
    assert tuple(_C.philox(counter, key[0] | key[1] << 32)) == words
    assert python_philox(counter, key) == words


WORD = st.integers(0, 2**32 - 1)


@given(st.tuples(WORD, st.integers(0, 2**31 - 1), WORD, WORD), st.integers(0, 2**64 - 1))
def test_implementations_agree(counter, seed):
    expected = python_philox(counter, (seed % 2**32, seed >> 32))
    assert tuple(_C.philox(counter, seed)) == expected
    index = torch.tensor([counter[0] | counter[1] << 32])
    assert tuple(sketch_matrices.philox(index, counter[2], counter[3], seed)[0].tolist()) == expected


def test_bits_look_random():
    words = sketch_matrices.philox(torch.arange(20000), 0, 0, 1)
    means = sketch_matrices._bits(words).double().mean(0)
    assert (means - 0.5).abs().max() < 5 * 0.5 / 20000**0.5

"""The emulator sees seeded faults: small wrong kernels (emulator/self_test_kernels.h), and their healthy twins.

The same kernels as nvcc compiles them (ptx/self_test.cu) show that their PTX is translated faithfully.
"""

import re

import pytest
from runners import EMULATED, build, missing, run_program

pytestmark = pytest.mark.native
ANY = list(EMULATED)
PTX = [name for name, way in EMULATED.items() if way.mode == "ptx"]
# The ways that must see a fault. Those not named may: a race can also give a wrong result.
SEEN = {
    "barrier before reading": ANY,
    "barrier before writing again": ANY,
    "barrier of a warp": ["tsan"],
    "shared memory not filled": ANY,
    "race in shared memory": ["tsan"],
    "race between blocks": ["tsan"],
    "fence": ["tsan"],
    "one element too many": ["asan", *PTX],
    "behind shared memory": ["asan", *PTX],
    "behind a part of the workspace": ["asan"],
    "divergent barrier": ANY,
    "collective of one lane": ANY,
    "wrong mask": ANY,
    "copy without a wait": ANY,
    "wait for too few copies": ANY,
    "wait without a barrier": ANY,
    "copy into what is read": ANY,
    "copy left under way": ANY,
    "misaligned vector": ["asan", *PTX],
    "misaligned copy": ANY,
    "shared struct too small": ANY,
    "threads": ANY,
    "grid": ANY,
    "shared memory of sm_80": ANY,
}
# What must be said, where it matters that it is not something else.
REPORTS = {
    "barrier of a warp": "ThreadSanitizer: data race",
    "race in shared memory": "ThreadSanitizer: data race",
    "race between blocks": "ThreadSanitizer: data race",
    "fence": "ThreadSanitizer: data race",
    "one element too many": "AddressSanitizer: heap-buffer-overflow|emulator: outside every array: 4 bytes",
    "behind shared memory": "AddressSanitizer: heap-buffer-overflow|emulator: outside shared memory: 4 bytes at 256",
    "behind a part of the workspace": "AddressSanitizer: use-after-poison",
    "divergent barrier": "error: emulator: divergent barrier: thread",
    "collective of one lane": "error: emulator: (deadlock|divergent collectives)",
    "wrong mask": "the lane that calls is not in the mask",
    "copy left under way": "ended with copies under way",
    "misaligned vector": "misaligned address",
    "misaligned copy": "cp.async: misaligned|emulator: misaligned address: 16 bytes",
    "shared struct too small": "larger than the launch's|emulator: outside shared memory",
}


@pytest.fixture(scope="module")
def outcome(request):
    """A function of a way and the program's arguments: what it said."""
    if request.config.getoption("device") != "cpu":
        pytest.skip("the emulator is of the CPU")
    folders = {}

    def get(way, *names):
        mode = EMULATED[way].mode
        if mode not in folders:
            if reason := missing(mode):
                pytest.skip(reason)
            folders[mode] = build(request.config.cache.mkdir(f"cuda-{mode}"), mode, target="self_test")
        done = run_program([folders[mode] / "self_test", *names], EMULATED[way], timeout=60)
        return done.stdout + done.stderr

    return get


def test_all_faults_are_listed(outcome):
    assert outcome("fifo").splitlines() == sorted(SEEN)


@pytest.mark.parametrize("way", ANY)
def test_healthy_twins_are_right(outcome, way):
    assert outcome(way, "healthy") == "right\n" * len(SEEN)


@pytest.mark.parametrize("way", ANY)
def test_faults_are_seen(outcome, way):
    for name in (name for name, ways in SEEN.items() if way in ways):
        said = outcome(way, "broken", name)
        assert said != "right\n", name
        assert re.search(REPORTS.get(name, ""), said), f"{name}: {said}"

"""Timing in turns: order, threads, shares, repetition; no test looks at how long anything took."""

import itertools

import pytest
import torch
from bench_helpers import make

from fimo_fast.bench import clock as clocks
from fimo_fast.bench import peak, timing
from fimo_fast.bench.case import Baseline, Unavailable, WrongResult
from fimo_fast.bench.measured import Entry, Result
from fimo_fast.bench.timing import in_turns, measure, names

CPU = torch.device("cpu")
SQUARE = peak.gemm_operations(torch.float32, CPU)


def entry(name, role="torch", turn=1.0):
    return Entry(name, role, lambda: None, 1, turn=turn)


def test_each_round_has_every_entry_and_starts_one_later():
    turns = list(in_turns([entry(name) for name in "abc"], 4))
    assert "".join(e.name for e, _ in turns) == "abcbcacababc"
    assert sum(share for _, share in turns) == pytest.approx(1)


def test_floors_are_measured_again_after_long_calls():
    floors = [entry("r", "read", 0.01), entry("s", "sgemm", 0.01)]
    turns = list(in_turns([entry("K", "kernel", 5.0), *floors, entry("q", "torch", 0.01)], 2))
    assert "".join(e.name for e, _ in turns) == "KrsrsqrsqKrs"
    assert sum(share for _, share in turns) == pytest.approx(1)


@pytest.fixture
def clock(monkeypatch):
    """Each call takes 5 ms, or 1 ms if it returns a string; gives the record (result, threads, repeats, torch's)."""
    record = []

    def time_call(call, device, threads, repeats=1):
        with clocks.awake_threads(threads):
            result = call()
        record.append((result, threads, repeats, torch.get_num_threads()))
        return 1e-3 if isinstance(result, str) else 5e-3

    monkeypatch.setattr(timing, "time_call", time_call)
    return record


def test_a_measurement(clock):
    baselines = {
        "half": Baseline("torch", lambda inputs: lambda: "half", share=0.5),
        "library": Baseline("peer", lambda inputs: lambda: "library"),
    }
    before = torch.get_num_threads()
    progress = []
    result = measure(make(baselines=baselines), CPU, 2, peers=True, seconds=1e-9, advance=progress.append)
    assert torch.get_num_threads() == before
    assert [(e.name, e.threads) for e in result.entries] == [
        ("kernel", 1), ("kernel", 2), ("read", 2), ("copy", 2), ("sgemm", 2), ("half", 2), ("library", 2),
    ]  # fmt: skip
    assert all(len(e.rounds) == 3 for e in result.entries)
    # Calls of 1 ms are made twice a turn; half of the work took 1 ms, so all takes 2 ms.
    half = result.entries[5]
    assert half.repeats == 2 and half.rounds == [2e-3] * 3
    assert result.seconds == 5e-3 and result.scaling == 1
    # 4400 bytes must be moved, the read of 4000 took 5 ms.
    assert result.floor == pytest.approx(5.5e-3) and result.of_floor == pytest.approx(1.1)
    assert sum(progress) == pytest.approx(0.3 + 0.7 / 3)
    timed = [e for e in clock if e[0] == "library"]
    assert {threads for _, threads, *_ in timed} == {2}


def test_one_thread_is_measured_once(clock):
    result = measure(make(), CPU, 1, seconds=1e-9)
    assert [e.name for e in result.entries] == ["kernel", "read", "copy", "sgemm"] and result.scaling is None


def test_rounds_fill_the_time_and_end_at_fifteen(clock):
    # Four entries of 5 ms.
    assert len(measure(make(), CPU, 1, seconds=0.1).entries[0].rounds) == 5
    assert len(measure(make(), CPU, 1, seconds=9.0).entries[0].rounds) == 15


def test_a_busy_machine_is_measured_again_and_marked(clock):
    quiet = SQUARE / 5e-3
    calm = measure(make(), CPU, 1, known={"SGEMM": quiet}, seconds=1e-9)
    assert not calm.disturbed and len(calm.entries[0].rounds) == 3
    busy = measure(make(), CPU, 1, known={"SGEMM": 2 * quiet}, seconds=1e-9)
    assert busy.disturbed and len(busy.entries[0].rounds) == 9


def test_nothing_is_timed_after_a_wrong_result(clock):
    def check(inputs, result):
        assert result == 999, "a thousand"

    with pytest.raises(WrongResult, match="sum of 1000, float32.*a thousand"):
        measure(make(check=check), CPU, 2)
    assert not clock


def test_what_is_missing_is_reported_and_peers_only_run_when_asked_for(clock):
    def absent(inputs):
        raise Unavailable("library is not installed")

    case = make(baselines={"library": Baseline("peer", absent)})
    assert measure(case, CPU, 1, peers=True, seconds=1e-9).missing == {"library": "library is not installed"}
    assert measure(case, CPU, 1, seconds=1e-9).missing == {}
    assert names(case, peers=False) == ["kernel", "read", "copy", "sgemm"]
    assert names(make(bound="call"), peers=True) == ["kernel"]


def result_of(bound, times, moved=4400, operations=SQUARE):
    entries = [Entry(role, role, lambda: None, 2, rounds=[t, 2 * t]) for role, t in times.items()]
    return Result(make(bound, moved=moved, operations=operations), 2, 4000, entries, {})


def test_floors_from_times():
    # The read of 4000 bytes takes 1 s, 4400 must be moved.
    assert result_of("read", {"kernel": 2.2, "read": 1.0, "sgemm": 1.0}).of_floor == pytest.approx(0.5)
    # As many operations as the square product, which takes 1 s; the products alone count only where they are faster.
    assert result_of("sgemm", {"kernel": 2.0, "read": 1.0, "sgemm": 1.0}).of_floor == pytest.approx(0.5)
    assert result_of("sgemm", {"kernel": 2.0, "read": 1.0, "sgemm": 1.0, "gemm": 1.5}).of_floor == pytest.approx(0.5)
    assert result_of("sgemm", {"kernel": 2.0, "read": 1.0, "sgemm": 1.0, "gemm": 0.5}).of_floor == pytest.approx(0.25)
    assert result_of("call", {"kernel": 2.0}).of_floor is None


def test_reads_and_copies_touch_every_byte():
    for inputs in [(torch.arange(6.0), torch.arange(3, dtype=torch.bfloat16)), (torch.ones(5).numpy(),)]:
        assert peak.size_bytes(inputs) == sum(x.nbytes for x in inputs)
        call, share = peak.copy(inputs)
        assert share == 1
        assert all(torch.equal(a, b) for a, b in zip(call(), peak.tensors(inputs), strict=True))
    largest = peak.read((torch.arange(6.0), torch.arange(3, dtype=torch.bfloat16)))()
    assert [x.item() for x in largest] == [5.0, 2.0]
    # Four int8 or two bfloat16 at once, as the float32 with their bits.
    assert peak.read((torch.tensor([0, 0, 128, 63], dtype=torch.uint8).view(torch.int8),))()[0].item() == 1.0


def test_peak_rates_take_the_best_of_interleaved_calls():
    seconds = itertools.cycle([3.0, 4.0, 2.0, 8.0])
    calls = []

    def time_call(call, device, threads):
        calls.append(call)
        return next(seconds)

    found = peak.peak_rates(CPU, 1, time_call)
    assert found == {"read": 2**28 / 2.0, "SGEMM": SQUARE / 4.0}
    assert len(calls) == 30 and len(set(calls[::2])) == len(set(calls[1::2])) == 1

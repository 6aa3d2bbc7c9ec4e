"""Kernels of ptx/cases/programs.cu as nvcc compiles them: CUDA's constructs, the project's instructions, and faults.

Faults must be reported. test_kernels.py and test_emulator.py run the kernels of the project.
"""

import re

import numpy as np
import pytest
import torch
from ptx.cases.programs import Failed

pytestmark = pytest.mark.native

# --- csrc/cuda/device/instructions.cuh, of which the other modes run the host twins ------------------------------


def test_copies_of_the_project(programs):
    data = np.random.default_rng(8).integers(1, 200, (28, 16), dtype="u1")
    out = np.zeros_like(data)
    programs.launch("copies_of_project", data, out, block=1, shared_bytes=28 * 16)
    sizes = [(4, 4), (4, 0), (8, 8), (8, 0), (16, 16), (16, 0)]
    sizes += [(4, n) for n in range(5)] + [(16, n) for n in range(17)]
    for i, (size, read) in enumerate(sizes):
        assert out[i].tolist() == [*data[i, :read], *[0] * (size - read), *[0xEE] * (16 - size)]


def test_matrices_of_the_project(programs):
    rows, out = np.arange(32 * 4, dtype="u4").reshape(4, 8, 4), np.zeros((8, 4, 4), dtype="u4")
    programs.launch("matrices_of_project", rows, out, shared_bytes=512)
    assert (out == rows.transpose(1, 2, 0)).all()


def test_roots_of_the_project(programs):
    x, roots = np.random.default_rng(9).uniform(1e-6, 1e6, 64).astype("f4"), np.zeros(64, dtype="f4")
    programs.launch("roots_of_project", x, roots, block=64)
    np.testing.assert_allclose(roots, 1 / np.sqrt(x.astype("f8")), rtol=2e-7)


# --- What nvcc makes of CUDA ------------------------------------------------------------------------------


def test_calls_of_functions(programs):
    x, out = np.linspace(-4, 4, 32, dtype="f4"), np.zeros(32, dtype="f4")
    programs.launch("calls", x, out)
    for i in range(32):
        y = x[i]
        for _ in range(i % 4):
            y = y * np.float32(0.5) + np.float32(1)
        assert out[i] == y + np.float32(i + 1)


def test_branches(programs):
    x, out = np.arange(32, dtype="i4") % 9, np.zeros(42, dtype="i4")
    out[40:] = 50, 7
    programs.launch("branches", x, out)
    known = [6, 0x80000000 >> 5, 57, 27, 32 - (4 + 32).bit_length(), -5, 11, -7, 1000]
    assert out[:32].tolist() == [known[i % 9] for i in range(32)]


def test_local_arrays(programs):
    x, out = np.random.default_rng(3).integers(0, 1000, 32).astype("i4"), np.zeros(32, dtype="i4")
    programs.launch("local_array", x, out)
    for t in range(32):
        values = [int(x[(t + k) % 32]) for k in range(16)]
        for k in range(4):
            values[x[t] & 15] += values[x[(t + k) % 32] & 15]
        total = 0
        for k in range(16):
            total = 3 * total + values[(x[t] + k) & 15]
        assert out[t] == (total + 2**31) % 2**32 - 2**31


def test_tables(programs):
    out, count = np.zeros(32, dtype="f4"), np.zeros(1, dtype="u4")
    programs.launch("tables", out, count)
    assert out.tolist() == [[1.0, -2.0, 0.5, 8.0, 3.0][3 * i % 5] for i in range(32)]
    before = int(count[0])
    programs.launch("tables", out, count)
    assert before >= 40 and count[0] == before + 2


@pytest.mark.parametrize("schedule", ["fifo", "lifo", "random"])
def test_shared_arrays(programs, schedule):
    x = np.arange(4 * 32, dtype="f4").reshape(4, 32)
    out = np.zeros_like(x)
    programs.launch("shared_arrays", x, out, grid=(2, 1, 2), block=(4, 4, 2), shared_bytes=128, schedule=schedule)
    fours = 10 * x.reshape(4, 8, 4).sum(-1)
    assert (out == x[:, ::-1] + np.tile(fours, (1, 4))).all()


@pytest.mark.parametrize("schedule", ["fifo", "lifo", "random"])
def test_collectives(programs, schedule):
    x, out = np.random.default_rng(4).integers(0, 400, 32).astype("u4"), np.zeros((16, 32), dtype="u4")
    programs.launch("collectives", x, out, schedule=schedule)
    lane = np.arange(32)

    def ballot(which):
        return sum(1 << i for i in range(32) if which[i])

    wanted = [
        x[lane * 0 + 5], x[lane // 8 * 8 + (lane + 3) % 8], np.where(lane >= 3, x[lane - 3], x),
        np.where(lane % 16 >= 2, x[lane - 2], x), np.where(lane < 25, x[(lane + 7) % 32], x),
        np.where(lane % 4 < 1, x[(lane + 3) % 32], x), x[lane ^ 17], x[lane ^ 5], lane * 0 + ballot(x & 1),
        lane * 0 + 2 * (x < 1000).all(), np.array([ballot(x % 5 == each % 5) for each in x]), lane * 0 + x.sum(),
        lane * 0 + (int(x.min()) - 200) % 2**32, lane * 0 + x.max(), lane * 0 + np.bitwise_xor.reduce(x),
        np.where(lane & 1, ballot((x & 2 > 0) & (lane & 1 > 0)), ballot((x & 4 > 0) & (lane & 1 == 0))),
    ]  # fmt: skip
    for row, each in enumerate(wanted):
        assert out[row].tolist() == each.tolist(), row


def test_barriers_with_predicates(programs):
    x, out = np.arange(64, dtype="i4"), np.zeros(64, dtype="i4")
    programs.launch("reductions", x, out, block=64, schedule="random")
    assert (out == 32 + 1000 + 2000).all()
    programs.launch("reductions", x + np.int32(40), out, block=64, schedule="random")
    assert (out == 32).all()


@pytest.mark.parametrize("schedule", ["fifo", "lifo", "random"])
def test_atomics(programs, schedule):
    x = np.random.default_rng(5).integers(1, 1000, 64).astype("u4")
    out = np.array([5, 900, 3, 0xFFFFFFF0, 1, 3, 0, 0, 0xFFFFFC00, 11, 0], dtype="u4")
    total, wide = np.ones(1, "f4"), np.ones(1, "u8")
    programs.launch("atomics", x, out, total, wide, block=64, schedule=schedule)
    plus = int(x.sum())
    inc, dec = 0, 0
    for _ in x:
        inc = 0 if inc >= 20 else inc + 1
        dec = 100 if dec == 0 or dec > 100 else dec - 1
    conjunction, disjunction = (each.reduce(x) for each in (np.bitwise_and, np.bitwise_or))
    wanted = [
        5 + plus, min(900, x.min()), x.max(), 0xFFFFFFF0 & conjunction, 1 | disjunction,
        3 ^ np.bitwise_xor.reduce(x), inc, dec, (int(x.max()) - 500) % 2**32, 11 + plus, x[3],
    ]  # fmt: skip
    assert out.tolist() == [int(each) for each in wanted]
    assert total[0] == 1 + plus and wide[0] == 1 + (plus << 32)


def test_halves(programs):
    x = np.concatenate([np.random.default_rng(6).normal(0, 100, 60), [65504, 65520, 1e-7, 1e9]]).astype("f4")
    out, back = np.zeros((3, 64), dtype="u2"), np.zeros((2, 64), dtype="f4")
    programs.launch("halves", x, out, back, block=64)
    with np.errstate(over="ignore"):
        assert out[0].tolist() == x.astype("f2").view("u2").tolist()
        assert back[0].tolist() == x.astype("f2").astype("f4").tolist()
    brain = torch.from_numpy(x).bfloat16().view(torch.int16).numpy().view("u2")
    assert out[1].tolist() == brain.tolist() and out[2].tolist() == (brain ^ 0x8000).tolist()
    assert back[1].tolist() == (brain.astype("u4") << 16).view("f4").tolist()


def test_wide_integers(programs):
    draw = np.random.default_rng(7)
    a, b = draw.integers(-(2**62), 2**62, 64), draw.integers(1, 2**40, 64) * draw.choice([-1, 1], 64)
    out = np.zeros((7, 64), dtype="i8")
    programs.launch("integers", a, b, out, block=64)

    def low(x):
        return (x + 2**31) % 2**32 - 2**31

    def quotient(x, y):
        return abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)

    for i, (x, y) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        p, q = x % 2**64, y % 2**64
        wanted = [quotient(x, y), x - y * quotient(x, y), p // q, p * q >> 64, x * y >> 64,
                  quotient(low(x), low(y) | 1), quotient(x, 10) - (y - 7 * quotient(y, 7))]  # fmt: skip
        assert [value % 2**64 for value in out[:, i].tolist()] == [value % 2**64 for value in wanted]


def test_nvcc_uses_what_is_tested(programs, request):
    text = next((request.config.cache.mkdir("cuda-ptx") / "translated_programs").glob("programs.ptx")).read_text()
    for opcode in ("call", "st.local", "ld.const", "atom.global", "redux", "match", "bar.red", "red.|atom.cas", "shfl"):
        assert re.search(opcode, text), opcode


# --- Faults -----------------------------------------------------------------------------------------------


def test_missing_barrier_gives_wrong_results(programs):
    x, right, wrong = np.arange(64, dtype="f4"), [], []
    for schedule in ("fifo", "lifo"):
        for barrier, results in ((1, right), (0, wrong)):
            out = np.zeros_like(x)
            programs.launch("reverse", x, out, np.int32(barrier), block=64, schedule=schedule)
            results.append((out == x[::-1]).all())
    assert right == [True, True] and wrong == [False, False]


def test_accesses_outside_shared_memory(programs):
    out = np.zeros(1, dtype="f4")
    programs.launch("far", out, np.int32(1), block=1, shared_bytes=32)
    assert out[0] == 2
    with pytest.raises(Failed, match="outside shared memory: 16 bytes at 32"):
        programs.launch("far", out, np.int32(2), block=1, shared_bytes=32)
    with pytest.raises(Failed, match="outside shared memory"):
        programs.launch("far", out, np.int32(-1), block=1, shared_bytes=32)


def test_misaligned_and_outside_arrays(programs):
    x, out = np.arange(4, dtype="f4"), np.zeros(1, dtype="f4")
    programs.launch("unaligned", x, out, np.int32(8), block=1)
    assert out[0] == 5
    with pytest.raises(Failed, match="misaligned address: 8 bytes"):
        programs.launch("unaligned", x, out, np.int32(4), block=1)
    for offset in (16, -8):
        with pytest.raises(Failed, match="outside every array: 8 bytes"):
            programs.launch("unaligned", x, out, np.int32(offset), block=1)


def test_launches(programs):
    out = np.zeros(65, dtype="f4")
    programs.launch("bounded", out, block=64)
    assert out.sum() == 64
    with pytest.raises(Failed, match="blocks of 64 threads, got 65"):
        programs.launch("bounded", out, block=65)
    with pytest.raises(Failed, match="parameters of other sizes"):
        programs.launch("bounded", np.int32(0))
    with pytest.raises(Failed, match="no kernel missing"):
        programs.launch("missing", out)
    with pytest.raises(Failed, match="trap"):
        programs.launch("trapped", out, np.int32(1), block=1)
    with pytest.raises(Failed, match="division by zero"):
        zeros = np.zeros(64, dtype="i8")
        programs.launch("integers", zeros, zeros, np.zeros(7 * 64, dtype="i8"), block=64)

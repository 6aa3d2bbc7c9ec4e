"""The translator of PTX (tests/cuda/ptx): each instruction against Python, what nvcc makes of CUDA's constructs, faults that
a translated kernel must report, and PTX that must be refused. test_kernels.py and test_emulator.py run the rest."""

import re

import numpy as np
import pytest
from ptx import instruction_cases, structure_cases
from ptx.parse import Refused
from ptx.programs import Failed, Programs
from ptx.translate import translated
from runners import build, missing

CASES = instruction_cases.all_cases()


@pytest.fixture(scope="module")
def programs(request):
    """The kernels of instruction_cases.py, structure_cases.py and programs.cu, translated and compiled."""
    if request.config.getoption("device") != "cpu":
        pytest.skip("the emulator is of the CPU")
    if reason := missing("ptx"):
        pytest.skip(reason)
    kernels = [instruction_cases.kernel(case, name) for name, case in CASES.items()]
    text = instruction_cases.HEADER + structure_cases.TEXT + "\n".join(kernels)
    file = request.config.cache.mkdir("cuda-ptx-programs") / "instructions.ptx"
    if not file.exists() or file.read_text() != text:  # or it would be compiled again
        file.write_text(text)
    folder = build(
        request.config.cache.mkdir("cuda-ptx"), "ptx", f"-DFIMO_PTX_PROGRAMS={file}", target="programs"
    )
    return Programs(folder / "libprograms.so")


# --- Instructions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_instruction(programs, name):
    case = CASES[name]
    operands = [instruction_cases.values(kind, f"{name} {i}") for i, kind in enumerate(case.operands)]
    wanted = instruction_cases.expected(case, operands)
    got = np.full_like(wanted, 77)
    programs.launch(name, got, *operands, block=instruction_cases.THREADS)
    same = got.view(f"u{got.itemsize}") == wanted.view(f"u{got.itemsize}")
    if got.dtype.kind == "f":
        same |= np.isnan(got) & np.isnan(wanted)
        with np.errstate(invalid="ignore"):
            same |= np.abs(got - wanted) <= case.relative * np.abs(wanted)
    elif case.result in ("f16", "bf16") or "x2" in case.text:
        same |= _is_nan(got, case) & _is_nan(wanted, case)
    wrong = np.flatnonzero(~same)
    assert not wrong.size, [(*(x[i] for x in operands), "expected", wanted[i], "got", got[i]) for i in wrong[:5]]


def _is_nan(values, case):
    """Of numbers of 16 bits: those of a GPU and of numpy have other bits."""
    exponent = 0x7F80 if "bf16" in case.text else 0x7C00
    both = [np.asarray(values >> shift & 0x7FFF) > exponent for shift in ((0, 16) if values.itemsize == 4 else (0,))]
    return np.logical_or.reduce(both)


def test_refuses_what_it_does_not_know():
    for text, message in structure_cases.REFUSED.items():
        with pytest.raises(Refused, match=message):
            translated(structure_cases.around(text), "refused.ptx")


def test_errors_name_the_line():
    with pytest.raises(Refused, match=r"line \d+: wgmma.fence.sync.aligned: unknown opcode"):
        translated(structure_cases.around("wgmma.fence.sync.aligned;"), "refused.ptx")


def test_branch_tables_scopes_and_special_registers(programs):
    index, out = np.array([0, 1, 2, 1, 2, 0, 0, 2], dtype="u4"), np.zeros(8, dtype="u4")
    programs.launch("branch_table", index, out, block=8)
    assert out.tolist() == [10 * (i + 1) for i in index]
    with pytest.raises(Failed, match="brx: no such target"):
        programs.launch("branch_table", index + np.uint32(1), out, block=8)
    out = np.zeros((2, 2, 2, 4, 3, 2, 9), dtype="u4")
    programs.launch("special_registers", out, grid=(2, 2, 2), block=(2, 3, 4))
    for (bz, by, bx, z, y, x), row in ((i, out[i]) for i in np.ndindex(out.shape[:-1])):
        lane = x + 2 * (y + 3 * z)
        assert row.tolist() == [x, y, z, bx, by, bz, 2 * 3 * 4 * 8, lane, (1 << lane) - 1]
    out = np.zeros(3, dtype="u4")
    programs.launch("scopes", out, block=1)
    assert out.tolist() == [5, 6, 0xFFFFFFFF]  # what is never written is poison


def test_loads_and_stores_of_every_size(programs):
    data = np.random.default_rng(0).integers(0, 256, 64, dtype="u1")
    out = np.zeros(8, dtype="i8")
    programs.launch("sizes", data, out, block=1)
    words = data.view("u4")
    assert out.tolist() == [
        data[1], data.view("i1")[1], data.view("u2")[1], data.view("i2")[1], data.view("i4")[1],
        int(words[4]) + int(words[7]), int(data.view("u8")[4]) ^ int(data.view("u8")[5]), 0x1FF & 0xFF,
    ]  # fmt: skip


@pytest.mark.parametrize(("count", "transposed"), [(1, False), (2, False), (4, False), (1, True), (2, True), (4, True)])
def test_ldmatrix(programs, count, transposed):
    rows = np.random.default_rng(1).permutation(32 * 8).astype("u2").reshape(32, 8)
    out = np.zeros((32, count, 2), dtype="u2")
    programs.launch(f"ldmatrix_x{count}{'_trans' * transposed}", rows, out)
    for lane, m in np.ndindex(32, count):
        matrix = rows[8 * m : 8 * m + 8]
        matrix = matrix.T if transposed else matrix
        assert out[lane, m].tolist() == matrix[lane // 4, 2 * (lane % 4) : 2 * (lane % 4) + 2].tolist()


@pytest.mark.parametrize("name", structure_cases.PRODUCTS)
def test_mma(programs, name):
    depth, width = structure_cases.PRODUCTS[name]
    draw = np.random.default_rng(2)
    a, b, c = draw.integers(-9, 9, (16, depth)), draw.integers(-9, 9, (depth, 8)), draw.integers(-9, 9, (16, 8))
    if "u8" in name:
        a, b = abs(a), abs(b)
    of_a = np.zeros((32, depth // (2 * width)), dtype="u4")
    of_b = np.zeros((32, depth // (4 * width)), dtype="u4")
    sums = np.zeros((32, 4), dtype="i4" if "8" in name.split("_")[1] else "f4")
    # After the figures of the PTX ISA, "Matrix Fragments for mma".
    for lane in range(32):
        group, thread = lane // 4, lane % 4
        for i in range(of_a.shape[1]):
            row, first = group + 8 * (i % 2), thread * width + 4 * width * (i // 2)
            of_a[lane, i] = structure_cases.word(name, a[row, first : first + width])
        for i in range(of_b.shape[1]):
            first = thread * width + 4 * width * i
            of_b[lane, i] = structure_cases.word(name, b[first : first + width, group])
        for i in range(4):
            sums[lane, i] = c[group + 8 * (i // 2), 2 * thread + i % 2]
    programs.launch(name, of_a, of_b, sums)
    exact = a @ b + c
    for lane, i in np.ndindex(32, 4):
        assert sums[lane, i] == exact[lane // 4 + 8 * (i // 2), 2 * (lane % 4) + i % 2]


def test_copies(programs):
    data, out = np.arange(1, 129, dtype="u1"), np.zeros((4, 32), dtype="u1")
    programs.launch("copies", data, out, block=1, shared_bytes=128)
    assert out[0].tolist() == [*range(1, 17), *range(17, 21), *[0] * 12]
    assert out[1].tolist() == [*range(33, 39), *[0] * 10, *[0] * 16]
    assert out[2].tolist() == [*[0] * 4, *range(69, 73), *range(73, 81), *[0] * 16]


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
    out, total, wide = np.array([5, 900, 3, 0xFFFFFFF0, 1, 3, 0, 0, 0xFFFFFC00, 11, 0], dtype="u4"), np.ones(1, "f4"), np.ones(1, "u8")
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
    brain = instruction_cases.expected(CASES_BY_TEXT["cvt.rn.bf16.f32 d, a"], [x])
    assert out[1].tolist() == brain.tolist() and out[2].tolist() == (brain ^ 0x8000).tolist()
    assert back[1].tolist() == (brain.astype("u4") << 16).view("f4").tolist()


CASES_BY_TEXT = {case.text: case for case in CASES.values()}


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

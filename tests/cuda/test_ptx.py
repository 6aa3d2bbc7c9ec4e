"""The translator of PTX (tests/cuda/ptx): each instruction against Python, and what must be refused."""

import numpy as np
import pytest
from ptx.cases import floats, instructions, integers, structures
from ptx.cases.programs import Failed
from ptx.parse import Refused
from ptx.translate import translated

CASES = instructions.named(integers.cases() + floats.cases())
PRODUCTS_OF_PROJECT = {
    f"mma_{kind}_of_project": (8 * width, width) for kind, width in (("bf16", 2), ("f16", 2), ("tf32", 1), ("s8", 4))
}


@pytest.mark.native
@pytest.mark.parametrize("name", CASES)
def test_instruction(programs, name):
    case = CASES[name]
    operands = [instructions.values(kind, f"{name} {i}") for i, kind in enumerate(case.operands)]
    wanted = instructions.expected(case, operands)
    got = np.full_like(wanted, 77)
    programs.launch(name, got, *operands, block=instructions.THREADS)
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
    for text, message in structures.REFUSED.items():
        with pytest.raises(Refused, match=message):
            translated(structures.around(text), "refused.ptx")


def test_errors_name_the_line():
    with pytest.raises(Refused, match=r"line \d+: wgmma.fence.sync.aligned: unknown opcode"):
        translated(structures.around("wgmma.fence.sync.aligned;"), "refused.ptx")


@pytest.mark.native
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


@pytest.mark.native
def test_loads_and_stores_of_every_size(programs):
    data = np.random.default_rng(0).integers(0, 256, 64, dtype="u1")
    out = np.zeros(8, dtype="i8")
    programs.launch("sizes", data, out, block=1)
    words = data.view("u4")
    assert out.tolist() == [
        data[1], data.view("i1")[1], data.view("u2")[1], data.view("i2")[1], data.view("i4")[1],
        int(words[4]) + int(words[7]), int(data.view("u8")[4]) ^ int(data.view("u8")[5]), 0x1FF & 0xFF,
    ]  # fmt: skip


@pytest.mark.native
@pytest.mark.parametrize(("count", "transposed"), [(1, False), (2, False), (4, False), (1, True), (2, True), (4, True)])
def test_ldmatrix(programs, count, transposed):
    rows = np.random.default_rng(1).permutation(32 * 8).astype("u2").reshape(32, 8)
    out = np.zeros((32, count, 2), dtype="u2")
    programs.launch(f"ldmatrix_x{count}{'_trans' * transposed}", rows, out)
    for lane, m in np.ndindex(32, count):
        matrix = rows[8 * m : 8 * m + 8]
        matrix = matrix.T if transposed else matrix
        assert out[lane, m].tolist() == matrix[lane // 4, 2 * (lane % 4) : 2 * (lane % 4) + 2].tolist()


@pytest.mark.native
@pytest.mark.parametrize("name", [*structures.PRODUCTS, *PRODUCTS_OF_PROJECT])
def test_mma(programs, name):
    depth, width = (structures.PRODUCTS | PRODUCTS_OF_PROJECT)[name]
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
            of_a[lane, i] = structures.word(name, a[row, first : first + width])
        for i in range(of_b.shape[1]):
            first = thread * width + 4 * width * i
            of_b[lane, i] = structures.word(name, b[first : first + width, group])
        for i in range(4):
            sums[lane, i] = c[group + 8 * (i // 2), 2 * thread + i % 2]
    programs.launch(name, of_a, of_b, sums)
    exact = a @ b + c
    for lane, i in np.ndindex(32, 4):
        assert sums[lane, i] == exact[lane // 4 + 8 * (i // 2), 2 * (lane % 4) + i % 2]


@pytest.mark.native
def test_copies(programs):
    data, out = np.arange(1, 129, dtype="u1"), np.zeros((4, 32), dtype="u1")
    programs.launch("copies", data, out, block=1, shared_bytes=128)
    assert out[0].tolist() == [*range(1, 17), *range(17, 21), *[0] * 12]
    assert out[1].tolist() == [*range(33, 39), *[0] * 10, *[0] * 16]
    assert out[2].tolist() == [*[0] * 4, *range(69, 73), *range(73, 81), *[0] * 16]

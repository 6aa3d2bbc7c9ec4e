"""PTX by hand: control flow, memory, products of matrices, and what must be refused."""

from __future__ import annotations

import numpy as np
import torch

# m16n8kK products of test_mma: K, and how many elements a register holds.
PRODUCTS = {
    "mma_bf16_k16": (16, 2), "mma_bf16_k8": (8, 2), "mma_f16_k16": (16, 2), "mma_f16_k8": (8, 2), "mma_tf32_k8": (8, 1),
    "mma_tf32_k4": (4, 1), "mma_s8_k32": (32, 4), "mma_s8_k16": (16, 4), "mma_u8_k32": (32, 4),
}  # fmt: skip


def word(name: str, elements: np.ndarray) -> int:
    """A register that holds these elements, the first in the lowest bits."""
    kind = name.split("_")[1]
    if kind == "tf32":
        return int(elements.astype("f4").view("u4")[0])
    if kind == "bf16":
        data = torch.from_numpy(elements.astype("f4")).bfloat16().view(torch.int16).numpy()
    else:
        data = elements.astype({"f16": "f2", "s8": "i1", "u8": "u1"}[kind])
    return int(np.ascontiguousarray(data).view("u4")[0])


_REGISTERS = """.reg .pred %p<10>; .reg .b16 %h<10>; .reg .b32 %r<20>; .reg .b64 %l<10>; .reg .f32 %f<10>;
"""


def _entry(name: str, count: int, body: str, shared: str = "") -> str:
    parameters = ", ".join(f".param .u64 {name}_{i}" for i in range(count))
    loads = "\n".join(f"ld.param.u64 %l{i}, [{name}_{i}];" for i in range(count))
    return f".visible .entry {name}({parameters})\n{{\n{_REGISTERS}{shared}{loads}\n{body}\nret;\n}}\n"


def _product(name: str) -> str:
    depth, width = PRODUCTS[name]
    kind = name.split("_")[1]
    sums, register = ("s32", "r") if kind.endswith("8") else ("f32", "f")
    of_a, of_b = depth // (2 * width), depth // (4 * width)
    d = ", ".join(f"%{register}{5 + i}" for i in range(4)) if register == "f" else "%r16, %r17, %r18, %r19"
    lines = ["mov.u32 %r0, %laneid;"]
    for number, count in ((0, of_a), (1, of_b), (2, 4)):
        lines.append(f"mad.wide.u32 %l{number}, %r0, {4 * count}, %l{number};")
    lines += [f"ld.global.u32 %r{1 + i}, [%l0+{4 * i}];" for i in range(of_a)]
    lines += [f"ld.global.u32 %r{8 + i}, [%l1+{4 * i}];" for i in range(of_b)]
    lines.append(f"ld.global.v4.{sums} {{{d}}}, [%l2];")
    a, b = (", ".join(f"%r{first + i}" for i in range(count)) for first, count in ((1, of_a), (8, of_b)))
    types = f"{sums}.{kind}.{kind}.{sums}"
    lines.append(f"mma.sync.aligned.m16n8k{depth}.row.col.{types} {{{d}}}, {{{a}}}, {{{b}}}, {{{d}}};")
    lines.append(f"st.global.v4.{sums} [%l2], {{{d}}};")
    return _entry(name, 3, "\n".join(lines))


def _load_matrices(count: int, transposed: bool) -> str:
    registers = ", ".join(f"%r{5 + i}" for i in range(count))
    body = f"""
mov.u32 %r0, %tid.x;
mad.wide.u32 %l0, %r0, 16, %l0;
mov.u32 %r1, rows;
mad.lo.u32 %r1, %r0, 16, %r1;
ld.global.v4.b32 {{%r10, %r11, %r12, %r13}}, [%l0];
st.shared.v4.b32 [%r1], {{%r10, %r11, %r12, %r13}};
bar.sync 0;
ldmatrix.sync.aligned.m8n8.x{count}{".trans" if transposed else ""}.shared.b16 {{{registers}}}, [%r1];
mad.wide.u32 %l1, %r0, {4 * count}, %l1;
"""
    body += "\n".join(f"st.global.u32 [%l1+{4 * i}], %r{5 + i};" for i in range(count))
    name = f"ldmatrix_x{count}{'_trans' if transposed else ''}"
    return _entry(name, 2, body, ".shared .align 16 .b8 rows[512];\n")


_BRANCHES = """
mov.u32 %r0, %tid.x;
mad.wide.u32 %l0, %r0, 4, %l0;
mad.wide.u32 %l1, %r0, 4, %l1;
ld.global.u32 %r1, [%l0];
$targets: .branchtargets $first, $second, $third;
brx.idx %r1, $targets;
$first: mov.u32 %r2, 10;
bra.uni $end;
$second: mov.u32 %r2, 20;
bra.uni $end;
$third: mov.u32 %r2, 30;
$end:
st.global.u32 [%l1], %r2;
"""

_SPECIAL = """
mov.u32 %r1, %tid.x; mov.u32 %r2, %tid.y; mov.u32 %r3, %tid.z;
mov.u32 %r4, %ctaid.x; mov.u32 %r5, %ctaid.y; mov.u32 %r6, %ctaid.z;
mov.u32 %r7, %ntid.x; mov.u32 %r8, %ntid.y; mul.lo.u32 %r9, %r7, %r8; mov.u32 %r8, %ntid.z; mul.lo.u32 %r7, %r9, %r8;
mov.u32 %r8, %nctaid.x; mov.u32 %r9, %nctaid.y; mul.lo.u32 %r10, %r8, %r9; mov.u32 %r9, %nctaid.z;
mul.lo.u32 %r10, %r10, %r9; mul.lo.u32 %r10, %r10, %r7;
mov.u32 %r11, %laneid;
mov.u32 %r12, %lanemask_lt;
mov.u32 %r13, %nctaid.y; mad.lo.u32 %r13, %r6, %r13, %r5; mov.u32 %r14, %nctaid.x; mad.lo.u32 %r13, %r13, %r14, %r4;
mad.lo.u32 %r13, %r13, %r7, %r11;
mad.wide.u32 %l0, %r13, 36, %l0;
st.global.u32 [%l0], %r1; st.global.u32 [%l0+4], %r2; st.global.u32 [%l0+8], %r3; st.global.u32 [%l0+12], %r4;
st.global.u32 [%l0+16], %r5; st.global.u32 [%l0+20], %r6; st.global.u32 [%l0+24], %r10; st.global.u32 [%l0+28], %r11;
st.global.u32 [%l0+32], %r12;
"""

_SCOPES = """
mov.u32 %r1, 5;
{ .reg .b32 %r1; mov.u32 %r1, 6; st.global.u32 [%l0+4], %r1; }
st.global.u32 [%l0], %r1;
st.global.u32 [%l0+8], %r2;
"""

_SIZES = """
ld.global.u8 %h1, [%l0+1]; cvt.u64.u16 %l2, %h1; st.global.u64 [%l1], %l2;
ld.global.s8 %h1, [%l0+1]; cvt.s64.s16 %l2, %h1; st.global.s64 [%l1+8], %l2;
ld.global.nc.u16 %h1, [%l0+2]; cvt.u64.u16 %l2, %h1; st.global.u64 [%l1+16], %l2;
ld.volatile.global.s16 %r1, [%l0+2]; cvt.s64.s32 %l2, %r1; st.global.u64 [%l1+24], %l2;
ld.s32 %l2, [%l0+4]; st.b64 [%l1+32], %l2;
ld.global.v4.u32 {%r1, _, %r2, %r3}, [%l0+16]; cvt.u64.u32 %l2, %r1; cvt.u64.u32 %l3, %r3; add.s64 %l2, %l2, %l3;
st.global.u64 [%l1+40], %l2;
ld.global.L1::no_allocate.v2.b64 {%l2, %l3}, [%l0+32]; xor.b64 %l2, %l2, %l3; st.global.b64 [%l1+48], %l2;
mov.u32 %r1, 0x1FF; st.global.u8 [%l1+56], %r1;
"""

# Three rows of 32 bytes: 16 + 4 bytes, 6 of 16, and 4 that a predicate leaves out, then 4 and 8.
_COPIES = """
mov.u32 %r0, copied;
mov.u32 %r1, 0;
st.shared.v4.u32 [%r0+16], {%r1, %r1, %r1, %r1};
st.shared.v4.u32 [%r0+48], {%r1, %r1, %r1, %r1};
st.shared.v4.u32 [%r0+80], {%r1, %r1, %r1, %r1};
cp.async.cg.shared.global.L2::128B [%r0], [%l0], 16;
cp.async.ca.shared.global [%r0+16], [%l0+16], 4;
mov.u32 %r1, 6;
cp.async.cg.shared.global [%r0+32], [%l0+32], 16, %r1;
cp.async.commit_group;
setp.eq.u32 %p1, %r1, 6;
cp.async.ca.shared.global [%r0+64], [%l0+64], 4, %p1;
cp.async.ca.shared.global [%r0+68], [%l0+68], 4;
cp.async.ca.shared.global [%r0+72], [%l0+72], 8;
cp.async.commit_group;
cp.async.wait_group 0;
""" + "\n".join(
    f"ld.shared.v4.u32 {{%r2, %r3, %r4, %r5}}, [%r0+{at}]; st.global.v4.u32 [%l1+{at}], {{%r2, %r3, %r4, %r5}};"
    for at in range(0, 96, 16)
)

TEXT = "".join(
    [
        ".extern .shared .align 16 .b8 copied[];\n",
        _entry("branch_table", 2, _BRANCHES),
        _entry("special_registers", 1, _SPECIAL),
        _entry("scopes", 1, _SCOPES),
        _entry("sizes", 2, _SIZES),
        _entry("copies", 2, _COPIES),
        *(_load_matrices(count, transposed) for count in (1, 2, 4) for transposed in (False, True)),
        *map(_product, PRODUCTS),
    ]
)


def around(text: str) -> str:
    """A module with these statements in a kernel."""
    header = ".version 8.0\n.target sm_80\n.address_size 64\n.global .align 4 .u32 table[4];\n"
    return header + _entry("kernel", 2, f".shared .align 4 .b8 mine[16];\n{text}")


# Statements, and what the error must say.
REFUSED = {
    "wgmma.fence.sync.aligned;": "wgmma.fence.sync.aligned: unknown opcode",
    "frobnicate.u32 %r1, %r2;": "frobnicate.u32 %r1, %r2: unknown opcode",
    "add.rz.f32 %f1, %f2, %f3;": r"add.rz.f32 .*unknown modifiers \['rz'\]",
    "add.f16 %h1, %h2, %h3;": "type .f16",
    "add.s32 %r1, %r2;": "expected 3 operands",
    "add.s32 %r1, %r2, %r99;": "operand %r99 of type .s32",
    "add.s32 %r99, %r1, %r2;": "result %r99: no such register",
    "add.s32 %r1, %r2, %l1;": "operand %l1 of type .s32, declared as .b64",
    "add.s64 %l1, %l2, %r1;": "operand %r1 of type .s64, declared as .b32",
    "mul.lo.s32 %l1, %r1, %r2;": "result %l1 of type .s32, declared as .b64",
    "add.s32 %r1, %r2, %f1;": "operand %f1 of type .s32, declared as .f32",
    "mul.f32 %f1, %f2, %l1;": "operand %l1 of type .f32, declared as .b64",
    "mov.u32 %r1, %clock;": "operand %clock",
    "mov.u32 %r1, %smid;": "operand %smid",
    "ld.shared.u32 %r1, [table];": "table is not in .shared",
    "ld.global.u32 %r1, [mine];": "mine is not in .global",
    "ld.global.u32 %r1, [%r2];": "address .%r2. of 32 bits",
    "ld.acquire.gpu.global.u32 %r1, [%l0];": r"unknown modifiers \['acquire'\]",
    "ld.global.v2.u32 %r1, [%l0];": "expected 2 registers",
    "ld.shared::cluster.u32 %r1, [%l1];": "unknown modifiers",
    "cvt.s32.f32 %r1, %f1;": "a rounding to integers is needed",
    "cvt.rz.f32.f64 %f1, %l1;": "cvt.rz.f32.f64",
    "cvt.f32.s32 %f1, %r1;": r"rounding .\(none\)",
    "fma.f32 %f1, %f2, %f3, %f4;": "expected one of",
    "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%f1,%f2,%f3,%f4}, {%r1,%r2}, {%r3}, {%f1,%f2,%f3,%f4};": "shape",
    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.f16.f32 {%f1,%f2,%f3,%f4}, {%r1,%r2,%r3,%r4}, {%r5,%r6}, "
    "{%f1,%f2,%f3,%f4};": "types",
    "cp.async.bulk.commit_group;": "cp.async.bulk.commit_group",
    "cp.async.ca.shared.global [%r1], [%l1], 5;": "size of the copy",
    "bar.arrive 0, 64;": "bar.arrive 0, 64",
    "shfl.down.b32 %r1, %r2, %r3, %r4;": "shfl.down.b32",
    "call.uni (%r1), unknown, (%r2);": "call of what is not defined",
    "atom.global.add.noftz.f16 %h1, [%l0], %h2;": "type .f16",
    "mbarrier.init.shared.b64 [%r1], 1;": "unknown opcode",
    ".tex .u64 image;": "declaration",
    ".loc 1 2 3; add.s32 %r1, %r1, %r1;": "declaration",
}

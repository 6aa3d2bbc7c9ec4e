"""Instructions that read and write memory."""

from __future__ import annotations

import re

from ptx.modifiers import BITS, SIGNED, UNSIGNED, Modifiers, handles
from ptx.operands import CPP, FLOATS, Operands, integer
from ptx.parse import Instruction, Refused

_TYPES = ("b8", "u8", "s8", *BITS, *UNSIGNED, *SIGNED, *FLOATS)
# Where a cache keeps what is read or written changes no value.
_CACHES = (
    "nc", "ca", "cg", "cs", "lu", "cv", "wb", "wt", "L1::evict_normal", "L1::evict_unchanged", "L1::evict_first",
    "L1::evict_last", "L1::no_allocate", "L2::64B", "L2::128B", "L2::256B",
)  # fmt: skip
_SPACES = ("global", "shared", "shared::cta", "local", "const", "param", "param::entry", "param::func")


def _space(m: Modifiers) -> str:
    return m.one_of(*_SPACES).partition("::")[0] or "generic"


def pointer(o: Operands, text: str, space: str, cpp: str, count: int = 1) -> str:
    """The C++ of a pointer to ``count`` elements at an address, checked when it runs."""
    address = o.address(text, space)
    # In C++ the names of parameters are pointers, and no kernel computes their addresses.
    return f"in_{space}<{cpp}{f', {count}' if count > 1 else ''}>({address})"


def _access(m: Modifiers) -> tuple[str, int, str]:
    """Type, number and space of what a load or store moves."""
    kind = m.type(*_TYPES)
    count = int((m.one_of("v2", "v4", "v8") or "v1")[1:])
    m.drop("weak", "volatile", "relaxed", "cta", "gpu", "sys", *_CACHES)
    return kind, count, _space(m)


@handles("ld", "ldu")
def _load(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind, count, space = _access(m)
    result, address = i.operands
    registers = o.elements(result)
    if len(registers) != count:
        raise Refused(f"expected {count} registers")
    from_memory = pointer(o, address, space, f"const {CPP[kind]}", count)
    if count == 1:
        return o.assign(registers[0], f"*{from_memory}", kind, wider=True)
    steps = [o.assign(register, f"v[{k}]", kind, wider=True) for k, register in enumerate(registers)]
    return f"{{ const auto* v = {from_memory}; {' '.join(steps)} }}"


@handles("st")
def _store(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind, count, space = _access(m)
    address, source = i.operands
    values = [o.value(text, kind, wider=True) for text in o.elements(source)]
    if len(values) != count:
        raise Refused(f"expected {count} values")
    to_memory = pointer(o, address, space, CPP[kind], count)
    if count == 1:
        return f"*{to_memory} = {values[0]};"
    steps = [f"v[{k}] = {value};" for k, value in enumerate(values)]
    return f"{{ auto* v = {to_memory}; {' '.join(steps)} }}"


_ATOMICS = {
    "add": "atomicAdd", "min": "atomicMin", "max": "atomicMax", "exch": "atomicExch", "cas": "atomicCAS",
    "and": "atomicAnd", "or": "atomicOr", "xor": "atomicXor", "inc": "atomic_inc", "dec": "atomic_dec",
}  # fmt: skip


@handles("atom", "red")
def _atomic(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind = m.type("b32", "b64", "u32", "s32", "u64", "s64", *FLOATS)
    operation = m.need(*_ATOMICS)
    m.drop("relaxed", "cta", "gpu", "sys")
    space = _space(m)
    result = i.operands[0] if i.opcode == "atom" else "_"
    address, *values = i.operands[1:] if i.opcode == "atom" else i.operands
    if len(values) != (2 if operation == "cas" else 1):
        raise Refused("number of operands")
    arguments = ", ".join(o.value(value, kind) for value in values)
    return o.assign(result, f"{_ATOMICS[operation]}({pointer(o, address, space, CPP[kind])}, {arguments})", kind)


@handles("cp")
def _copy(i: Instruction, m: Modifiers, o: Operands) -> str:
    if m.left[:1] != ["async"]:
        raise Refused("unknown kind of copy")
    m.left.pop(0)
    if m.one_of("commit_group"):
        return "emulator::copy_async_commit();"
    if m.one_of("wait_all"):
        return "{ emulator::copy_async_commit(); emulator::copy_async_wait(0); }"
    if m.one_of("wait_group"):
        return f"emulator::copy_async_wait({integer(i.operands[0])});"
    m.need("ca", "cg")
    m.drop("L2::64B", "L2::128B", "L2::256B")
    m.need("shared", "shared::cta")
    m.need("global")
    to, source, count, *read = i.operands
    size = integer(count)
    if size not in (4, 8, 16) or len(read) > 1:
        raise Refused("size of the copy")
    of_source = str(size)
    if read and o.kind(read[0]) == "pred":  # "ignore-src"
        of_source = f"({o.value(read[0], 'pred')} ? 0 : {size})"
    elif read:
        of_source = o.value(read[0], "u32")
    return f"copy_async<{size}>({o.address(to, 'shared')}, {o.address(source, 'global')}, {of_source});"


@handles("ldmatrix")
def _load_matrices(i: Instruction, m: Modifiers, o: Operands) -> str:
    m.type("b16")
    for name in ("sync", "aligned", "m8n8"):
        m.need(name)
    count = int(m.need("x1", "x2", "x4")[1:])
    transposed = "true" if m.one_of("trans") else "false"
    m.need("shared", "shared::cta")
    result, address = i.operands
    registers = o.elements(result)
    if len(registers) != count:
        raise Refused(f"expected {count} registers")
    steps = [o.assign(register, f"rows[{k}]", "b32") for k, register in enumerate(registers)]
    load = f"load_matrices<{transposed}>(rows, {o.address(address, 'shared')})"
    return f"{{ uint32_t rows[{count}]; {load}; {' '.join(steps)} }}"


# Of the elements that a product multiplies: their C++ and how many a register holds.
_ELEMENTS = {"bf16": ("Bfloat16", 2), "f16": ("Half", 2), "tf32": ("Tf32", 1), "s8": ("Int8", 4), "u8": ("Uint8", 4)}


@handles("mma")
def _product(i: Instruction, m: Modifiers, o: Operands) -> str:
    for name in ("sync", "aligned", "row", "col"):
        m.need(name)
    shape = next((name for name in m.left if re.fullmatch(r"m16n8k\d+", name)), None)
    if not shape:
        raise Refused("shape")
    m.left.remove(shape)
    depth = int(shape[6:])
    of_c, of_b, of_a, of_d = (m.type("f32", "s32", *_ELEMENTS) for _ in range(4))
    if of_a != of_b or of_a not in _ELEMENTS or of_c != of_d or of_d != ("s32" if of_a.endswith("8") else "f32"):
        raise Refused("types")
    cpp, width = _ELEMENTS[of_a]
    if depth not in (4 * width, 8 * width):
        raise Refused("shape")
    registers = [o.elements(text) for text in i.operands]
    if [len(names) for names in registers] != [4, depth // (2 * width), depth // (4 * width), 4]:
        raise Refused("number of registers")
    d, a, b, c = registers

    def values(names: list[str], kind: str) -> str:
        return ", ".join(o.value(name, kind) for name in names)

    steps = [o.assign(name, f"sums[{k}]", of_d) for k, name in enumerate(d)]
    return (f"{{ {CPP[of_d]} sums[4] = {{{values(c, of_c)}}}; const uint32_t a[] = {{{values(a, 'b32')}}}, b[] = "
            f"{{{values(b, 'b32')}}}; product<{cpp}>(sums, a, b); {' '.join(steps)} }}")  # fmt: skip

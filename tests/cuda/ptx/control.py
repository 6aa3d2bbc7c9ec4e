"""Branches, calls, barriers, and what lanes of a warp do together."""

from __future__ import annotations

from ptx.modifiers import Modifiers, handles
from ptx.operands import CPP, Operands, cpp_name
from ptx.parse import Instruction, Refused


@handles("bra")
def _branch(i: Instruction, m: Modifiers, o: Operands) -> str:
    m.drop("uni")
    (label,) = i.operands
    return f"goto {cpp_name(label)};"


@handles("brx")
def _branch_by_index(i: Instruction, m: Modifiers, o: Operands) -> str:
    m.need("idx")
    m.drop("uni")
    index, targets = i.operands
    cases = [f"case {k}: goto {cpp_name(label)};" for k, label in enumerate(o.targets[targets])]
    return f'switch ({o.value(index, "u32")}) {{ {" ".join(cases)} default: emulator::fail("brx: no such target"); }}'


@handles("ret", "exit")
def _return(i: Instruction, m: Modifiers, o: Operands) -> str:
    m.drop("uni")
    if i.opcode == "exit" and not o.in_kernel:
        raise Refused("exit of a device function")
    return "return;"


@handles("trap")
def _trap(i: Instruction, m: Modifiers, o: Operands) -> str:
    return 'emulator::fail("trap");'


@handles("call")
def _call(i: Instruction, m: Modifiers, o: Operands) -> str:
    m.drop("uni")
    *results, name, arguments = i.operands if i.operands[-1].startswith("(") else [*i.operands, "()"]
    if name not in o.functions or len(results) > 1:
        raise Refused("call of what is not defined in this module")
    names = [*(results or ["()"])[0].strip("() ").split(","), *arguments.strip("() ").split(",")]
    addresses = []
    for parameter in filter(None, (text.strip() for text in names)):
        if o.spaces.get(parameter) != "param":
            raise Refused(f"argument {parameter}")
        addresses.append(o.addresses[parameter])
    if len(addresses) != o.functions[name].arguments:
        raise Refused("number of arguments")
    return f"{o.functions[name].cpp}({', '.join(addresses)});"


@handles("bar", "barrier")
def _barrier(i: Instruction, m: Modifiers, o: Operands) -> str:
    if m.one_of("warp"):
        m.need("sync")
        return f"__syncwarp({o.value(i.operands[0], 'b32')});"
    m.drop("cta", "aligned")
    where = f"kSource, {i.line}"
    if m.one_of("red"):
        kind = m.type("pred", "u32")
        reduction = m.need("popc" if kind == "u32" else "and", "or")
        result, number, predicate = i.operands
        if number != "0":
            raise Refused("a reduction at another barrier than 0")
        names = {"popc": "count", "and": "all", "or": "any"}
        value = (f"emulator::barrier_reduce({o.value(predicate, 'pred')}, emulator::Reduction::{names[reduction]}, "
                 f"{where})")  # fmt: skip
        return o.assign(result, f"{value} != 0" if kind == "pred" else value, kind)
    m.need("sync")
    number, *count = i.operands
    threads = o.value(count[0], "u32") if count else "0"
    return f"emulator::barrier({o.value(number, 'u32')}, {threads}, {where});"


@handles("membar", "fence")
def _fence(i: Instruction, m: Modifiers, o: Operands) -> str:
    m.drop("sc", "acq_rel")
    # Inside a block the order of fences is not modelled (docs/cuda_testing.md).
    return ";" if m.need("cta", "gl", "gpu", "sys") == "cta" else "emulator::fence();"


@handles("nanosleep", "prefetch", "prefetchu")
def _nothing(i: Instruction, m: Modifiers, o: Operands) -> str:
    m.drop("u32", "global", "L1", "L2")
    return ";"


@handles("shfl")
def _shuffle(i: Instruction, m: Modifiers, o: Operands) -> str:
    m.type("b32")
    m.need("sync")
    mode = m.need("up", "down", "bfly", "idx")
    results, *texts = i.operands
    value, by, bounds, mask = (o.value(text, "b32") for text in texts)
    result, *inside = results.split("|")
    call = f"shuffled_{mode}({mask}, {value}, {by}, {bounds}, inside)"
    steps = [o.assign(result, "value", "b32")] + [o.assign(name, "inside", "pred") for name in inside]
    return f"{{ bool inside; const uint32_t value = {call}; {' '.join(steps)} }}"


@handles("vote")
def _vote(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind = m.type("pred", "b32")
    m.need("sync")
    function = m.need("ballot") if kind == "b32" else m.need("any", "all")
    result, predicate, mask = i.operands
    call = f"__{function}_sync({o.value(mask, 'b32')}, {o.value(predicate, 'pred')})"
    return o.assign(result, call if kind == "b32" else f"{call} != 0", kind)


@handles("match")
def _match(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind = m.type("b32", "b64")
    m.need("any")
    m.need("sync")
    result, value, mask = i.operands
    return o.assign(result, f"__match_any_sync({o.value(mask, 'b32')}, {o.value(value, kind)})", "b32")


@handles("redux")
def _reduce(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind = m.type("u32", "s32", "b32")
    m.need("sync")
    operation = m.need(*(("and", "or", "xor") if kind == "b32" else ("add", "min", "max")))
    result, value, mask = i.operands
    return o.assign(result, f"__reduce_{operation}_sync({o.value(mask, 'b32')}, {o.value(value, kind)})", kind)


@handles("activemask")
def _active(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind = m.type("b32")
    return o.assign(i.operands[0], f"{CPP[kind]}(__activemask())", kind)

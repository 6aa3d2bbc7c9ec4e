"""Instructions that compute registers from registers."""

from __future__ import annotations

from ptx.modifiers import BITS, SIGNED, UNSIGNED, Modifiers, handles, is_float
from ptx.operands import CPP, FLOATS, Operands, integer
from ptx.parse import Instruction, Refused, type_bytes

INTEGERS = (*SIGNED, *UNSIGNED)


def _of(i: Instruction, count: int) -> list[str]:
    if len(i.operands) != count:
        raise Refused(f"expected {count} operands")
    return i.operands


def _compute(i: Instruction, m: Modifiers, o: Operands, kind: str, template: str, operands: int) -> str:
    """Result and operands of one type; of floats with .ftz and .sat. In the template, {0} is the first operand."""
    result, *texts = _of(i, operands + 1)
    values = [o.value(text, kind) for text in texts]
    if is_float(kind):
        m.one_of("rn")
        flush, saturate = m.one_of("ftz"), m.one_of("sat")
        values = [f"flushed({value})" if flush else value for value in values]
        template = f"flushed({template})" if flush else template
        template = f"saturated({template})" if saturate else template
    return o.assign(result, template.format(*values), kind)


_BINARY = {"add": "{0} + {1}", "sub": "{0} - {1}", "min": "least({0}, {1})", "max": "greatest({0}, {1})"}


@handles("add", "sub", "min", "max")
def _add(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind = m.type(*INTEGERS, *FLOATS)
    if m.one_of("cc"):
        return o.assign(i.operands[0], f"{i.opcode}_out(carry, {_pair(i, o, kind)})", _unsigned(kind))
    return _compute(i, m, o, kind, _BINARY[i.opcode], 2)


@handles("addc", "subc")
def _add_carry(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind = m.type("u32", "s32", "u64", "s64")
    out = m.one_of("cc")
    function = i.opcode.removesuffix("c") + ("_in_out" if out else "_in")
    return o.assign(i.operands[0], f"{function}(carry, {_pair(i, o, kind)})", _unsigned(kind))


def _unsigned(kind: str) -> str:
    return "u" + kind[1:]


def _pair(i: Instruction, o: Operands, kind: str) -> str:
    _, a, b = _of(i, 3)
    return f"{o.value(a, _unsigned(kind))}, {o.value(b, _unsigned(kind))}"


@handles("mul", "mad")
def _multiply(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind = m.type(*INTEGERS, *FLOATS)
    sums = i.opcode == "mad"
    if is_float(kind):
        if sums:
            raise Refused("mad of floats")
        return _compute(i, m, o, kind, "{0} * {1}", 2)
    part = m.need("lo", "hi", "wide")
    if part != "wide":
        product = "{0} * {1}" if part == "lo" else "high_product({0}, {1})"
        return _compute(i, m, o, kind, product + " + {2}" * sums, 3 if sums else 2)
    wide = kind[0] + str(16 * type_bytes(kind))
    result, a, b, *c = _of(i, 4 if sums else 3)
    product = f"{CPP[wide]}({o.value(a, kind)}) * {CPP[wide]}({o.value(b, kind)})"
    return o.assign(result, product + (f" + {o.value(c[0], wide)}" if sums else ""), wide)


@handles("fma")
def _fma(i: Instruction, m: Modifiers, o: Operands) -> str:
    m.need("rn")
    return _compute(i, m, o, m.type(*FLOATS), "std::fma({0}, {1}, {2})", 3)


@handles("div", "rem")
def _divide(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind = m.type(*INTEGERS, *(FLOATS if i.opcode == "div" else ()))
    if not is_float(kind):
        return _compute(i, m, o, kind, ("quotient" if i.opcode == "div" else "remainder_of") + "({0}, {1})", 2)
    m.one_of("full", "approx")  # both within 2 units of the last place: the rounded quotient is one such value
    return _compute(i, m, o, kind, "{0} / {1}", 2)


# Approximations of the GPU lie within a few units of the last place of these.
_FUNCTIONS = {
    "sqrt": "std::sqrt({0})", "rcp": "1 / {0}", "rsqrt": "reciprocal_root({0})", "ex2": "std::exp2({0})",
    "lg2": "std::log2({0})", "sin": "std::sin({0})", "cos": "std::cos({0})", "tanh": "std::tanh({0})",
}  # fmt: skip


@handles(*_FUNCTIONS)
def _function(i: Instruction, m: Modifiers, o: Operands) -> str:
    m.need("approx", "rn")
    return _compute(i, m, o, m.type(*FLOATS), _FUNCTIONS[i.opcode], 1)


@handles("neg", "abs")
def _sign(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind = m.type(*SIGNED, *FLOATS)
    absolute = "std::fabs({0})" if is_float(kind) else "({0} < 0 ? -{0} : {0})"
    return _compute(i, m, o, kind, "-{0}" if i.opcode == "neg" else absolute, 1)


@handles("copysign")
def _copysign(i: Instruction, m: Modifiers, o: Operands) -> str:
    return _compute(i, m, o, m.type(*FLOATS), "std::copysign({1}, {0})", 2)


_LOGIC = {"and": ("{0} & {1}", 2), "or": ("{0} | {1}", 2), "xor": ("{0} ^ {1}", 2), "not": ("~{0}", 1)}
_PREDICATES = {"and": ("{0} && {1}", 2), "or": ("{0} || {1}", 2), "xor": ("{0} != {1}", 2), "not": ("!{0}", 1)}


@handles("and", "or", "xor", "not")
def _logic(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind = m.type("pred", *BITS)
    return _compute(i, m, o, kind, *(_PREDICATES if kind == "pred" else _LOGIC)[i.opcode])


@handles("shl", "shr")
def _shift(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind = m.type(*BITS, *(INTEGERS if i.opcode == "shr" else ()))
    result, a, by = _of(i, 3)
    sign = "<<" if i.opcode == "shl" else ">>"
    constant = integer(by)
    if constant is not None and 0 <= constant < 8 * type_bytes(kind):
        return o.assign(result, f"{o.value(a, kind)} {sign} {constant}", kind)
    function = "shifted_left" if i.opcode == "shl" else "shifted_right"
    return o.assign(result, f"{function}({o.value(a, kind)}, {o.value(by, 'u32')})", kind)


@handles("shf")
def _funnel(i: Instruction, m: Modifiers, o: Operands) -> str:
    m.type("b32")
    function = f"funnel_{m.need('l', 'r')}_{m.need('wrap', 'clamp')}"
    result, a, b, by = _of(i, 4)
    return o.assign(result, f"{function}({o.value(a, 'b32')}, {o.value(b, 'b32')}, {o.value(by, 'u32')})", "b32")


@handles("lop3")
def _lop3(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind = m.type("b32")
    result, a, b, c, table = _of(i, 5)
    if integer(table) is None:
        raise Refused("the table must be a constant")
    return o.assign(result, f"lop3<{table}>({o.value(a, kind)}, {o.value(b, kind)}, {o.value(c, kind)})", kind)


@handles("prmt")
def _permute(i: Instruction, m: Modifiers, o: Operands) -> str:
    return _compute(i, m, o, m.type("b32"), "permuted({0}, {1}, {2})", 3)


@handles("bfe")
def _extract(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind = m.type("u32", "s32", "u64", "s64")
    result, a, begin, length = _of(i, 4)
    return o.assign(result, f"extracted({o.value(a, kind)}, {o.value(begin, 'u32')}, {o.value(length, 'u32')})", kind)


@handles("bfi")
def _insert(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind = m.type("b32", "b64")
    result, a, b, begin, length = _of(i, 5)
    values = [o.value(a, kind), o.value(b, kind), o.value(begin, "u32"), o.value(length, "u32")]
    return o.assign(result, f"inserted({', '.join(values)})", kind)


@handles("brev")
def _reverse(i: Instruction, m: Modifiers, o: Operands) -> str:
    return _compute(i, m, o, m.type("b32", "b64"), "reversed({0})", 1)


@handles("popc", "clz", "bfind")
def _count(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind = m.type(*(("u32", "s32", "u64", "s64") if i.opcode == "bfind" else ("b32", "b64")))
    function = {"popc": "ones", "clz": "leading_zeros"}.get(i.opcode, "highest_bit")
    if m.one_of("shiftamt"):
        function = "shift_of_highest_bit"
    result, a = _of(i, 2)
    return o.assign(result, f"{function}({o.value(a, kind)})", "u32")


@handles("dp4a")
def _dot(i: Instruction, m: Modifiers, o: Operands) -> str:
    of_b, of_a = m.type("s32", "u32"), m.type("s32", "u32")
    kind = "u32" if (of_a, of_b) == ("u32", "u32") else "s32"
    result, a, b, c = _of(i, 4)
    bytes_of = {"s32": "int8_t", "u32": "uint8_t"}
    values = f"{o.value(a, 'b32')}, {o.value(b, 'b32')}, {o.value(c, kind)}"
    return o.assign(result, f"byte_dot<{bytes_of[of_a]}, {bytes_of[of_b]}>({values})", kind)


@handles("selp")
def _select(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind = m.type(*BITS, *INTEGERS, *FLOATS)
    result, a, b, predicate = _of(i, 4)
    return o.assign(result, f"{o.value(predicate, 'pred')} ? {o.value(a, kind)} : {o.value(b, kind)}", kind)


# {0} and {1} are the operands. The unordered ones (u) are true where an operand is NaN.
_COMPARISONS = {
    "eq": "{0} == {1}", "lt": "{0} < {1}", "le": "{0} <= {1}", "gt": "{0} > {1}", "ge": "{0} >= {1}",
}  # fmt: skip
_OF_INTEGERS = {"ne": "{0} != {1}"}
_OF_UNSIGNED = {"lo": "{0} < {1}", "ls": "{0} <= {1}", "hi": "{0} > {1}", "hs": "{0} >= {1}"}
_OF_FLOATS = {
    "ne": "({0} < {1} || {0} > {1})", "equ": "!({0} < {1} || {0} > {1})", "neu": "{0} != {1}", "ltu": "!({0} >= {1})",
    "leu": "!({0} > {1})", "gtu": "!({0} <= {1})", "geu": "!({0} < {1})", "num": "({0} == {0} && {1} == {1})",
    "nan": "({0} != {0} || {1} != {1})",
}  # fmt: skip


@handles("setp")
def _compare(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind = m.type(*BITS, *INTEGERS, *FLOATS)
    if is_float(kind):
        known = _COMPARISONS | _OF_FLOATS
    elif kind in BITS:
        known = {"eq": _COMPARISONS["eq"], **_OF_INTEGERS}
    else:
        known = _COMPARISONS | _OF_INTEGERS | (_OF_UNSIGNED if kind in UNSIGNED else {})
    comparison = known[m.need(*known)]
    flush = is_float(kind) and m.one_of("ftz")
    combined = m.one_of("and", "or", "xor")
    results, a, b, *third = _of(i, 4 if combined else 3)
    values = [f"flushed({value})" if flush else value for value in (o.value(a, kind), o.value(b, kind))]
    text = comparison.format(*values)
    result, *negated = results.split("|")
    if not combined and not negated:
        return o.assign(result, text, "pred")
    join = {"": "{0}", "and": "{0} && {1}", "or": "{0} || {1}", "xor": "{0} != {1}"}[combined]
    other = o.value(third[0], "pred") if combined else ""
    lines = [o.assign(result, join.format("holds", "other"), "pred")]
    lines += [o.assign(name, join.format("!holds", "other"), "pred") for name in negated]
    return f"{{ const bool holds = {text}{f', other = {other}' if combined else ''}; {' '.join(lines)} }}"


@handles("mov")
def _move(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind = m.type("pred", *BITS, *INTEGERS, *FLOATS)
    result, source = _of(i, 2)
    if not result.startswith("{") and not source.startswith("{"):
        return o.assign(result, o.value(source, kind), kind)
    parts = o.elements(result if result.startswith("{") else source)
    width = 8 * type_bytes(kind) // len(parts)
    part, whole = f"b{width}", f"b{8 * type_bytes(kind)}"
    if result.startswith("{"):
        steps = [o.assign(name, f"{CPP[part]}(whole >> {k * width})", part) for k, name in enumerate(parts)]
        return f"{{ const {CPP[whole]} whole = {o.value(source, whole)}; {' '.join(steps)} }}"
    joined = [f"{CPP[whole]}({o.value(name, part)}) << {k * width}" for k, name in enumerate(parts)]
    return o.assign(result, " | ".join(joined), whole)


@handles("cvta")
def _address(i: Instruction, m: Modifiers, o: Operands) -> str:
    kind = m.type("u64")
    to = m.one_of("to")
    space = m.need("global", "shared", "local", "const")
    result, source = _of(i, 2)
    value = o.value(source, kind)
    if space == "shared":
        value = f"{'generic_to_shared' if to else 'shared_to_generic'}({value})"
    return o.assign(result, value, kind)

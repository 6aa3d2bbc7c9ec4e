"""cvt: between types, with its roundings."""

from __future__ import annotations

from ptx.modifiers import Modifiers, handles, is_float
from ptx.operands import CPP, FLOATS, Operands
from ptx.parse import Instruction, Refused

_HALVES = {"f16": "half", "bf16": "bfloat16"}
_INTEGERS = ("u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64")
_TO_INTEGER = {"rni": "std::nearbyint", "rzi": "std::trunc", "rmi": "std::floor", "rpi": "std::ceil"}


@handles("cvt")
def _convert(i: Instruction, m: Modifiers, o: Operands) -> str:
    source = m.type(*_INTEGERS, *FLOATS, *_HALVES)
    to = m.type(*_INTEGERS, *FLOATS, *_HALVES, "f16x2", "bf16x2", "tf32")
    rounding = m.one_of("rn", "rna", *_TO_INTEGER)
    flush, saturate = m.one_of("ftz"), m.one_of("sat")
    values = [o.value(text, source, wider=True) for text in i.operands[1:]]
    if len(values) != (2 if to.endswith("x2") else 1):
        raise Refused("number of operands")
    if flush:
        values = [f"flushed({value})" for value in values]
    value = _converted(to, source, rounding, values)
    if flush and to == "f32":
        value = f"flushed({value})"
    if saturate:
        if not is_float(to) or not is_float(source):
            raise Refused(".sat between these types")
        value = f"saturated({value})"
    return o.assign(i.operands[0], value, to, wider=True)


def _converted(to: str, source: str, rounding: str, values: list[str]) -> str:
    (value, *more), result = values, CPP[to]
    wanted = ""  # the one rounding that there must be
    if source in _INTEGERS:
        if to not in (*_INTEGERS, *FLOATS):
            raise Refused("from integers to this type")
        value, wanted = f"{result}({value})", "" if to in _INTEGERS else "rn"
    elif source in _HALVES:
        if to == source or to not in FLOATS:
            raise Refused("between these types")
        value = f"{result}({_HALVES[source]}_value({value}))"
    elif to in _INTEGERS:
        if rounding not in _TO_INTEGER:
            raise Refused("a rounding to integers is needed")
        return f"to_integer<{result}>({_TO_INTEGER[rounding]}({value}))"
    elif to in FLOATS:
        if to == source and rounding in ("", *_TO_INTEGER):
            return f"{_TO_INTEGER[rounding]}({value})" if rounding else value
        value, wanted = f"{result}({value})", "rn" if (to, source) == ("f32", "f64") else ""
    elif source != "f32":
        raise Refused("between these types")
    elif to == "tf32":
        value, wanted = f"rounded_tf32({value})", "rna"
    else:
        name = _HALVES[to.removesuffix("x2")]
        value, wanted = f"{name}_bits({value})", "rn"
        if more:  # the first operand becomes the upper half
            value = f"uint32_t({value}) << 16 | {name}_bits({more[0]})"
    if rounding != wanted:
        raise Refused(f"rounding .{rounding or '(none)'}")
    return value

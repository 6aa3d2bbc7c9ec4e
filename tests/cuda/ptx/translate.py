"""A PTX module as a C++ file: a function for each kernel, and the table by which launches find them (launch.h)."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from ptx import arithmetic, control, convert, memory  # noqa: F401  (they register what translates each opcode)
from ptx.modifiers import translate
from ptx.operands import FLOATS, Callee, Operands, cpp_name, integer, register_type
from ptx.parse import (
    Brace,
    Function,
    Instruction,
    Label,
    Module,
    Refused,
    Registers,
    Statement,
    Targets,
    Variable,
    parse,
    type_bytes,
)


def translated(text: str, source: str) -> str:
    """The C++ of a PTX module; ``source`` names it in messages of the program.

    Raises:
        Refused: something is not understood.
    """
    module = parse(text)
    lines = ['#include "ptx/runtime.h"', "", "namespace ptx {", "namespace {", ""]
    lines.append(f'[[maybe_unused]] constexpr const char* kSource = "{source}";')
    outer = Operands()
    for variable in module.variables:
        if variable.space in ("global", "const"):
            lines += _table(variable)
            outer.define(variable, cpp_name(variable.name))
    callees = [function for function in module.functions if not function.is_entry]
    for number, function in enumerate(callees):
        count = len(function.results) + len(function.parameters)
        outer.functions[function.name] = Callee(f"function_{number}", count)
        lines.append(f"void function_{number}({', '.join(['unsigned char*'] * count)});")
    for function in callees:
        lines += ["", *_device_function(function, module, outer)]
    for number, function in enumerate(function for function in module.functions if function.is_entry):
        lines += ["", *_kernel(function, number, module, outer)]
    return "\n".join([*lines, "", "}  // namespace", "}  // namespace ptx", ""])


def _table(variable: Variable) -> list[str]:
    """A variable of the module: its bytes."""
    if variable.extern:
        raise Refused(f"{variable.name} is defined elsewhere")
    values = []
    for text in variable.initial.strip("{} \n").split(",") if variable.initial else []:
        values += _bytes(text.strip(), variable.type)
    if len(values) > variable.bytes:
        raise Refused(f"{variable.name} has too many values")
    name, initial = cpp_name(variable.name), ", ".join(map(str, values))
    lines = [f"alignas({variable.align}) unsigned char {name}[{variable.bytes}] = {{{initial}}};"]
    return lines + ([f"const Range range_of_{name}({name}, sizeof({name}));"] if variable.space == "global" else [])


def _bytes(text: str, kind: str) -> bytes:
    size = type_bytes(kind)
    if found := re.fullmatch(r"0[fFdD]([0-9a-fA-F]+)", text):
        if len(found[1]) != 2 * size:
            raise Refused(f"value {text} of type .{kind}")
        return int(found[1], 16).to_bytes(size, "little")
    if (value := integer(text)) is None:
        raise Refused(f"value {text} of type .{kind}")
    if kind in FLOATS:
        return struct.pack({"f32": "<f", "f64": "<d"}[kind], value)
    return (value % (1 << 8 * size)).to_bytes(size, "little")


@dataclass
class _Shared:
    """Where the variables of shared memory lie: those of fixed size first, then what the launch adds."""

    offsets: dict[str, int]
    fixed: int  # bytes


def _lay_out(variables: list[Variable]) -> _Shared:
    offsets, end, align = {}, 0, 1
    for variable in variables:
        if variable.count:
            end = _aligned(end, variable.align)
            offsets[variable.name] = end
            end += variable.bytes
        align = max(align, variable.align if not variable.count else 1)
    end = _aligned(end, align)
    offsets.update({variable.name: end for variable in variables if not variable.count})
    return _Shared(offsets, end)


def _aligned(value: int, align: int) -> int:
    return (value + align - 1) // align * align


def _shared_variables(function: Function, module: Module) -> list[Variable]:
    """Those of the function, and those of the module that it names."""
    named = set()
    for statement in function.body:
        if isinstance(statement, Instruction):
            named.update(re.findall(r"[\w$]+", statement.text))
    outside = [variable for variable in module.variables if variable.space == "shared" and variable.name in named]
    return outside + [v for v in function.body if isinstance(v, Variable) and v.space == "shared"]


def _inside(outer: Operands, is_kernel: bool) -> Operands:
    operands = Operands()
    operands.addresses.update(outer.addresses)
    operands.spaces.update(outer.spaces)
    operands.functions = outer.functions
    operands.in_kernel = is_kernel
    return operands


def _device_function(function: Function, module: Module, outer: Operands) -> list[str]:
    if _shared_variables(function, module):
        raise Refused(f"{function.name}: shared memory named in a device function")
    operands = _inside(outer, False)
    parameters = [*function.results, *function.parameters]
    for parameter in parameters:
        operands.define(parameter, cpp_name(parameter.name))
    names = ", ".join(f"unsigned char* {cpp_name(parameter.name)}" for parameter in parameters)
    body = _body(function.body, operands)
    return [f"// {function.name}", f"void {outer.functions[function.name].cpp}({names}) {{", *body, "}"]


def _kernel(function: Function, number: int, module: Module, outer: Operands) -> list[str]:
    operands = _inside(outer, True)
    end, places = 0, []
    for parameter in function.parameters:
        end = _aligned(end, parameter.align)
        operands.define(parameter, f"parameters + {end}")
        places.append(f"{{{end}, {parameter.bytes}}}")
        end += parameter.bytes
    shared = _shared_variables(function, module)
    layout = _lay_out(shared)
    for variable in shared:
        operands.define(variable, f"{layout.offsets[variable.name]}")
    body = _body(function.body, operands)
    return [
        f"// {function.name}",
        f"void kernel_{number}([[maybe_unused]] const unsigned char* parameters) {{",
        *body,
        "}",
        f'const Registered registered_{number}({{"{function.name}", kernel_{number}, {{{", ".join(places)}}}, '
        f"{layout.fixed}, {function.threads}}});",
    ]


def _body(statements: list[Statement], operands: Operands) -> list[str]:
    operands.targets = {each.name: each.labels for each in statements if isinstance(each, Targets)}
    labels = [each.name for each in statements if isinstance(each, Label)]
    if len(labels) != len(set(labels)):
        raise Refused("labels of scopes that have the same name")
    lines = []
    depth = 1
    for statement in statements:
        if isinstance(statement, Brace):
            (operands.open if statement.opens else operands.close)()
            depth += 1 if statement.opens else -1
            lines.append("{" if statement.opens else "}")
        elif isinstance(statement, Label):
            lines.append(f"{cpp_name(statement.name)}:;")
        elif isinstance(statement, Registers):
            operands.declare(statement.type, statement.names)
            lines += _registers(statement, poisoned=depth == 1)
        elif isinstance(statement, Variable):
            if statement.space in ("local", "param"):
                operands.define(statement, cpp_name(statement.name))
                lines.append(f"alignas({statement.align}) unsigned char {cpp_name(statement.name)}[{statement.bytes}];")
            elif statement.space != "shared":
                raise Refused(f"{statement.name}: .{statement.space} in a function")
        elif isinstance(statement, Instruction):
            lines.append(translate(statement, operands))
    if any("(carry, " in line for line in lines):
        lines.insert(0, "unsigned carry = 0;")  # the condition code's
    return ["  " + line for line in lines]


def _registers(registers: Registers, poisoned: bool) -> list[str]:
    """Poisoned: what nothing has written is NaN, or all ones. Not in inner scopes, which branches may enter."""
    kind = register_type(registers.type)
    poison = {"float": '__builtin_nanf("")', "double": '__builtin_nan("")', "bool": "false"}
    names = [cpp_name(name) + (f" = {poison.get(kind, f'{kind}(-1)')}" if poisoned else "") for name in registers.names]
    return [f"{kind} {', '.join(names[i : i + 8])};" for i in range(0, len(names), 8)]

"""The text of a PTX module as data: variables, functions, and the statements of their bodies."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


class Refused(Exception):
    """Something in the PTX that is not understood."""


@dataclass(frozen=True)
class Variable:
    """``.shared .align 4 .b8 name[16]`` and the like.

    Attributes:
        space: "param", "shared", "local", "const" or "global".
        align: of its address, in bytes.
        type: of its elements ("b8").
        count: how many elements; 1 for scalars, 0 where the launch decides (dynamic shared memory).
        initial: the text behind "=".
        extern: defined elsewhere.
    """

    space: str
    align: int
    type: str
    name: str
    count: int
    initial: str = ""
    extern: bool = False

    @property
    def bytes(self) -> int:
        """Its size."""
        return type_bytes(self.type) * self.count


@dataclass(frozen=True)
class Registers:
    """``.reg .b32 %r<5>``: the names and their type."""

    type: str
    names: list[str]


@dataclass(frozen=True)
class Label:
    """Where branches go to."""

    name: str


@dataclass(frozen=True)
class Targets:
    """``name: .branchtargets a, b;``: what brx.idx chooses from."""

    name: str
    labels: list[str]


@dataclass(frozen=True)
class Brace:
    """The begin or the end of a scope."""

    opens: bool


@dataclass(frozen=True)
class Instruction:
    """``@!%p1 add.s32 %r1, %r2, %r3;``: guard "!%p1", opcode "add", modifiers ("s32",)."""

    guard: str
    opcode: str
    modifiers: tuple[str, ...]
    operands: list[str]
    line: int
    text: str


Statement = Variable | Registers | Label | Targets | Brace | Instruction


@dataclass
class Function:
    """An entry (a kernel) or a device function."""

    name: str
    is_entry: bool
    results: list[Variable]
    parameters: list[Variable]
    threads: int = 0  # the most that a block may have; 0: not said
    body: list[Statement] = field(default_factory=list)


@dataclass
class Module:
    """A PTX file."""

    variables: list[Variable]
    functions: list[Function]


def type_bytes(name: str) -> int:
    """The size of a type: 4 of "s32", 4 of "f16x2"."""
    found = re.fullmatch(r"[a-z]+(\d+)(x2)?", name)
    if not found or name == "pred":
        raise Refused(f"type .{name}")
    return int(found[1]) // 8 * (2 if found[2] else 1)


def parse(text: str) -> Module:
    """Reads a module.

    Raises:
        Refused: it contains something that is not understood.
    """
    text = re.sub(r"/\*.*?\*/", lambda found: "\n" * found[0].count("\n"), text, flags=re.S)
    text = re.sub(r"//[^\n]*", "", text)
    module = Module([], [])
    at = 0
    while at < len(text):
        if space := re.compile(r"\s+|\.(version|target|address_size)\b[^\n]*").match(text, at):
            at = space.end()
        elif re.compile(r"(\.(visible|weak|extern)\s+)*\.(entry|func)\b").match(text, at):
            at = _function(text, at, module)
        else:
            end = text.find(";", at)
            if end < 0:
                raise Refused(f"line {_line(text, at)}: {text[at : at + 80]!r}")
            module.variables.append(_variable(text[at:end].strip()))
            at = end + 1
    return module


def split(text: str, separator: str = ",") -> list[str]:
    """The parts between separators that are not inside brackets."""
    parts, depth, begin = [], 0, 0
    for i, letter in enumerate(text):
        depth += (letter in "{[(") - (letter in "}])")
        if letter == separator and depth == 0:
            parts.append(text[begin:i].strip())
            begin = i + 1
    parts.append(text[begin:].strip())
    return [] if parts == [""] else parts


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


_VARIABLE = re.compile(
    r"(?P<linking>(\.(visible|weak|extern|common)\s+)*)\.(?P<space>param|shared|local|const|global)\s+"
    r"(\.align\s+(?P<align>\d+)\s+)?\.(?P<type>\w+)\s+(\.ptr\s+(\.(global|shared|local|const)\s+)?(\.align\s+\d+\s+)?)?"
    r"(?P<name>[\w$%]+)(?P<array>\[(?P<count>\d*)\])?(\s*=\s*(?P<initial>.*))?",
    re.S,
)


def _variable(text: str) -> Variable:
    found = _VARIABLE.fullmatch(text)
    if not found:
        raise Refused(f"declaration {text[:80]!r}")
    count = int(found["count"] or 0) if found["array"] else 1
    align = int(found["align"] or type_bytes(found["type"]))
    return Variable(found["space"], align, found["type"], found["name"], count, found["initial"] or "",
                    "extern" in found["linking"])  # fmt: skip


_HEAD = re.compile(
    r"(\.(visible|weak|extern)\s+)*\.(?P<kind>entry|func)\s*(\((?P<results>[^)]*)\))?\s*(?P<name>[\w$]+)\s*"
    r"(\((?P<parameters>[^)]*)\))?(?P<limits>[^{;]*)(?P<end>[{;])"
)


def _function(text: str, at: int, module: Module) -> int:
    head = _HEAD.match(text, at)
    if not head:
        raise Refused(f"line {_line(text, at)}: {text[at : at + 80]!r}")
    if head["end"] == ";":
        return head.end()  # a declaration; a call of what is never defined is refused
    function = Function(
        head["name"],
        head["kind"] == "entry",
        [_variable(part) for part in split(head["results"] or "")],
        [_variable(part) for part in split(head["parameters"] or "")],
    )
    for limit in head["limits"].split("."):
        name, *numbers = re.split(r"[\s,]+", limit.strip())
        if name == "maxntid":
            function.threads = 1
            for number in numbers:
                function.threads *= int(number)
        elif name not in ("", "minnctapersm", "maxnreg", "noreturn"):
            raise Refused(f"{function.name}: .{limit.strip()}")
    end, depth = head.end(), 1
    while depth:
        brace = re.compile(r"[{}]").search(text, end)
        if not brace:
            raise Refused(f"{function.name} does not end")
        depth += 1 if brace[0] == "{" else -1
        end = brace.end()
    function.body = _statements(text[head.end() : end - 1], _line(text, head.end()))
    module.functions.append(function)
    return end


def _statements(text: str, line: int) -> list[Statement]:
    found: list[Statement] = []
    at = 0
    while True:
        space = re.compile(r"\s*").match(text, at)
        line += text.count("\n", at, space.end())
        at = space.end()
        if at == len(text):
            return found
        if text[at] in "{}":
            found.append(Brace(text[at] == "{"))
            at += 1
            continue
        if label := re.compile(r"([\w$]+):\s*(?:\.branchtargets\s+([^;]*);)?").match(text, at):
            found.append(Targets(label[1], split(label[2])) if label[2] else Label(label[1]))
            line += label[0].count("\n")
            at = label.end()
            continue
        end = text.find(";", at)
        if end < 0:
            raise Refused(f"line {line}: {text[at : at + 80]!r}")
        statement = " ".join(text[at:end].split())
        if not statement.startswith(".pragma"):
            found.append(_statement(statement, line))
        line += text.count("\n", at, end)
        at = end + 1


def _statement(text: str, line: int) -> Statement:
    if registers := re.fullmatch(r"\.reg\s+\.(\w+)\s+(.*)", text):
        names: list[str] = []
        for name in split(registers[2]):
            many = re.fullmatch(r"(%?[\w$]+)<(\d+)>", name)
            names += [f"{many[1]}{i}" for i in range(int(many[2]))] if many else [name]
        return Registers(registers[1], names)
    if text.startswith("."):
        return _variable(text)
    parts = re.fullmatch(r"(?:@(!?%?[\w$]+)\s+)?([a-z][\w.:]*)\s*(.*)", text)
    if not parts:
        raise Refused(f"line {line}: {text!r}")
    opcode, *modifiers = parts[2].split(".")
    return Instruction(parts[1] or "", opcode, tuple(modifiers), split(parts[3]), line, text)

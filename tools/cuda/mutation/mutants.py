"""Seeded bugs: one textual change each to the kernels in csrc/cuda. And the list of those that change no result."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")
# What no case can see: the emulator's side of the code, and the CUDA runtime's.
EXCLUDED = {"gpu.cuh", "context.h", "instructions.cuh", "device.cu", "entry.h", "launch.h"}


@dataclass(frozen=True)
class Mutant:
    """A change of ``file`` (its name in csrc/cuda) from ``begin`` to ``end``."""

    file: str
    operator: str
    line: int
    begin: int
    end: int
    text: str  # instead
    before: str  # the line, stripped
    after: str
    number: int = 1  # among those of the file that make the same line

    @property
    def name(self) -> str:
        """What names it in the ledger: stays when other lines change."""
        parts = (self.file, self.operator, self.before, self.after, str(self.number - 1))
        return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]

    def applied(self, text: str) -> str:
        """The file's text, changed."""
        return text[: self.begin] + self.text + text[self.end :]

    @property
    def key(self) -> str:
        """What names it in the list of equivalent ones: stays as long as the line does."""
        return f"{self.file}: {self.after}" + (f" #{self.number}" if self.number > 1 else "")

    @property
    def line_key(self) -> str:
        """The same for all mutants of the line."""
        return f"{self.file}: any of {self.before}"

    def order(self, seed: int) -> str:
        """Samples are the first in this order: stable where other lines change."""
        return hashlib.sha256(f"{seed}|{self.operator}|{self.before}|{self.key}".encode()).hexdigest()


_ENTRY = re.compile(r"(\w+\.(?:cu|cuh|h): \S.*?) ## (\S.*)")

Replacement = str | Callable[[re.Match[str]], str]
_NAME = r"[A-Za-z_]\w*"
# An operand without operators that bind less than a product.
_OPERAND = rf"(?:{_NAME}(?:(?:\.|->|::){_NAME})*(?:\([^()]*\)|\[[^\[\]]*\])?|\d+)"


def _next(match: re.Match[str], by: int = 1) -> str:
    return f"{match[1]}{int(match[2]) + by}"


def _atomic(match: re.Match[str]) -> str:
    target, value = match[2].split(", ", 1) if ", " in match[2] else (match[2], "0")
    operator = {"Add": "+", "Sub": "-", "Or": "|", "Xor": "^", "And": "&"}.get(match[1])
    if operator:
        return f"(*({target}) = *({target}) {operator} ({value}));"
    return f"(*({target}) = {match[1].lower()}(*({target}), {value}));"


# Name of the operator, what it looks for (in a line without comments), what it puts there.
OPERATORS: list[tuple[str, str, Replacement]] = [
    ("barrier dropped", r"__sync(?:threads|warp)\([^;]*\);", ";"),
    ("barrier of reduction dropped", r"__syncthreads_(?:or|and|count)\((.*?)\)(?=[;) ])", r"(\1)"),
    ("fence dropped", r"__threadfence\(\);", ";"),
    ("wait dropped", r"copy_async_wait<\w+>\(\);", ";"),
    ("wait for less", r"(copy_async_wait<)(\w+)(?=>\(\);)", r"\1\2 + 1"),
    ("commit dropped", r"copy_async_commit\(\);", ";"),
    ("copy's bound dropped", r"(copy_async<.*, )([^,;]+)(?=\);)", r"\1true"),
    ("bound off by one", r" (<|>) (?=\S)", r" \1= "),
    ("bound off by one", r" (<|>)= (?=\S)", r" \1 "),
    ("condition dropped", r"\bif \((?!constexpr)(.*)\) (?=return|continue|break)", "if (false) "),
    ("condition dropped", r"\bif \((?!constexpr)(.*)\) (?!return|continue|break)", "if (true) "),
    ("part of a condition dropped", r"(\(|(?<![=!<>])= |return )([^()=?]+|[^()]*\([^()]*\)[^()=?]*) && ", r"\1"),
    (
        "choice dropped",
        r"((?<=[^=!<>]= )|(?<=[(,] )|(?<=return ))([^=?:(),]+|[^=?:(),]*\([^()]*\)) \? (?=\S)",
        "true ? ",
    ),
    ("constant off by one", r"([+-] )(\d+)\b(?!\.)", _next),
    ("constant off by one", r"((?:\* ))(\d+)\b(?!\.)", _next),
    ("divisor off by one", r"((?:/|%) )(\d+|k[A-Z]\w*)\b(?!\.)", r"\1(\2 + 1)"),
    ("shift off by one", r"((?:>>|<<)=? )(\d+)\b", _next),
    ("mask's bit dropped", r"( & )(\d+|0x[0-9A-Fa-f]+)(u?)\b", lambda m: f"{m[1]}({m[2]}{m[3]} >> 1)"),
    ("shuffle off", r"(__shfl_\w+\([^;]*, )(\d+)(?=\))", _next),
    ("lanes of the mask dropped", r"\bkAllLanes\b", "(kAllLanes >> 1)"),
    ("fragment swapped", r"(?<=\w)\[0\](?!\s*=\s*\{)", "[1]"),
    ("fragment swapped", r"(?<=\w)\[1\](?!\s*=\s*\{)", "[0]"),
    ("fragment swapped", r"(?<=\w)\[([23])\](?!\s*=\s*\{)", lambda m: f"[{5 - int(m[1])}]"),
    ("fragment swapped", r"(?<!Idx)(?<!Dim)\.([xyzw])\b(?!\()", lambda m: "." + "yxwz"["xyzw".index(m[1])]),
    ("atomic made plain", r"^(?=\s)\s*\batomic(Add|Sub|Min|Max|Or|Xor|And)\((.*)\);", _atomic),
    ("min and max swapped", r"\bmin\(", "max("),
    ("min and max swapped", r"\bmax\(", "min("),
    ("stride off by one", rf"\* ((?:{_NAME}(?:\.|->))*\w*(?:[sS]tride|[pP]itch)\w*)", r"* (\1 + 1)"),
    ("operands of minus swapped", rf"({_OPERAND}) - ({_OPERAND})(?= *[;,)\]<>]| [<>])", r"\2 - \1"),
    ("rounded down", r"\bceil_div\(([^(),]+), ([^(),]+)\)", r"((\1) / (\2))"),
    ("sum overwritten", r" \+= (?!.*\) )(?=.*;\s*$)", " = "),
    ("sum overwritten", r" \|= ", " = "),
    ("sign flipped", r" \+= (?=.*;\s*$)", " -= "),
    ("loop from one", r"(for \([\w:]+ \w+ = )0;", r"\g<1>1;"),
]


def _code(text: str) -> list[tuple[int, str]]:
    """The lines without comments, as long as before, and where they begin; what is no code of the device is blank."""
    text = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S)
    lines, at = [], 0
    for line in text.split("\n"):
        code = re.sub(r"//.*", lambda m: " " * len(m[0]), line)
        code = re.sub(r'"[^"]*"', lambda m: '"' + " " * (len(m[0]) - 2) + '"', code)
        # Launch bounds are for nvcc, and g++ does not see them.
        code = re.sub(r"__launch_bounds__(\((?:[^()]|\([^()]*\))*\))", lambda m: " " * len(m[0]), code)
        words = code.strip()
        if words.startswith(("#", "template", "static_assert", "namespace", "using", "require")):
            code = " " * len(code)
        lines.append((at, code))
        at += len(line) + 1
    return lines


def _smaller_or_larger(code: str, match: re.Match[str]) -> bool:
    """Whether a comparison chooses between its sides (a < b ? a : b): where they are equal, either will do."""
    found = re.match(r"([^?]+?) \? (.+?) : ([\w.:>\[\] +*/-]+)", code[match.end() :])
    if not found:
        return False
    left, (right, yes, no) = code[: match.start()], found.groups()

    def compared(side: str) -> bool:
        return bool(re.search(rf"(?<![\w.>]){re.escape(side.strip())}$", left))

    return (compared(yes) and no.strip() == right) or (yes == right and compared(no))


def mutants_of(file: Path) -> Iterator[Mutant]:
    """All mutants of a file. Those that do not compile are found out later."""
    text = file.read_text()
    seen = set()
    for number, (at, code) in enumerate(_code(text), start=1):
        if not code.strip():
            continue
        declaration = re.match(rf"\s*(?:const |constexpr |std::)*{_NAME}(?:<.*>)?[ &*]+\w+\[", code)
        for operator, pattern, replacement in OPERATORS:
            if operator == "fragment swapped" and declaration and "=" not in code:
                continue
            for match in re.finditer(pattern, code):
                new = match.expand(replacement) if isinstance(replacement, str) else replacement(match)
                begin, end = at + match.start(), at + match.end()
                if match[0] == new or (operator == "bound off by one" and _smaller_or_larger(code, match)):
                    continue
                line = text[at : at + len(code)]
                changed = line[: match.start()] + new + line[match.end() :]
                if changed in seen and (number, changed) in seen:
                    continue
                seen |= {changed, (number, changed)}
                yield Mutant(file.name, operator, number, begin, end, new, line.strip(), changed.strip())


def path_of(file: str, cuda: Path) -> Path:
    """Where the file of that name lies in csrc/cuda: no two rooms have one of the same name."""
    (found,) = cuda.rglob(file)
    return found


def all_mutants(cuda: Path) -> list[Mutant]:
    """Those of all files of csrc/cuda."""
    files = sorted(file for file in cuda.rglob("*") if file.suffix in (".cu", ".cuh", ".h"))
    found, keys = [], set()
    for mutant in (m for file in files if file.name not in EXCLUDED for m in mutants_of(file)):
        while mutant.key in keys:
            mutant = replace(mutant, number=mutant.number + 1)
        keys.add(mutant.key)
        found.append(mutant)
    return found


def equivalent(listing: Path) -> dict[str, str]:
    """Keys of mutants (or of lines) that change nothing which can be seen, and why: lines "KEY ## REASON".

    Raises:
        ValueError: a line has another form, or its key a second time.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(listing.read_text().splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        match = _ENTRY.fullmatch(line)
        if match is None:
            raise ValueError(f"{listing.name}, line {number}: expected FILE: LINE ## REASON, got {line!r}")
        if match[1] in found:
            raise ValueError(f"{listing.name}, line {number}: expected each key once, got {match[1]!r} again")
        found[match[1]] = match[2]
    return found


def stale(listing: Path, mutants: Iterable[Mutant]) -> list[str]:
    """Keys of the list that fit no mutant any more: the line was changed, or has moved to another file."""
    keys = {key for mutant in mutants for key in (mutant.key, mutant.line_key)}
    return [key for key in equivalent(listing) if key not in keys]

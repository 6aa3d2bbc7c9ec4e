"""Builds of the runner with one mutant: only what it is in is compiled, and what never changes is parsed once."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

from runners import ROOT, build

from .mutants import EXCLUDED, Mutant, path_of

CSRC = ROOT / "csrc"
_HEADERS = ["fimo_fast/random.h", *(f"cuda/device/{name}" for name in sorted(EXCLUDED) if not name.endswith(".cu"))]


class Builds:
    """A mode's build of the unchanged kernels, and copies of it with other objects, compiled with ``optimize``."""

    def __init__(self, folder: Path, mode: str, optimize: str = "-O1") -> None:
        self.folder = build(folder, mode, target="runner")
        self.read_by: dict[str, set[str]] = {}  # object: names of the files of csrc/cuda in it
        self._compile: dict[str, list[str]] = {}
        objects = {entry["output"]: entry for entry in json.loads(self._ninja("compdb"))}
        current: set[str] = set()
        for line in self._ninja("deps").splitlines():
            if match := re.match(r"(\S+\.cu\.o): #deps", line):
                current = self.read_by.setdefault(match[1], set())
                command = re.sub(r" -MD -MT \S+ -MF \S+| -g1| -W\S+", "", objects[match[1]]["command"])
                words = [optimize if word == "-O1" else word for word in shlex.split(command)]
                words = words[1:] if Path(words[0]).name == "ccache" else words  # a mutant is compiled once
                self._compile[match[1]] = [*words, "-w"]
            elif "/csrc/cuda/" in line:
                current.add(Path(line.strip()).name)
        command = self._ninja("commands", "runner").splitlines()[-1]
        self._link = shlex.split(re.sub(r"^: && | && :$", "", command))
        self._headers = self._parse_headers(optimize)

    def _ninja(self, *tool: str) -> str:
        command = ["ninja", "-C", str(self.folder), "-t", *tool]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def _parse_headers(self, optimize: str) -> Path:
        """A precompiled header of those that no mutant changes: half of the time of most objects."""
        header = self.folder / f"mutants{optimize}" / "unchanged.h"
        header.parent.mkdir(exist_ok=True)
        header.write_text("".join(f'#include "{name}"\n' for name in _HEADERS))
        words = next(iter(self._compile.values()))
        words = [word for word in words[: words.index("-o")] if word not in ("-x", "c++", "-xc++")]
        words += ["-w", "-x", "c++-header", str(header), "-o", f"{header}.gch"]
        subprocess.run(words, cwd=self.folder, check=True)
        return header

    def objects_with(self, file: str, family: str = "") -> list[str]:
        """The objects that a file of csrc/cuda is in: first that of its own name, or else of its family."""
        found = (name for name, files in self.read_by.items() if file in files)
        stem = {name: Path(name).name.split(".")[0] for name in self.read_by}
        return sorted(found, key=lambda name: (stem[name] != file.split(".")[0], stem[name] != family, name))

    def runner_of(self, mutant: Mutant, objects: list[str], folder: Path) -> bool:
        """Compiles the mutant's ``objects`` and links folder/runner with them. False: it does not compile."""
        source = path_of(mutant.file, CSRC / "cuda")
        changed = folder / source.relative_to(CSRC)
        changed.parent.mkdir(exist_ok=True, parents=True)
        changed.write_text(mutant.applied(source.read_text()))
        link = [word for word in self._link if word not in objects]
        link[link.index("-o") + 1] = str(folder / "runner")
        for number, name in enumerate(objects):
            words, new = list(self._compile[name]), folder / f"{number}.o"
            words[words.index("-o") + 1] = str(new)
            if words[words.index("-c") + 1].endswith(str(source.relative_to(CSRC.parent))):
                words[words.index("-c") + 1] = str(changed)
            words[1:1] = [f"-I{folder}", "-include", str(self._headers)]
            if subprocess.run(words, cwd=self.folder, capture_output=True).returncode != 0:
                return False
            link.insert(1, str(new))  # first, so that of templates in several objects the mutant's are taken
        return subprocess.run(link, cwd=self.folder, capture_output=True).returncode == 0

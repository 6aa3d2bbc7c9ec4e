"""What is known of mutants from runs before: a line of JSON for each pass, so that a run that was ended goes on.

An entry holds as long as the code that was compiled does (comments and spaces aside), and the case that failed, or, for
passes in which nothing failed, all cases that ran. The emulator is not in it: after a change there, delete the ledger.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Entry:
    """All that is known of a mutant.

    Attributes:
        code: hash of the files that its objects read.
        verdict: "killed" or "does not compile"; empty as long as nothing has failed.
        by: way to run and reason.
        case: hash of the case that failed.
        passed: pass: hash of the cases that ran.
        same: no bit of any result differed in the first pass.
        seconds: of all passes.
    """

    mutant: str
    code: str
    verdict: str = ""
    by: str = ""
    case: str = ""
    passed: dict[str, str] = field(default_factory=dict)
    same: bool = False
    seconds: float = 0.0


def hash_of(parts: Iterable[bytes]) -> str:
    """One for all parts, in this order."""
    state = hashlib.sha256()
    for part in parts:
        state.update(hashlib.sha256(part).digest())
    return state.hexdigest()[:16]


def code_of(text: str) -> bytes:
    """A source without comments and spaces."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", " ", text, flags=re.S)
    return re.sub(r"\s+", " ", text).encode()


class Ledger:
    """The entries of a file, to which new ones are appended at once. Without a file they are forgotten at the end."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.entries: dict[str, Entry] = {}
        self._lock = threading.Lock()
        for line in file.read_text().splitlines() if file and file.exists() else ():
            try:
                entry = Entry(**json.loads(line))
            except (json.JSONDecodeError, TypeError):  # cut off where the run before was ended
                continue
            self.entries[entry.mutant] = entry

    def get(self, mutant: str, code: str, cases: Iterable[str]) -> Entry:
        """What holds of a mutant whose code is ``code``, as far as ``cases`` (hashes) are still there."""
        entry = self.entries.get(mutant)
        if entry is None or entry.code != code or (entry.case and entry.case not in set(cases)):
            return Entry(mutant, code)
        return entry

    def put(self, entry: Entry) -> None:
        """Keeps an entry."""
        with self._lock:
            self.entries[entry.mutant] = entry
            if self.file:
                with self.file.open("a") as file:
                    file.write(json.dumps(asdict(entry)) + "\n")

"""usage: python -m ptx IN.ptx OUT.cpp"""

import sys
from pathlib import Path

from ptx.parse import Refused
from ptx.translate import translated

if __name__ == "__main__":
    source, to = map(Path, sys.argv[1:])
    try:
        to.write_text(translated(source.read_text(), source.name))
    except Refused as problem:
        sys.exit(f"{source}: {problem}")

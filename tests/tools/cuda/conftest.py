"""Makes `tools.cuda` importable, and with it the modules of tests/cuda."""

from loading import load_from_root

load_from_root("tools.cuda")

"""``python -m tools.cuda.mutation``: see mutate.py."""

import sys

from .mutate import main

sys.exit(main())

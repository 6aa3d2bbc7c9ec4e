"""``python -m tools.cuda.speed_model``: see predict.py."""

import sys

from .predict import main

sys.exit(main())

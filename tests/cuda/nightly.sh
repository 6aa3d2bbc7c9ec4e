#!/bin/sh
# What takes hours: eight random schedules in every mode, with the heavy cases, and every seeded bug. The outcome of the
# latter is docs/mutation_score.md. Needs the Python environment of the tests. PYTHON, JOBS: which, and how many at once.
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-python}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS=1
"$python" tests/cuda/schedules.py --seeds 8
"$python" tests/cuda/mutate.py --all --jobs "${JOBS:-$(nproc)}" --markdown docs/mutation_score.md

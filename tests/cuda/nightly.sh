#!/bin/sh
# What takes hours: random schedules in every mode, with the heavy cases (docs/cuda_schedules.md), and every seeded bug
# (docs/mutation_score.md). Run before a release; both pages are committed. Needs the Python environment of the tests.
# PYTHON, JOBS, SEEDS: which, how many at once, how many schedules.
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-python}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS=1
"$python" tests/cuda/schedules.py ${SEEDS:+--seeds "$SEEDS"} --markdown docs/cuda_schedules.md
"$python" tests/cuda/mutate.py --all --jobs "${JOBS:-$(nproc)}" --markdown docs/mutation_score.md

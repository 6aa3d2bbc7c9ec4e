#!/bin/sh
# What takes hours, before a release: random schedules in every mode, with the heavy cases (docs/cuda_schedules.md), every
# seeded bug (docs/mutation_score.md), and the predicted times (docs/cuda_performance.md). What it writes is committed.
# Needs the Python environment of the tests, with fimo_fast built for CUDA.
# PYTHON, JOBS, SEEDS: which, how many at once, how many schedules.
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-python}
export OMP_NUM_THREADS=1
"$python" -m tools.cuda.mutation --check
"$python" -m tools.cuda.speed_model --write
"$python" -m tools.cuda.schedules ${SEEDS:+--seeds "$SEEDS"} --markdown docs/cuda_schedules.md
"$python" -m tools.cuda.mutation --all --jobs "${JOBS:-$(nproc)}" --markdown docs/mutation_score.md

"""rows_project: sketches of per-example gradients of an embedding, from the rows that were looked up."""


def bench_rows_project(timed, case, name):
    timed(case, name)

"""outer_project: sketches of per-example gradients of a linear layer, from their factors."""


def bench_outer_project(timed, case, name):
    timed(case, name)
